//! Wiping of dead stack memory.
//!
//! Secrets live in memory that is wiped when it is dropped, but the functions that compute with them leave copies in
//! their stack frames: values that Rust moved, registers that were spilled, the Keccak states of AWS-LC's samplers.

use std::hint::black_box;

/// For hashes, ciphers and X25519, whose frames are a few KiB. Costs 0.2 µs.
pub(crate) const LIGHT: usize = 16 * 1024;
/// For ML-KEM with keys expanded by libcrux, whose frames reach 20 KiB. Costs 0.4 µs.
#[cfg(target_arch = "x86_64")]
pub(crate) const EXPANDED_KEM: usize = 40 * 1024;
/// For ML-KEM otherwise. Costs 1 µs.
pub(crate) const KEM: usize = 96 * 1024;
/// For ML-DSA, of which AWS-LC's signing goes deepest (110 KiB), and SLH-DSA (205 KiB). Costs 3 µs.
pub(crate) const DEEP: usize = 256 * 1024;

/// Runs work on secrets, then overwrites the `SIZE` bytes of stack below, which it used.
///
/// Best effort: a signal handler may run on the same stack, the compiler may keep copies in the caller's frame, and a
/// build without optimisation goes deeper. `work` should put its results on the heap or into the caller's buffers.
pub(crate) fn scrubbed<const SIZE: usize, T>(work: impl FnOnce() -> T) -> T {
    let out = outlined(work);
    scrub::<SIZE>();
    out
}

/// Keeps the frame of `work` out of the caller's.
#[inline(never)]
fn outlined<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn scrub<const SIZE: usize>() {
    let mut below = [0_u8; SIZE];
    black_box(&mut below);
}
