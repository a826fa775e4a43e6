//! Whether this process is the one that its secrets were made in.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::pages;
use crate::error::{ErrorCode, KmsError, Result};

/// Any value that a wiped page does not have.
pub(super) const ALIVE: u32 = 0x6b6d_7321;

/// Points into a page that a fork wipes. Made by the first secret of the process, or the first check.
static CANARY: OnceLock<&'static AtomicU32> = OnceLock::new();

/// Refuses to go on in a process that was forked from one with secrets: they are gone here, and what they were used for
/// (random numbers, nonces, a lock on a file) belongs to the parent. A program that is started afresh
/// (`child_process`, `cluster`) is not such a process.
///
/// Costs a load, about a nanosecond.
///
/// # Errors
/// `StoreUnavailable`, not retryable.
#[inline]
pub fn check_process() -> Result<()> {
    if is_forked() { Err(forked()) } else { Ok(()) }
}

#[inline]
pub(super) fn is_forked() -> bool {
    CANARY.get_or_init(pages::canary).load(Ordering::Relaxed) != ALIVE
}

#[cold]
pub(super) fn forked() -> KmsError {
    KmsError::new(
        ErrorCode::StoreUnavailable,
        "this process was forked from one that held keys, and has none: start a process afresh",
    )
    .retryable(false)
}
