//! Where private keys live: the engine's arena, reached by opaque handles.

use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use kms_core::{ErrorCode, KmsError, Result};

use crate::material::SecretHalf;

/// Names a private key without holding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecretHandle(usize);

/// Every private key of one engine. Slots are never reused, so a handle never changes its meaning.
#[derive(Default)]
pub(crate) struct Arena {
    slots: boxcar::Vec<ArcSwapOption<SecretHalf>>,
    cleared: AtomicBool,
}

impl Arena {
    /// Takes a key over.
    ///
    /// # Errors
    /// `StoreUnavailable` once the arena was cleared; the key is wiped.
    pub(crate) fn insert(&self, key: SecretHalf) -> Result<SecretHandle> {
        let slot = self.slots.push(ArcSwapOption::from_pointee(key));
        // Asked after the push: either this sees the flag, or `clear` sees the slot.
        if self.cleared.load(Ordering::SeqCst) {
            self.slots[slot].store(None);
            return Err(gone());
        }
        Ok(SecretHandle(slot))
    }

    /// A place for a key that comes later, if ever.
    pub(crate) fn reserve(&self) -> SecretHandle {
        SecretHandle(self.slots.push(ArcSwapOption::empty()))
    }

    /// Puts a key in its place.
    ///
    /// # Errors
    /// As [`Arena::insert`].
    pub(crate) fn put(&self, handle: SecretHandle, key: SecretHalf) -> Result<()> {
        let slot = self.slots.get(handle.0).ok_or_else(gone)?;
        slot.store(Some(std::sync::Arc::new(key)));
        if self.cleared.load(Ordering::SeqCst) {
            slot.store(None);
            return Err(gone());
        }
        Ok(())
    }

    /// Whether a key is in its place.
    pub(crate) fn holds(&self, handle: SecretHandle) -> bool {
        self.slots.get(handle.0).is_some_and(|slot| slot.load().is_some())
    }

    /// Uses a key. It stays alive until the call ends, even if the arena is cleared meanwhile.
    pub(crate) fn with<T>(
        &self,
        handle: SecretHandle,
        act: impl FnOnce(&SecretHalf) -> T,
    ) -> Result<T> {
        let slot = self.slots.get(handle.0).map(ArcSwapOption::load);
        match slot.as_deref().and_then(Option::as_deref) {
            Some(key) => Ok(act(key)),
            None => Err(gone()),
        }
    }

    /// Drops a key that came to nothing.
    pub(crate) fn remove(&self, handle: SecretHandle) {
        if let Some(slot) = self.slots.get(handle.0) {
            slot.store(None);
        }
    }

    /// Drops every key; each is wiped when the last call that uses it ends.
    pub(crate) fn clear(&self) {
        self.cleared.store(true, Ordering::SeqCst);
        for (_, slot) in &self.slots {
            slot.store(None);
        }
    }
}

pub(crate) fn gone() -> KmsError {
    KmsError::new(ErrorCode::StoreUnavailable, "the private key is no longer held").retryable(false)
}
