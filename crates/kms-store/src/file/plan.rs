//! Turns a change into the bytes of the one file, or the one new directory, that it is.

use std::sync::PoisonError;

use kms_core::custody::{Activation, Change, KeyFacts, Revision, StoredState, VersionFacts};
use kms_core::{KmsError, Secret, SecretBytes, Version};
use kms_durable::Dir;
use uuid::Uuid;

use super::read::{damaged, data_key, destroyed, read_key, read_version, secret};
use super::{Entry, FileStore, KEY, key_path, version_name};
use crate::digest::Digest;
use crate::error::{Result, Role};
use crate::format::{KeyFile, VersionFile};
use crate::header::StoreKeys;
use crate::seal;

/// A change as bytes, and what it does to the store.
pub(super) struct Plan {
    pub(super) write: Write,
    pub(super) digest: Digest,
    pub(super) newest: Version,
    /// The kid that is destroyed by it.
    pub(super) tombstone: Option<String>,
}

pub(super) enum Write {
    NewKey { key: Vec<u8>, version: Vec<u8> },
    NewFile(String, Vec<u8>),
    Replace(String, Vec<u8>),
}

impl FileStore {
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
                    facts.enter(*state);
                    Ok(())
                })
            }
        }
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
