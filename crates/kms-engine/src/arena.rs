//! Where private keys live: the engine's arena, reached by opaque handles.
//!
//! Keys that a store can unseal again need not stay. Beyond a bound the one that was not used for longest goes, roughly:
//! a queue in which a key that was used since its last turn gets another (second chance).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwapOption, Guard};
use kms_core::{ErrorCode, KmsError, Result};

use crate::material::SecretHalf;

/// Names a private key without holding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecretHandle(usize);

/// Every private key of one engine. Slots are never reused, so a handle never changes its meaning.
pub(crate) struct Arena {
    slots: boxcar::Vec<Slot>,
    /// Keys that may go, in the order of their turns.
    spare: Mutex<VecDeque<SecretHandle>>,
    /// How many of these stay.
    most_spare: usize,
    cleared: AtomicBool,
}

#[derive(Default)]
struct Slot {
    key: ArcSwapOption<SecretHalf>,
    /// Since its last turn.
    used: AtomicBool,
    /// Whether it is among those that may go; only changed under their lock.
    waits: AtomicBool,
}

impl Arena {
    /// An arena that keeps at most so many keys that may go.
    pub(crate) fn new(most_spare: usize) -> Arena {
        Arena {
            slots: boxcar::Vec::new(),
            spare: Mutex::default(),
            most_spare: most_spare.max(1),
            cleared: AtomicBool::new(false),
        }
    }

    /// Takes a key over.
    ///
    /// # Errors
    /// `StoreUnavailable` once the arena was cleared; the key is wiped.
    pub(crate) fn insert(&self, key: SecretHalf) -> Result<SecretHandle> {
        let handle = self.reserve();
        self.put(handle, Arc::new(key))?;
        Ok(handle)
    }

    /// A place for a key that comes later, if ever.
    pub(crate) fn reserve(&self) -> SecretHandle {
        SecretHandle(self.slots.push(Slot::default()))
    }

    /// Puts a key in its place.
    ///
    /// # Errors
    /// As [`Arena::insert`].
    pub(crate) fn put(&self, handle: SecretHandle, key: Arc<SecretHalf>) -> Result<()> {
        let slot = self.slots.get(handle.0).ok_or_else(gone)?;
        slot.key.store(Some(key));
        // Asked after the store: either this sees the flag, or `clear` sees the key.
        if self.cleared.load(Ordering::SeqCst) {
            slot.key.store(None);
            return Err(gone());
        }
        Ok(())
    }

    /// Says that a key can be unsealed again, so that it may go when there are too many.
    pub(crate) fn may_go(&self, handle: SecretHandle) {
        let mut spare = self.spare();
        match self.slots.get(handle.0) {
            Some(slot) if !slot.waits.swap(true, Ordering::Relaxed) => spare.push_back(handle),
            _ => return,
        }
        // Whoever uses keys meanwhile does not make this go on for ever.
        let mut chances = spare.len();
        while spare.len() > self.most_spare {
            let Some(next) = spare.pop_front() else { break };
            let Some(slot) = self.slots.get(next.0) else { continue };
            if chances > 0 && slot.used.swap(false, Ordering::Relaxed) {
                chances -= 1;
                spare.push_back(next);
            } else {
                slot.waits.store(false, Ordering::Relaxed);
                slot.key.store(None);
            }
        }
    }

    /// A key, if it is here. It stays alive for as long as this does, even if it has gone from the arena meanwhile.
    pub(crate) fn load(&self, handle: SecretHandle) -> Option<Guard<Option<Arc<SecretHalf>>>> {
        let slot = self.slots.get(handle.0)?;
        // Written once a turn: a key that is in use everywhere is not to move between caches.
        if !slot.used.load(Ordering::Relaxed) {
            slot.used.store(true, Ordering::Relaxed);
        }
        Some(slot.key.load())
    }

    /// Uses a key.
    ///
    /// # Errors
    /// `StoreUnavailable` where it is not here.
    pub(crate) fn with<T>(
        &self,
        handle: SecretHandle,
        act: impl FnOnce(&SecretHalf) -> T,
    ) -> Result<T> {
        match self.load(handle).as_deref().and_then(Option::as_deref) {
            Some(key) => Ok(act(key)),
            None => Err(gone()),
        }
    }

    /// Drops a key that came to nothing.
    pub(crate) fn remove(&self, handle: SecretHandle) {
        if let Some(slot) = self.slots.get(handle.0) {
            slot.key.store(None);
        }
    }

    /// Drops every key; each is wiped when the last call that uses it ends.
    pub(crate) fn clear(&self) {
        self.cleared.store(true, Ordering::SeqCst);
        for (_, slot) in &self.slots {
            slot.key.store(None);
        }
    }

    /// How many keys are here.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.slots.iter().filter(|(_, slot)| slot.key.load().is_some()).count()
    }

    fn spare(&self) -> MutexGuard<'_, VecDeque<SecretHandle>> {
        // Nothing that can panic runs under this lock.
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn gone() -> KmsError {
    KmsError::new(ErrorCode::StoreUnavailable, "the private key is no longer held").retryable(false)
}
