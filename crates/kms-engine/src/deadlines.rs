//! When what is to be destroyed, so that a timer need not look at every key.

use std::collections::BTreeSet;
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
