//! One change, all or nothing; the order of its writes is in `mod.rs`.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use kms_core::custody::{Answer, Change, Committed, Revision};
use kms_core::{KmsError, Version};
use kms_durable::Dir;
use uuid::Uuid;

use super::plan::{Plan, Write};
use super::read::{read_key, read_version};
use super::{
    Entry, FileStore, HEAD, KEY, KEYS, WriterState, key_path, shard_name, shard_path, version_name,
};
use crate::error::{Result, StoreError};
use crate::format::{HeadFile, check_limits};

impl FileStore {
    pub(super) fn commit_change(
        &self,
        uuid: &Uuid,
        expected: Revision,
        change: &Change<'_>,
        answer: Option<&Answer>,
    ) -> Result<Committed> {
        check_change(change, answer)?;
        self.check_writable()?;
        let mut writer = self.writer.lock().map_err(|_| StoreError::ReadOnly)?;
        self.check_writable()?;
        if let Some(answer) = answer
            && let Some(found) = self.find_answer(&answer.scope)?
        {
            return Ok(Committed::Answered(Box::new(found)));
        }
        let entry = self.entry(uuid);
        let revision = entry.map_or(0, |entry| entry.revision);
        if revision != expected {
            return Ok(Committed::Conflict { revision });
        }
        let next = writer.revision.checked_add(1);
        let next = next.ok_or_else(|| KmsError::conflict("no revision is left"))?;
        let plan = self.plan(uuid, entry, change, next, writer.digest)?;
        let answered = answer.map(|answer| self.write_answer(answer, next)).transpose()?;
        if let Err(error) = self.carry_out(uuid, &mut writer, next, &plan) {
            // Where the outcome is open, so is that of the answer: the next start decides both.
            if let Some(name) = answered.filter(|_| self.is_writable()) {
                self.drop_answer(&name)?;
            }
            return Err(error);
        }
        writer.digest = plan.digest;
        let entry = Entry { revision: next, newest: plan.newest };
        self.index.write().unwrap_or_else(PoisonError::into_inner).insert(*uuid, entry);
        if let Some(name) = answered {
            self.answers.in_force(&name);
        }
        drop(writer);
        // It is made and durable: what fails from here on closes the store at most.
        let settled = self.settle(next);
        let scrubbed = if plan.tombstone.is_some() { self.scrub(uuid) } else { Ok(()) };
        for after in [settled, scrubbed] {
            match after {
                Ok(()) | Err(StoreError::Disk(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Committed::Done { revision: next })
    }

    pub(super) fn entry(&self, uuid: &Uuid) -> Option<Entry> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).get(uuid).copied()
    }

    /// Everything that may fail for want of space comes before the last call, which is the change.
    fn carry_out(
        &self,
        uuid: &Uuid,
        writer: &mut WriterState,
        revision: Revision,
        plan: &Plan,
    ) -> Result<()> {
        if matches!(plan.write, Write::NewKey { .. }) {
            self.noticed(ensure_shard(&self.root, uuid))?;
        }
        self.write_head(revision, writer.digest.to_bytes(), plan.digest.to_bytes(), uuid)?;
        // From here the number is used up, whatever becomes of the change.
        writer.revision = revision;
        self.anchor(revision, plan.tombstone.as_deref())?;
        let written = self.noticed(self.write(uuid, &plan.write));
        let full = matches!(written, Err(StoreError::Disk(kms_durable::Error::DiskFull { .. })));
        if plan.tombstone.is_some() && written.is_err() && !full {
            // The next start will carry the destruction out, and its answer is to be there then.
            self.in_doubt.store(true, Ordering::Release);
        }
        written
    }

    fn anchor(&self, revision: Revision, tombstone: Option<&str>) -> Result<()> {
        let Some(anchor) = &self.anchor else { return Ok(()) };
        let anchored = tombstone
            .map_or(Ok(()), |kid| anchor.add_tombstone(kid))
            .and_then(|()| anchor.advance_store(revision));
        if anchored.as_ref().is_err_and(|error| !error.retryable) {
            // What it remembers now is open, and so is what a start will make of this change.
            self.in_doubt.store(true, Ordering::Release);
        }
        Ok(anchored?)
    }

    /// Writes a head that accepts the files as they are and no others. Without it a start would take the removal of
    /// the last change for a change that was not made.
    pub(super) fn settle(&self, revision: Revision) -> Result<()> {
        let mut writer = self.writer.lock().map_err(|_| StoreError::ReadOnly)?;
        if writer.revision > revision {
            return Ok(());
        }
        writer.revision = revision;
        let sum = writer.digest.to_bytes();
        self.write_head(revision, sum, sum, &Uuid::nil())
    }

    fn write_head(
        &self,
        revision: Revision,
        before: [u8; 32],
        after: [u8; 32],
        key: &Uuid,
    ) -> Result<()> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let anchored = self.is_anchored();
        let head = HeadFile { store: keys.store, revision, before, after, key: *key, anchored };
        let bytes = head.encode(&keys.integrity);
        drop(keys);
        self.noticed(self.root.replace(HEAD, &bytes))
    }

    pub(super) fn write(&self, uuid: &Uuid, write: &Write) -> kms_durable::Result<()> {
        match write {
            Write::NewKey { key, version } => {
                let first = version_name(Version::MIN);
                let name = uuid.as_hyphenated().to_string();
                let shard = self.root.open_dir(&shard_path(uuid))?;
                shard.create_dir_atomic(&name, &[(KEY, key), (&first, version)])
            }
            Write::NewFile(name, bytes) => {
                self.root.open_dir(&key_path(uuid))?.create_new(name, bytes)
            }
            Write::Replace(name, bytes) => {
                self.root.open_dir(&key_path(uuid))?.replace(name, bytes)
            }
        }
    }

    /// Removes the sealed secrets of a destroyed key, which no key opens any more. What stays for want of space, the
    /// next start removes.
    pub(super) fn scrub(&self, uuid: &Uuid) -> Result<()> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let dir = self.root.open_dir(&key_path(uuid))?;
        if read_key(&dir, uuid, &keys.integrity)?.data_key.is_some() {
            return Ok(());
        }
        let newest = self.entry(uuid).map_or(0, |entry| entry.newest.get());
        for version in (1..=newest).filter_map(Version::new) {
            let mut file = read_version(&dir, uuid, version, &keys.integrity)?;
            if file.secret.take().is_none() {
                continue;
            }
            let bytes = file.encode(&keys.integrity);
            self.noticed(dir.replace(&version_name(version), &bytes))?;
        }
        Ok(())
    }
}

/// Makes the directory that a new key's goes into.
pub(super) fn ensure_shard(root: &Dir, uuid: &Uuid) -> kms_durable::Result<()> {
    root.open_dir(KEYS)?.ensure_dir(&shard_name(uuid))
}

fn check_change(change: &Change<'_>, answer: Option<&Answer>) -> Result<(), KmsError> {
    match change {
        Change::Create { facts, first, secret } => {
            check_limits(facts.policy_hints.as_deref(), Some((first, secret.len())), answer)
        }
        Change::Rotate { version, secret } => {
            check_limits(None, Some((version, secret.len())), answer)
        }
        _ => check_limits(None, None, answer),
    }
}
