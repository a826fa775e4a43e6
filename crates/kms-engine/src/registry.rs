//! All keys, by UUID, and the UUIDs of each tenant.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use kms_core::{Algorithm, Context, KidRef, KmsError, Result};
use uuid::Uuid;

use crate::key::Key;

/// Finds keys for many readers at once. A key is never removed or replaced.
#[derive(Default)]
pub(crate) struct Registry {
    keys: RwLock<HashMap<Uuid, Arc<Key>>>,
    /// In the order of their UUIDs: where a listing goes on does not change while keys are added.
    of_tenants: RwLock<HashMap<Box<str>, BTreeSet<Uuid>>>,
}

impl Registry {
    /// Adds a key under its UUID.
    ///
    /// # Errors
    /// `Internal` when the UUID is taken: the randomness repeats, and nothing it makes is safe.
    pub(crate) fn insert(&self, key: Arc<Key>) -> Result<()> {
        // One map operation under the lock: a panic cannot leave it half done.
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let Entry::Vacant(place) = keys.entry(key.id().uuid) else {
            return Err(KmsError::internal("a fresh UUID was already in use"));
        };
        let (tenant, uuid) = (key.id().tenant.as_str().into(), key.id().uuid);
        place.insert(key);
        drop(keys);
        let mut tenants = self.of_tenants.write().unwrap_or_else(PoisonError::into_inner);
        tenants.entry(tenant).or_default().insert(uuid);
        Ok(())
    }

    /// The key that `kid` names, if `context` may know of it.
    ///
    /// # Errors
    /// `NoCapability` for what the caller's capability does not cover; `NotFound`, the same for a missing key, another
    /// tenant's key and a name that does not fit.
    pub(crate) fn find(&self, kid: &KidRef<'_>, context: &Context) -> Result<Arc<Key>> {
        context.permit_kid(kid)?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(&kid.uuid)
            .filter(|key| kid.names(key.id()))
            .cloned()
            .ok_or_else(KmsError::not_found)
    }

    /// At most `most` keys of a tenant that the caller may know of, in the order of their UUIDs, from the one after `after`
    /// on.
    pub(crate) fn page(
        &self,
        context: &Context,
        tenant: &str,
        after: Option<Uuid>,
        most: usize,
    ) -> Vec<Arc<Key>> {
        let tenants = self.of_tenants.read().unwrap_or_else(PoisonError::into_inner);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let uuids = tenants.get(tenant).into_iter();
        let uuids = uuids.flat_map(|uuids| uuids.range((from, Bound::Unbounded)));
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let known = |key: &&Arc<Key>| context.permit_kid(&key.id().into()).is_ok();
        uuids.filter_map(|uuid| keys.get(uuid)).filter(known).take(most).cloned().collect()
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
