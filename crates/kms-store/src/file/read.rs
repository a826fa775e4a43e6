//! Reading keys: every byte is authenticated before it is used.

use kms_core::custody::{StoredKey, StoredState};
use kms_core::{KmsError, Secret, SecretBytes, Version};
use kms_durable::{Dir, FileKind};
use std::sync::PoisonError;
use uuid::Uuid;

use super::{FileStore, KEY, key_path, version_name};
use crate::anchor::found;
use crate::digest::{Digest, Element};
use crate::error::{Result, Role, StoreError};
use crate::format::{KeyFile, VersionFile, max_len};
use crate::header::StoreKeys;
use crate::seal;

/// All files of a key.
pub(super) struct KeyFiles {
    pub(super) key: KeyFile,
    /// Version N at index N - 1.
    pub(super) versions: Vec<VersionFile>,
}

impl KeyFiles {
    /// Reads and checks every file in a key's directory; what an interrupted write left there is removed where
    /// `clean` says so.
    pub(super) fn read(dir: &Dir, uuid: &Uuid, keys: &StoreKeys, clean: bool) -> Result<KeyFiles> {
        let integrity = &keys.integrity;
        let listed = if clean { dir.entries_removing_stale()? } else { dir.entries()? };
        let mut numbers = Vec::with_capacity(listed.len());
        for (name, kind) in listed {
            match (parse_version(&name), kind) {
                (Some(version), FileKind::File) => numbers.push(version),
                _ if name == KEY => {}
                _ => return Err(damaged(Role::Key, "a foreign file is beside it")),
            }
        }
        numbers.sort_unstable();
        let mut versions = Vec::with_capacity(numbers.len());
        for version in numbers {
            if version.get() as usize != versions.len() + 1 {
                return Err(damaged(Role::Version, "one before it is missing"));
            }
            versions.push(read_version(dir, uuid, version, integrity)?);
        }
        // After its versions: a destruction that comes in between is seen here, and explains what they lack.
        let key = read_key(dir, uuid, integrity)?;
        if key.data_key.is_some() && keys.wrapping_key(key.generation).is_none() {
            return Err(damaged(Role::Key, "the header has no such generation"));
        }
        let lacking = |file: &VersionFile| {
            file.secret.is_none() && file.facts.state != StoredState::Destroyed
        };
        if key.data_key.is_some() && versions.iter().any(lacking) {
            return Err(damaged(Role::Version, "state and secret do not fit"));
        }
        if versions.is_empty() {
            return Err(damaged(Role::Key, "it has no version"));
        }
        Ok(KeyFiles { key, versions })
    }

    /// Adds every file to the sum of the store.
    pub(super) fn add_to(&self, digest: &mut Digest, integrity: &Secret<32>) {
        let uuid = &self.key.facts.id.uuid;
        let key: Element<'_> = (uuid, 0, self.key.revision);
        let versions =
            self.versions.iter().map(|file| (uuid, file.facts.version.get(), file.revision));
        for element in std::iter::once(key).chain(versions) {
            digest.add(integrity, element);
        }
    }

    /// The revision of the key's last change.
    pub(super) fn revision(&self) -> u64 {
        self.versions.iter().map(|file| file.revision).fold(self.key.revision, u64::max)
    }

    /// Without what is sealed.
    pub(super) fn stored(self) -> StoredKey {
        let revision = self.revision();
        let versions = self.versions.into_iter().map(|file| file.facts).collect();
        StoredKey { facts: self.key.facts, state: self.key.state, revision, versions }
    }
}

pub(super) fn read_key(dir: &Dir, uuid: &Uuid, integrity: &Secret<32>) -> Result<KeyFile> {
    let bytes = dir.read(KEY, max_len(Role::Key)).map_err(missing(Role::Key))?;
    let key = KeyFile::decode(&bytes, integrity)?;
    if key.facts.id.uuid != *uuid {
        return Err(damaged(Role::Key, "it is of another key"));
    }
    Ok(key)
}

