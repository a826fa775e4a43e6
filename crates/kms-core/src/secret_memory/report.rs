//! What the operating system gave, and what it refused.

use std::io;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use super::pages::{Protection, Region};
use super::slab;
use crate::error::{ErrorCode, KmsError, Result};

/// How many services want every secret locked.
static REQUIRED: AtomicUsize = AtomicUsize::new(0);

/// Totals over all regions that are mapped now.
pub(super) static TOTALS: Totals = Totals {
    regions: AtomicUsize::new(0),
    locked: AtomicUsize::new(0),
    unlocked: AtomicUsize::new(0),
    dumped: AtomicUsize::new(0),
    inherited: AtomicUsize::new(0),
    errors: [const { AtomicI32::new(0) }; 4],
};

/// See [`SecretMemory`]; `errors` are the last ones by [`CALLS`], 0 for none.
pub(super) struct Totals {
    regions: AtomicUsize,
    locked: AtomicUsize,
    unlocked: AtomicUsize,
    dumped: AtomicUsize,
    inherited: AtomicUsize,
    errors: [AtomicI32; 4],
}

/// What the operating system may refuse.
#[derive(Clone, Copy)]
pub(super) enum Call {
    Map,
    Lock,
    DontDump,
    WipeOnFork,
}

const CALLS: [&str; 4] = ["mmap", "mlock", "MADV_DONTDUMP", "MADV_WIPEONFORK"];

/// Stands for an error that is not of a system call.
const UNSUPPORTED: i32 = i32::MAX;

impl Totals {
    pub(super) fn refused(&self, call: Call, error: &io::Error) {
        let code = error.raw_os_error().unwrap_or(UNSUPPORTED);
        self.errors[call as usize].store(code, Ordering::Relaxed);
    }

    pub(super) fn mapped(&self, len: usize, got: Protection) {
        self.regions.fetch_add(1, Ordering::Relaxed);
        for counter in self.counters(got) {
            counter.fetch_add(len, Ordering::Relaxed);
        }
    }

    pub(super) fn unmapped(&self, len: usize, got: Protection) {
        self.regions.fetch_sub(1, Ordering::Relaxed);
        for counter in self.counters(got) {
            counter.fetch_sub(len, Ordering::Relaxed);
        }
    }

    fn counters(&self, got: Protection) -> impl Iterator<Item = &AtomicUsize> {
        [
            Some(if got.locked { &self.locked } else { &self.unlocked }),
            (!got.dontdump).then_some(&self.dumped),
            (!got.wipeonfork).then_some(&self.inherited),
        ]
        .into_iter()
        .flatten()
    }
}

/// The state of secret memory in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretMemory {
    /// Bytes of regions that are locked into RAM, so that they never reach a disk by way of swap.
    pub locked_bytes: usize,
    /// Bytes of regions that are not.
    pub unlocked_bytes: usize,
    /// Regions that are mapped.
    pub regions: usize,
    /// Whether all of them are left out of core dumps.
    pub dontdump: bool,
    /// Whether all of them are zero in a forked child.
    pub wipeonfork: bool,
    /// The last refusal of each kind, as `call: reason`; they may be of regions that are gone.
    pub last_errors: Vec<String>,
}

/// The state of secret memory in this process now. Maps a first region where there is none, so that it can tell.
pub fn report() -> SecretMemory {
    drop(slab::take(1));
    let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let errors = CALLS.iter().zip(&TOTALS.errors).filter_map(|(call, code)| {
        let code = code.load(Ordering::Relaxed);
        let reason = || match code {
            UNSUPPORTED => "not on this system".to_owned(),
            code => io::Error::from_raw_os_error(code).to_string(),
        };
        (code != 0).then(|| format!("{call}: {}", reason()))
    });
    SecretMemory {
        locked_bytes: read(&TOTALS.locked),
        unlocked_bytes: read(&TOTALS.unlocked),
        regions: read(&TOTALS.regions),
        dontdump: read(&TOTALS.dumped) == 0,
        wipeonfork: read(&TOTALS.inherited) == 0,
        last_errors: errors.collect(),
    }
}

/// While this lives, no secret is put into memory that is not locked.
#[derive(Debug)]
pub struct Locked(());

impl Drop for Locked {
    fn drop(&mut self) {
        REQUIRED.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How much must be lockable for a service to start, in bytes.
const LEAST: usize = 256 * 1024;

/// Asks that every secret of this process be locked, also those of others in it. Later growth that cannot be locked
/// fails the operation that asked for it, by unwinding with a [`KmsError`].
///
/// # Errors
/// `StoreUnavailable`, not retryable, where a secret is in unlocked memory already, or 256 KiB more cannot be locked.
pub fn require_locked() -> Result<Locked> {
    // The first region, while a refusal is no reason to unwind.
    report();
    REQUIRED.fetch_add(1, Ordering::SeqCst);
    let required = Locked(());
    // Asked after the wish: what another thread maps from here on is locked.
    let unlocked_bytes = TOTALS.unlocked.load(Ordering::SeqCst);
    let lockable = || Region::map(LEAST).is_some_and(|region| region.got().locked);
    if unlocked_bytes == 0 && lockable() { Ok(required) } else { Err(unlocked()) }
}

pub(super) fn is_required() -> bool {
    REQUIRED.load(Ordering::SeqCst) > 0
}

#[cold]
pub(super) fn unlocked() -> KmsError {
    KmsError::new(
        ErrorCode::StoreUnavailable,
        "secret memory cannot be locked: raise the limit of locked memory (`ulimit -l`, LimitMEMLOCK)",
    )
    .retryable(false)
}

#[cold]
pub(super) fn exhausted() -> KmsError {
    KmsError::new(ErrorCode::StoreUnavailable, "the system gives no more memory for secrets")
}
