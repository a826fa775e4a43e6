//! The replay window: what was presented is remembered until it has expired.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use kms_crypto::digest;

use crate::claims::Claims;
use crate::reason::Reason;

/// First 16 bytes of a BLAKE3: whoever finds two of the same must still have both signed.
type Mark = [u8; 16];

/// Remembers a bounded number of passports. When it is full it refuses; what has not expired is never forgotten.
///
/// One window may serve many verifiers, on many threads.
pub struct ReplayWindow {
    most: usize,
    /// The widest of its verifiers: what one has let go another one must not take for new.
    skew_s: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    marks: HashSet<Mark>,
    /// The same by the second in which they may be forgotten.
    by_end: BTreeMap<u64, Vec<Mark>>,
}

impl ReplayWindow {
    /// A window of at most `most` marks; a passport leaves one for its `jti` and one for its `nonce`.
    pub fn new(most: usize) -> ReplayWindow {
        ReplayWindow { most, skew_s: AtomicU64::new(0), seen: Mutex::default() }
    }

    /// A verifier uses it that takes passports for so long after they have expired.
    pub(crate) fn serve(&self, skew_s: u64) {
        self.skew_s.fetch_max(skew_s, Relaxed);
    }

    /// Number of marks that are remembered.
    pub fn len(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).marks.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records a passport that passed every other check: all of its marks, or none.
    ///
    /// # Errors
    /// `Malformed` for one that has neither `jti` nor `nonce`, `Replayed`, and `Internal` where the window is full.
    pub(crate) fn record(&self, claims: &Claims<'_>, now: u64) -> Result<(), Reason> {
        let mark = |label: &str, value: &str| {
            let mut text = Vec::with_capacity(claims.issuer.len() + value.len() + 16);
            for part in [label, &claims.issuer, value] {
                text.extend_from_slice(&(part.len() as u64).to_le_bytes());
                text.extend_from_slice(part.as_bytes());
            }
            let mut mark = [0; 16];
            mark.copy_from_slice(&digest::blake3(&text)[..16]);
            mark
        };
        let id = claims.id.as_deref().map(|id| mark("jti", id));
        let nonce = claims.nonce.as_deref().map(|nonce| mark("nonce", nonce));
        let marks = [id, nonce].into_iter().flatten();
        let count = marks.clone().count();
        if count == 0 {
            return Err(Reason::Malformed);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.forget_until(now);
        if marks.clone().any(|mark| seen.marks.contains(&mark)) {
            return Err(Reason::Replayed);
        }
        if seen.marks.len() + count > self.most {
            return Err(Reason::Internal);
        }
        let end = claims.expires_at.saturating_add(self.skew_s.load(Relaxed));
        seen.by_end.entry(end).or_default().extend(marks.clone());
        seen.marks.extend(marks);
        Ok(())
    }
}

impl Seen {
    /// Forgets what had expired by `now`, skew included.
    fn forget_until(&mut self, now: u64) {
        while let Some(first) = self.by_end.first_entry()
            && *first.key() <= now
        {
            for mark in first.remove() {
                self.marks.remove(&mark);
            }
        }
    }
}
