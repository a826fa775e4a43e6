//! All keys, by UUID.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use kms_core::{Algorithm, Context, KidRef, KmsError, Result};
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
        match keys.entry(key.id().uuid) {
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
            .filter(|key| kid.names(key.id()))
            .cloned()
            .ok_or_else(KmsError::not_found)
    }

    /// The key of a UUID, if there is one.
    pub(crate) fn get(&self, uuid: &Uuid) -> Option<Arc<Key>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(uuid).cloned()
    }

    /// Every key.
    pub(crate) fn all(&self) -> Vec<Arc<Key>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// How many keys there are of each algorithm that a kid can show.
    pub(crate) fn count(&self) -> [u64; Algorithm::ALL.len()] {
        let mut counts = [0; Algorithm::ALL.len()];
        for key in self.keys.read().unwrap_or_else(PoisonError::into_inner).values() {
            counts[key.id().alg.index()] += 1;
        }
        counts
    }
}
