//! When what is to be destroyed, so that a timer need not look at every key.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kms_core::{KeyState, Version};
use uuid::Uuid;

/// When, of which key, and of which version if not of all.
pub(crate) type Deadline = (u64, Uuid, Option<Version>);

/// One entry for each key and version that is scheduled, earliest first. The state of the key decides; this only says
/// where to look.
#[derive(Default)]
pub(crate) struct Deadlines(Mutex<BTreeSet<Deadline>>);

impl Deadlines {
    /// Notes that a key, or a version of it, went from one state to another.
    pub(crate) fn moved(&self, key: Uuid, version: Option<Version>, from: KeyState, to: KeyState) {
        let mut entries = self.lock();
        if let Some(at) = from.destroy_at() {
            entries.remove(&(at.due_ms, key, version));
        }
        if let Some(at) = to.destroy_at() {
            entries.insert((at.due_ms, key, version));
        }
    }

    /// Notes a time of a key.
    pub(crate) fn insert(&self, entry: Deadline) {
        self.lock().insert(entry);
    }

    /// What is due.
    pub(crate) fn due(&self, now_ms: u64) -> Vec<Deadline> {
        self.lock().iter().take_while(|(due_ms, ..)| *due_ms <= now_ms).copied().collect()
    }

    /// Drops an entry of what is scheduled no more.
    pub(crate) fn remove(&self, entry: &Deadline) {
        self.lock().remove(entry);
    }

    /// The earliest moment.
    pub(crate) fn next(&self) -> Option<u64> {
        self.lock().first().map(|(due_ms, ..)| *due_ms)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Deadline>> {
        // Each critical section is an operation of a set.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key, or a version of it.
pub(crate) type Target = (Uuid, Option<Version>);

/// Destructions that are due and could not be carried out: what is in the audit log already, and when to try again.
#[derive(Default)]
pub(crate) struct Unfinished(Mutex<HashMap<Target, Attempt>>);

#[derive(Clone, Copy)]
struct Attempt {
    recorded: bool,
    failures: u32,
    again_ms: u64,
}

/// The wait after a failure, which doubles from one to the next, and the longest, in milliseconds.
const WAIT_MS: u64 = 1_000;
const LONGEST_WAIT_MS: u64 = 60_000;

impl Unfinished {
    /// Whether the destruction is recorded, where one may be tried now.
    pub(crate) fn begin(&self, target: &Target, now_ms: u64) -> Option<bool> {
        match self.lock().get(target) {
            None => Some(false),
            Some(attempt) if now_ms >= attempt.again_ms => Some(attempt.recorded),
            Some(_) => None,
        }
    }

    /// It was not carried out.
    pub(crate) fn failed(&self, target: Target, recorded: bool, now_ms: u64) {
        let mut attempts = self.lock();
        let failures = attempts.get(&target).map_or(0, |attempt| attempt.failures);
        let wait = (WAIT_MS << failures.min(6)).min(LONGEST_WAIT_MS);
        let again_ms = now_ms.saturating_add(wait);
        attempts.insert(target, Attempt { recorded, failures: failures + 1, again_ms });
    }

    /// It was.
    pub(crate) fn done(&self, target: &Target) {
        self.lock().remove(target);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Target, Attempt>> {
        // Each critical section is an operation of a map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
