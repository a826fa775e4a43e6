//! What was verified, counted without locks and read at a scrape.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::reason::Reason;

/// Upper bounds of the histogram of batch lengths.
pub const BATCH_BOUNDS: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// Counters of one verifier.
#[derive(Default)]
pub struct Counters {
    ok: AtomicU64,
    reasons: [AtomicU64; Reason::ALL.len()],
    batches: [AtomicU64; BATCH_BOUNDS.len() + 1],
    batched: AtomicU64,
    single: AtomicU64,
    pub(crate) skewed: Skewed,
}

/// Tokens that passed only because clocks may differ.
#[derive(Default)]
pub(crate) struct Skewed {
    expired: AtomicU64,
    early: AtomicU64,
}

impl Skewed {
    /// One that was over by our clock.
    pub(crate) fn expired(&self) {
        self.expired.fetch_add(1, Relaxed);
    }

    /// One that had not begun by our clock.
    pub(crate) fn early(&self) {
        self.early.fetch_add(1, Relaxed);
    }
}

/// The counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Passports that were taken.
    pub ok: u64,
    /// Passports that were not, by reason, in the order of [`Reason::ALL`].
    pub reasons: Vec<u64>,
    /// Native batches by their length, in the buckets of [`BATCH_BOUNDS`] and one above; not cumulative.
    pub batches: Vec<u64>,
    /// Signatures that were checked side by side.
    pub batched: u64,
    /// Signatures that were checked alone.
    pub single: u64,
    /// Tokens that were over, but by no more than the skew.
    pub skewed_expired: u64,
    /// Tokens that had not begun, but by no more than the skew.
    pub skewed_early: u64,
}

impl Counters {
    /// One verdict.
    pub(crate) fn verdict(&self, verdict: Result<(), Reason>) {
        let counter = match verdict {
            Ok(()) => &self.ok,
            Err(reason) => &self.reasons[reason as usize],
        };
        counter.fetch_add(1, Relaxed);
    }

    /// So many signatures in one call.
    pub(crate) fn batch(&self, length: usize) {
        let length = length as u64;
        let bucket = BATCH_BOUNDS.iter().position(|bound| length <= *bound);
        self.batches[bucket.unwrap_or(BATCH_BOUNDS.len())].fetch_add(1, Relaxed);
        let path = if length > 1 { &self.batched } else { &self.single };
        path.fetch_add(length, Relaxed);
    }

    /// Reads all of them.
    pub fn snapshot(&self) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        Snapshot {
            ok: read(&self.ok),
            reasons: self.reasons.iter().map(read).collect(),
            batches: self.batches.iter().map(read).collect(),
            batched: read(&self.batched),
            single: read(&self.single),
            skewed_expired: read(&self.skewed.expired),
            skewed_early: read(&self.skewed.early),
        }
    }
}
