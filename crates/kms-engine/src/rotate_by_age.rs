//! Rotating keys without being asked, by their hint `rotate_days`.
//!
//! A key is due that many days after its newest version was made. Time is the wall clock's, since it must outlive the
//! process; a clock that jumps ahead rotates early, which breaks no signature.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;

use kms_core::{Result, secret_memory};
use uuid::Uuid;

use crate::engine::{Engine, contain};
use crate::key::Key;
use crate::life_cycle::service;
use crate::rotate::RotateKey;

const DAY_MS: u64 = 24 * 3_600_000;
/// When a key that is out of use, or whose rotation failed, is looked at again.
const AGAIN_MS: u64 = 600_000;

impl Engine {
    /// Notes when a key is due, where it is rotated by age.
    pub(crate) fn plan_rotation(&self, key: &Key) {
        if let Some(due_unix_ms) = due_unix_ms(key) {
            self.rotations.insert((self.due_ms(due_unix_ms), key.id().uuid, None));
        }
    }

    /// In how many milliseconds the next key is due; 0 where one is.
    pub fn next_rotation(&self) -> Option<u64> {
        self.rotations.next().map(|due_ms| due_ms.saturating_sub(self.now_ms()))
    }

    /// Rotates the keys that are due, one after the other: a rotation takes as long as the store does. A key that is out
    /// of use, or whose head is, stays as it is: a rotation would put it in use again. Harmless after `close`.
    pub fn rotate_due(&self) {
        // In a forked child it is the parent that rotates.
        if secret_memory::check_process().is_err() || self.rotating.swap(true, Ordering::SeqCst) {
            return;
        }
        for entry in self.rotations.due(self.now_ms()) {
            if self.is_closed() {
                break;
            }
            self.rotations.remove(&entry);
            if contain(AssertUnwindSafe(|| self.rotate_by_age(&entry.1))).is_err() {
                let again = self.now_ms().saturating_add(AGAIN_MS);
                self.rotations.insert((again, entry.1, None));
            }
        }
        self.rotating.store(false, Ordering::SeqCst);
    }

    /// Rotates a key if it is due, which plans its next rotation.
    fn rotate_by_age(&self, uuid: &Uuid) -> Result<()> {
        let Some(key) = self.keys.get(uuid) else { return Ok(()) };
        let head = self.head_of(&key)?;
        // A rotation that was asked for since has planned the next one itself.
        if due_unix_ms(&key).is_none_or(|due| due > self.config.clock.unix_ms()) {
            return Ok(());
        }
        head.life.check(head.active)?;
        // Named with its version: a rotation at the same time wins.
        let kid = key.id().at(head.active).to_string();
        drop(head);
        self.rotate(&service(), &kid, &RotateKey::default()).map(drop)
    }
}

fn due_unix_ms(key: &Key) -> Option<u64> {
    let days = key.facts.policy.rotate_days?;
    let newest = key.published(key.load().newest).ok()?;
    Some(newest.created_unix_ms.saturating_add(u64::from(days) * DAY_MS))
}
