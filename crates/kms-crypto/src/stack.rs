//! Wiping of dead stack memory.
//!
//! Secrets live in memory that is wiped when it is dropped, but the functions that compute with them leave copies in
//! their stack frames: values that Rust moved, registers that were spilled, the Keccak states of AWS-LC's samplers.

use std::hint::black_box;

/// More than the deepest call below [`scrubbed`] uses in a release build (ML-DSA-87 in the lane `aws-lc`).
const SCRUBBED: usize = 192 * 1024;

/// Runs work on secrets, then overwrites the stack that it used.
///
/// Best effort: a signal handler may run on the same stack, and the compiler may keep copies in the caller's frame.
/// It costs 2 µs. `work` should put its results on the heap or into the caller's buffers.
pub(crate) fn scrubbed<T>(work: impl FnOnce() -> T) -> T {
    let out = outlined(work);
    scrub();
    out
}

/// Keeps the frame of `work` out of the caller's.
#[inline(never)]
fn outlined<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn scrub() {
    let mut below = [0_u8; SCRUBBED];
    black_box(&mut below);
}
