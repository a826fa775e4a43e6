//! The keys whose passports are taken, by kid.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, PoisonError, RwLock};

use kms_core::Result;
use kms_crypto::ed25519::{KeyHandle, PublicKey};

/// Keys that are looked up by the whole kid. Readers never wait for each other.
#[derive(Default)]
pub(crate) struct Keys {
    by_kid: RwLock<HashMap<Box<str>, Arc<KeyHandle>>>,
    /// Counts changes that take trust away.
    epoch: AtomicU64,
}

impl Keys {
    /// Trusts a key. One kid has one key: another key under it replaces the first.
    pub(crate) fn insert(&self, kid: &str, public: &[u8; 32]) -> Result<()> {
        let handle = KeyHandle::import(PublicKey::from_bytes(public)?);
        let mut keys = self.by_kid.write().unwrap_or_else(PoisonError::into_inner);
        if keys.insert(kid.into(), handle).is_some() {
            self.epoch.fetch_add(1, SeqCst);
        }
        Ok(())
    }

    /// Trusts a key no longer. Whether it was trusted.
    pub(crate) fn remove(&self, kid: &str) -> bool {
        let mut keys = self.by_kid.write().unwrap_or_else(PoisonError::into_inner);
        let known = keys.remove(kid).is_some();
        self.epoch.fetch_add(1, SeqCst);
        known
    }

    /// Changes whenever a key is trusted no longer.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(SeqCst)
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        self.by_kid.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The keys of kids, in order.
    pub(crate) fn resolve<'k>(
        &self,
        kids: impl Iterator<Item = Option<&'k str>>,
    ) -> Vec<Option<Arc<KeyHandle>>> {
        let keys = self.by_kid.read().unwrap_or_else(PoisonError::into_inner);
        let mut last: Option<(&str, Option<Arc<KeyHandle>>)> = None;
        kids.map(|kid| {
            let kid = kid?;
            // Tokens of one head come in runs.
            if let Some((known, handle)) = &last
                && *known == kid
            {
                return handle.clone();
            }
            let handle = keys.get(kid).cloned();
            last = Some((kid, handle.clone()));
            handle
        })
        .collect()
    }

    /// Whether a key is still trusted, and still this one.
    pub(crate) fn is_current(&self, kid: &str, handle: &Arc<KeyHandle>) -> bool {
        let keys = self.by_kid.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(kid).is_some_and(|known| Arc::ptr_eq(known, handle))
    }
}