pub(super) fn read_version(
    dir: &Dir,
    uuid: &Uuid,
    version: Version,
    integrity: &Secret<32>,
) -> Result<VersionFile> {
    let bytes =
        dir.read(&version_name(version), max_len(Role::Version)).map_err(missing(Role::Version))?;
    let file = VersionFile::decode(&bytes, integrity)?;
    if file.key != *uuid || file.facts.version != version {
        return Err(damaged(Role::Version, "it is of another key or version"));
    }
    Ok(file)
}

/// The data key of a key; `None` where the generation that sealed it is not (or no longer) known.
///
/// # Errors
/// `Conflict` once the key is destroyed; `Damaged`.
pub(super) fn data_key(key: &KeyFile, keys: &StoreKeys) -> Result<Option<Secret<32>>> {
    let sealed = key.data_key.as_ref().ok_or_else(destroyed)?;
    let Some(wrapping) = keys.wrapping_key(key.generation) else {
        return Ok(None);
    };
    let fault = || damaged(Role::Sealed, "its tag does not fit");
    let opened = seal::open(wrapping, &key.header().0, sealed).ok_or_else(fault)?;
    let bytes: &[u8; 32] = opened.expose().try_into().map_err(|_| fault())?;
    Ok(Some(Secret::fill(|out| out.copy_from_slice(bytes))))
}

/// The secret of a version.
///
/// # Errors
/// `Conflict` once it is destroyed; `Damaged`.
pub(super) fn secret(key: &KeyFile, file: &VersionFile, data: &Secret<32>) -> Result<SecretBytes> {
    let sealed = file.secret.as_ref().ok_or_else(destroyed)?;
    seal::open(data, &file.header(&key.facts.id), sealed)
        .ok_or_else(|| damaged(Role::Sealed, "its tag does not fit"))
}

pub(super) fn destroyed() -> StoreError {
    KmsError::conflict("the key or version is destroyed").field("kid").into()
}

pub(super) fn damaged(role: Role, why: &'static str) -> StoreError {
    StoreError::Damaged { role, why }
}

/// A file that has to be there.
fn missing(role: Role) -> impl Fn(kms_durable::Error) -> StoreError {
    move |error| match error {
        kms_durable::Error::NotFound => damaged(role, "it is missing"),
        kms_durable::Error::TooLong => damaged(role, "it is longer than any"),
        error => error.into(),
    }
}

/// `vN` as [`version_name`] writes it.
fn parse_version(name: &str) -> Option<Version> {
    let version = name.strip_prefix('v')?.parse().ok()?;
    (version_name(version) == name).then_some(version)
}

impl FileStore {
    pub(super) fn load_key(&self, uuid: &Uuid) -> Result<Option<StoredKey>> {
        if !self.index.read().unwrap_or_else(PoisonError::into_inner).contains_key(uuid) {
            return Ok(None);
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let dir = self.root.open_dir(&key_path(uuid)).map_err(missing(Role::Key))?;
        KeyFiles::read(&dir, uuid, &keys, false).map(|files| Some(files.stored()))
    }

    pub(super) fn unseal_version(&self, uuid: &Uuid, version: Version) -> Result<SecretBytes> {
        let known = self.index.read().unwrap_or_else(PoisonError::into_inner).get(uuid).copied();
        if known.is_none_or(|entry| version > entry.newest) {
            return Err(KmsError::not_found().into());
        }
        // Held while both files are read, so that no rekey ends in between.
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let dir = self.root.open_dir(&key_path(uuid)).map_err(missing(Role::Key))?;
        let file = read_version(&dir, uuid, version, &keys.integrity)?;
        let key = read_key(&dir, uuid, &keys.integrity)?;
        let data = data_key(&key, &keys)?
            .ok_or_else(|| damaged(Role::Key, "the header has no such generation"))?;
        secret(&key, &file, &data)
    }
}

/// The head's bytes, which have to be there.
pub(super) fn read_head(root: &Dir) -> Result<Vec<u8>> {
    found(root.read(super::HEAD, max_len(Role::Head)))?
        .ok_or_else(|| damaged(Role::Head, "it is missing"))
}
