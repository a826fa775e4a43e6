//! What the anchor remembers as destroyed is destroyed, whatever the directory says.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use kms_core::custody::{Change, Committed, StoredKey, StoredState};
use kms_core::{KidRef, KmsError};
use uuid::Uuid;

use super::{Entry, FileStore};
use crate::error::{Result, StoreError};
use crate::format::HeadFile;

/// Shows a key as it will be once its tombstones are carried out.
pub(super) fn bury(key: &mut StoredKey, tombstones: &BTreeSet<Box<str>>) {
    if tombstones.is_empty() {
        return;
    }
    if tombstones.contains(key.facts.id.to_string().as_str()) {
        key.state = StoredState::Destroyed;
    }
    for facts in &mut key.versions {
        if tombstones.contains(key.facts.id.at(facts.version).to_string().as_str()) {
            facts.state = StoredState::Destroyed;
        }
    }
}

impl FileStore {
    /// Ends the change that the head announces, where it is a destruction that got as far as its tombstone: under
    /// its own revision, so that its answer counts. Whether it was one.
    pub(super) fn finish_destruction(
        &self,
        head: &HeadFile,
        tombstones: &BTreeSet<Box<str>>,
    ) -> Result<bool> {
        for kid in tombstones {
            let Some((uuid, stored, change)) = self.left_to_do(kid)? else { continue };
            if uuid != head.key {
                continue;
            }
            let mut writer = self.writer.lock().map_err(|_| StoreError::ReadOnly)?;
            let entry = self.entry(&uuid);
            let plan = self.plan(&uuid, entry, &change, head.revision, writer.digest)?;
            if plan.digest.to_bytes() != head.after {
                continue;
            }
            self.noticed(self.write(&uuid, &plan.write))?;
            writer.digest = plan.digest;
            let newest = stored.versions.last().map_or(plan.newest, |facts| facts.version);
            let entry = Entry { revision: head.revision, newest };
            self.index.write().unwrap_or_else(PoisonError::into_inner).insert(uuid, entry);
            self.scrub(&uuid)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Carries out a destruction that the anchor remembers and an older copy of the store does not. Whether there
    /// was anything to do.
    pub(super) fn destroy_again(&self, kid: &str) -> Result<bool> {
        let Some((uuid, stored, change)) = self.left_to_do(kid)? else { return Ok(false) };
        match self.commit_change(&uuid, stored.revision, &change, None)? {
            Committed::Done { .. } => Ok(true),
            _ => Err(KmsError::internal("a key changed while its store was opened").into()),
        }
    }

    /// The key of a tombstone and the change that fulfils it; `None` where it is fulfilled, and for a key or version
    /// that an older copy does not have yet.
    fn left_to_do(&self, kid: &str) -> Result<Option<(Uuid, StoredKey, Change<'static>)>> {
        let kid = KidRef::parse(kid)?;
        let Some(stored) = self.load_key(&kid.uuid)?.filter(|key| kid.names(&key.facts.id)) else {
            return Ok(None);
        };
        let gone = |state| state == StoredState::Destroyed;
        let state = StoredState::Destroyed;
        let change = match kid.version {
            _ if gone(stored.state) => return Ok(None),
            None => Change::SetKeyState(state),
            Some(version) => match stored.versions.get(version.get() as usize - 1) {
                Some(facts) if !gone(facts.state) => Change::SetVersionState { version, state },
                _ => return Ok(None),
            },
        };
        Ok(Some((kid.uuid, stored, change)))
    }
}
