//! Another root key, while the store goes on serving.
//!
//! 1. The header is replaced: sealed by the new root key, with a second wrapping key. From this instant the old root
//!    key opens the store no more.
//! 2. Each key's data key is sealed again under the second wrapping key; one key at a time waits for it.
//! 3. The header is replaced without the first wrapping key.
//!
//! A crash or a failure after step 1 leaves a store that the new root key opens, with both wrapping keys until step 3; a
//! start reports it, and a rekey to the same root key goes on.

use std::sync::PoisonError;

use kms_core::custody::RootKey;
use kms_core::{KmsError, Secret};
use uuid::Uuid;

use super::plan::wrap;
use super::read::{damaged, data_key, read_key};
use super::{FileStore, HEADER, KEY, key_path};
use crate::error::{Result, Role, StoreError};
use crate::header::StoreKeys;

impl FileStore {
    /// Moves the store to another root key (which may be the old one: then only the wrapping key is new), or goes on
    /// with moving it there. `progress` is told keys done and keys in all.
    ///
    /// # Errors
    /// `Conflict` while an earlier rekey to another root key is not finished; `RekeyUnfinished` once the new root key is,
    /// or may be, in force: the same call, or [`FileStore::finish_rekey`] after the next start, goes on. After any other
    /// (`Disk`, those of the root key) nothing has changed.
    pub fn rekey(
        &self,
        new_root: &dyn RootKey,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<()> {
        let _guard = self.rekeying.lock().map_err(|_| StoreError::ReadOnly)?;
        if self.is_rekeying() {
            match self.check_in_force(new_root) {
                Err(StoreError::WrongRootKey) => {
                    let why = "an earlier rekey, to another root key, is not finished";
                    return Err(KmsError::conflict(why).into());
                }
                checked => checked?,
            }
        } else {
            let mut keys = self.copy_keys();
            keys.add_wrapping_key(&*self.entropy)?;
            self.replace_header(keys, new_root).map_err(|reason| match reason {
                StoreError::Disk(ref disk) if disk.is_in_doubt() => unfinished(false, reason),
                reason => reason,
            })?;
        }
        self.rewrap_all(new_root, progress).map_err(|reason| unfinished(true, reason))
    }

    /// Ends a rekey that was interrupted; `root` is the root key in force. Without one there is nothing to do.
    ///
    /// # Errors
    /// As [`FileStore::rekey`]; `WrongRootKey` where `root` does not open the store.
    pub fn finish_rekey(
        &self,
        root: &dyn RootKey,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<()> {
        let _guard = self.rekeying.lock().map_err(|_| StoreError::ReadOnly)?;
        self.check_in_force(root)?;
        self.rewrap_all(root, progress)
    }

    /// Whether a root key opens the header as it is now.
    fn check_in_force(&self, root: &dyn RootKey) -> Result<()> {
        let header = self.root.read(HEADER, crate::format::max_len(Role::Header))?;
        StoreKeys::open(&header, root).map(drop)
    }

    /// Whether a rekey is under way or was interrupted.
    pub fn is_rekeying(&self) -> bool {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).wrapping.len() > 1
    }

    /// Steps 2 and 3.
    fn rewrap_all(&self, root: &dyn RootKey, progress: &mut dyn FnMut(usize, usize)) -> Result<()> {
        let mut keys = self.copy_keys();
        if keys.wrapping.len() < 2 {
            return Ok(());
        }
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        // Keys that are added from here on are sealed under the new wrapping key.
        let uuids: Vec<Uuid> = index.keys().copied().collect();
        drop(index);
        for (done, uuid) in uuids.iter().enumerate() {
            progress(done, uuids.len());
            self.rewrap(uuid)?;
        }
        progress(uuids.len(), uuids.len());
        keys.wrapping.drain(..keys.wrapping.len() - 1);
        self.replace_header(keys, root)
    }

    fn rewrap(&self, uuid: &Uuid) -> Result<()> {
        let _writer = self.writer.lock().map_err(|_| StoreError::ReadOnly)?;
        self.check_writable()?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let dir = self.root.open_dir(&key_path(uuid))?;
        let mut key = read_key(&dir, uuid, &keys.integrity)?;
        if key.data_key.is_none() || key.generation == keys.generation() {
            return Ok(());
        }
        let data = data_key(&key, &keys)?
            .ok_or_else(|| damaged(Role::Key, "the header has no such generation"))?;
        wrap(&mut key, &data, &keys, self)?;
        let bytes = key.encode(&keys.integrity);
        drop(keys);
        self.noticed(dir.replace(KEY, &bytes))
    }

    /// Durably first, then for everyone here; commits wait, so none seals under a key that is gone.
    fn replace_header(&self, keys: StoreKeys, root: &dyn RootKey) -> Result<()> {
        // May take a second: before any lock that others wait for.
        let header = keys.seal(root, &*self.entropy)?;
        let _writer = self.writer.lock().map_err(|_| StoreError::ReadOnly)?;
        self.check_writable()?;
        self.noticed(self.root.replace(HEADER, &header))?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    pub(super) fn copy_keys(&self) -> StoreKeys {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).copy()
    }

    /// A key for another use, which the store's root key alone gives.
    ///
    /// # Errors
    /// None today.
    pub fn subkey(&self, purpose: &str) -> Result<Secret<32>, KmsError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        crate::seal::subkey(&keys.integrity, purpose)
    }
}

fn unfinished(in_force: bool, reason: StoreError) -> StoreError {
    StoreError::RekeyUnfinished { in_force, reason: Box::new(reason) }
}
