//! All keys, by UUID.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use kms_core::{Context, KidRef, KmsError, Result};
use uuid::Uuid;

use crate::key::Key;

/// Finds keys for many readers at once. A key is never removed or replaced.
#[derive(Default)]
pub(crate) struct Registry {
    keys: RwLock<HashMap<Uuid, Arc<Key>>>,
}

impl Registry {
    /// Adds a key under its UUID.
    ///
    /// # Errors
    /// `Internal` when the UUID is taken: the randomness repeats, and nothing it makes is safe.
    pub(crate) fn insert(&self, key: Arc<Key>) -> Result<()> {
        // One map operation under the lock: a panic cannot leave it half done.
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        match keys.entry(key.id.uuid) {
            std::collections::hash_map::Entry::Occupied(_) => {
                Err(KmsError::internal("a fresh UUID was already in use"))
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(key);
                Ok(())
            }
        }
    }

    /// The key that `kid` names, if `context` may know of it.
    ///
    /// # Errors
    /// `NotFound`, the same for a missing key, another tenant's key and a name that does not fit.
    pub(crate) fn find(&self, kid: &KidRef<'_>, context: &Context) -> Result<Arc<Key>> {
        context.permit(kid.tenant)?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(&kid.uuid)
            .filter(|key| kid.names(&key.id))
            .cloned()
            .ok_or_else(KmsError::not_found)
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}
