//! One change, all or nothing; the order of its writes is in `mod.rs`.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use kms_core::custody::{
    Activation, Answer, Change, Committed, KeyFacts, Revision, StoredState, VersionFacts,
};
use kms_core::{KmsError, Secret, SecretBytes, Version};
use kms_durable::Dir;
use uuid::Uuid;

use super::read::{damaged, data_key, destroyed, read_key, read_version, secret};
use super::{
    Entry, FileStore, HEAD, KEY, KEYS, WriterState, key_path, shard_name, shard_path, version_name,
};
use crate::digest::Digest;
use crate::error::{Result, Role, StoreError};
use crate::format::{HeadFile, KeyFile, VersionFile, check_limits};
use crate::header::StoreKeys;
use crate::seal;

/// A change as bytes, and what it does to the store.
pub(super) struct Plan {
    pub(super) write: Write,
    pub(super) digest: Digest,
    pub(super) newest: Version,
    /// The kid that is destroyed by it.
    tombstone: Option<String>,
}

pub(super) enum Write {
    NewKey { key: Vec<u8>, version: Vec<u8> },
    NewFile(String, Vec<u8>),
    Replace(String, Vec<u8>),
}

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

    pub(super) fn plan(
        &self,
        uuid: &Uuid,
        entry: Option<Entry>,
        change: &Change<'_>,
        revision: Revision,
        digest: Digest,
    ) -> Result<Plan> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let planner = Planner { store: self, keys: &keys, uuid, revision, digest };
        match (change, entry) {
            (Change::Create { facts, first, secret }, None) => planner.create(facts, first, secret),
            (_, None) => Err(KmsError::not_found().into()),
            (Change::Create { .. }, Some(_)) => {
                Err(KmsError::conflict("the key is there already").into())
            }
            (Change::Rotate { version, secret }, Some(entry)) => {
                planner.rotate(entry, version, secret)
            }
            (Change::SetKeyState(state), Some(entry)) => planner.key_state(entry, *state),
            (Change::Activate { version }, Some(entry)) => {
                planner.version(entry, *version, |facts| {
                    if facts.activation == Activation::Active {
                        return Err(KmsError::conflict("the version is active already"));
                    }
                    facts.activation = Activation::Active;
                    Ok(())
                })
            }
            (Change::SetVersionState { version, state }, Some(entry)) => {
                planner.version(entry, *version, |facts| {
                    facts.state = *state;
                    Ok(())
                })
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

/// Turns a change into bytes.
struct Planner<'a> {
    store: &'a FileStore,
    keys: &'a StoreKeys,
    uuid: &'a Uuid,
    revision: Revision,
    digest: Digest,
}

impl Planner<'_> {
    fn create(
        mut self,
        facts: &KeyFacts,
        first: &VersionFacts,
        secret: &SecretBytes,
    ) -> Result<Plan> {
        if facts.id.uuid != *self.uuid || first.version != Version::MIN {
            return Err(KmsError::conflict("a new key begins with its version 1").into());
        }
        if first.state == StoredState::Destroyed {
            return Err(destroyed());
        }
        let data = Secret::<32>::random(&*self.store.entropy)?;
        let mut key = KeyFile {
            facts: facts.clone(),
            state: StoredState::Enabled,
            revision: self.revision,
            generation: 0,
            data_key: None,
        };
        self.wrap(&mut key, &data)?;
        let version = self.sealed(&key, first.clone(), secret, &data)?;
        self.add(0);
        self.add(1);
        let integrity = &self.keys.integrity;
        let write =
            Write::NewKey { key: key.encode(integrity), version: version.encode(integrity) };
        Ok(self.planned(write, Version::MIN, None))
    }

    fn rotate(mut self, entry: Entry, facts: &VersionFacts, secret: &SecretBytes) -> Result<Plan> {
        if entry.newest.checked_add(1) != Some(facts.version) {
            return Err(KmsError::conflict("this is not the next version").into());
        }
        if facts.state == StoredState::Destroyed {
            return Err(destroyed());
        }
        let (key, data) = self.key_and_data()?;
        let file = self.sealed(&key, facts.clone(), secret, &data)?;
        self.add(facts.version.get());
        let write = Write::NewFile(version_name(facts.version), file.encode(&self.keys.integrity));
        Ok(self.planned(write, facts.version, None))
    }

    fn key_state(mut self, entry: Entry, state: StoredState) -> Result<Plan> {
        let (mut key, data) = self.key_and_data()?;
        self.remove(0, key.revision);
        self.add(0);
        (key.state, key.revision) = (state, self.revision);
        let tombstone = if state == StoredState::Destroyed {
            key.data_key = None;
            Some(key.facts.id.to_string())
        } else {
            self.wrap(&mut key, &data)?;
            None
        };
        let write = Write::Replace(KEY.to_owned(), key.encode(&self.keys.integrity));
        Ok(self.planned(write, entry.newest, tombstone))
    }

    fn version(
        mut self,
        entry: Entry,
        version: Version,
        change: impl FnOnce(&mut VersionFacts) -> Result<(), KmsError>,
    ) -> Result<Plan> {
        if version > entry.newest {
            return Err(KmsError::not_found().into());
        }
        let (key, data) = self.key_and_data()?;
        let mut file = read_version(&self.dir()?, self.uuid, version, &self.keys.integrity)?;
        let opened = secret(&key, &file, &data)?;
        self.remove(version.get(), file.revision);
        self.add(version.get());
        change(&mut file.facts)?;
        let gone = file.facts.state == StoredState::Destroyed;
        let tombstone = gone.then(|| key.facts.id.at(version).to_string());
        let file = if gone {
            VersionFile { revision: self.revision, secret: None, ..file }
        } else {
            self.sealed(&key, file.facts, &opened, &data)?
        };
        let write = Write::Replace(version_name(version), file.encode(&self.keys.integrity));
        Ok(self.planned(write, entry.newest, tombstone))
    }

    /// The version's file with its secret sealed for exactly these facts.
    fn sealed(
        &self,
        key: &KeyFile,
        facts: VersionFacts,
        secret: &SecretBytes,
        data: &Secret<32>,
    ) -> Result<VersionFile> {
        let revision = self.revision;
        let mut file = VersionFile { key: *self.uuid, facts, revision, secret: None };
        let header = file.header(&key.facts.id);
        file.secret = Some(seal::seal(data, &header, secret.expose(), &*self.store.entropy)?);
        Ok(file)
    }

    fn wrap(&self, key: &mut KeyFile, data: &Secret<32>) -> Result<()> {
        wrap(key, data, self.keys, self.store)
    }

    fn key_and_data(&self) -> Result<(KeyFile, Secret<32>)> {
        let key = read_key(&self.dir()?, self.uuid, &self.keys.integrity)?;
        let data = data_key(&key, self.keys)?
            .ok_or_else(|| damaged(Role::Key, "the header has no such generation"))?;
        Ok((key, data))
    }

    fn dir(&self) -> Result<Dir> {
        Ok(self.store.root.open_dir(&key_path(self.uuid))?)
    }

    fn add(&mut self, number: u32) {
        self.digest.add(&self.keys.integrity, (self.uuid, number, self.revision));
    }

    fn remove(&mut self, number: u32, revision: Revision) {
        self.digest.remove(&self.keys.integrity, (self.uuid, number, revision));
    }

    fn planned(self, write: Write, newest: Version, tombstone: Option<String>) -> Plan {
        Plan { write, digest: self.digest, newest, tombstone }
    }
}

/// Seals the data key for exactly the key's facts and state, under the newest generation.
pub(super) fn wrap(
    key: &mut KeyFile,
    data: &Secret<32>,
    keys: &StoreKeys,
    store: &FileStore,
) -> Result<()> {
    let fault = || KmsError::internal("a data key has a wrong length");
    key.generation = keys.generation();
    let wrapping = keys.wrapping_key(key.generation).ok_or_else(fault)?;
    let sealed = seal::seal(wrapping, &key.header().0, data.expose(), &*store.entropy)?;
    key.data_key = Some(sealed.try_into().map_err(|_| fault())?);
    Ok(())
}
