//! Wiping of dead stack memory.

use std::hint::black_box;

/// More than the deepest call of this crate uses: ML-DSA-87 signing, 117 KiB.
const SCRUBBED: usize = 160 * 1024;

/// Overwrites the stack below the caller, where functions that just returned had their locals.
///
/// Best effort: a thread that is interrupted, or moved by a compiler that inlines differently, may keep copies
/// elsewhere. It costs 2 to 3 µs.
#[inline(never)]
pub fn scrub() {
    let mut below = [0_u8; SCRUBBED];
    black_box(&mut below);
}
