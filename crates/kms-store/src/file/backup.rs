//! Backup, restore and check.
//!
//! A backup is a store like any other: the same files in another directory, with a head of its own, opened by the
//! same root key. A restore is a backup in the other direction. Recorded answers are left out: they would be over by
//! the time that one is needed. The anchor is not part of it, so a restored store is older than its anchor and opens by
//! an explicit override only.

use std::path::Path;
use std::sync::PoisonError;

use kms_core::custody::{MetaStore, RootKey};
use kms_durable::Dir;
use uuid::Uuid;

use super::commit::ensure_shard;
use super::open::{lock_unused, parse_uuid, prepare, walk};
use super::read::{KeyFiles, data_key, read_head, secret};
use super::{
    ANSWERS, FileStore, HEAD, HEADER, KEY, KEYS, Options, Unlocked, answers, key_path, shard_path,
};
use crate::digest::Digest;
use crate::error::{Result, Role, StoreError};
use crate::format::{HeadFile, max_len};
use crate::header::StoreKeys;

/// Most faults that a check lists.
const MAX_PROBLEMS: usize = 1_000;

impl FileStore {
    /// Copies the store into a directory that is empty or missing, while it goes on serving. Each key is copied as
    /// it stands at one instant; every change that was acknowledged before the call is in the copy. Answers how many
    /// keys were copied.
    ///
    /// # Errors
    /// `NotEmpty`, `Damaged`, `Disk`. What an error leaves in the directory is no store.
    pub fn backup(&self, target: &Path) -> Result<usize> {
        let _rekeying = self.rekeying.lock().map_err(|_| StoreError::ReadOnly)?;
        let (root, _lock) = lock_unused(target)?;
        // A header there would make a store of what is copied so far.
        prepare(&root)?;
        let keys = self.copy_keys();
        let revision = self.revision();
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let uuids: Vec<Uuid> = index.keys().copied().collect();
        drop(index);
        let mut digest = Digest::default();
        for uuid in &uuids {
            self.copy_key(&root, uuid, &keys, &mut digest)?;
        }
        let sum = digest.to_bytes();
        let anchored = self.is_anchored();
        let head = HeadFile {
            store: keys.store,
            revision,
            before: sum,
            after: sum,
            key: Uuid::nil(),
            anchored,
        };
        root.replace(HEAD, &head.encode(&keys.integrity))?;
        let header = self.root.read(HEADER, max_len(Role::Header))?;
        root.create_new(HEADER, &header)?;
        Ok(uuids.len())
    }

    fn copy_key(
        &self,
        target: &Dir,
        uuid: &Uuid,
        keys: &StoreKeys,
        digest: &mut Digest,
    ) -> Result<()> {
        let files = {
            let _writer = self.writer.lock().map_err(|_| StoreError::ReadOnly)?;
            KeyFiles::read(&self.root.open_dir(&key_path(uuid))?, uuid, keys, false)?
        };
        files.add_to(digest, &keys.integrity);
        // Decoding and encoding are inverses, so these are the bytes that were read.
        let mut encoded = vec![(KEY.to_owned(), files.key.encode(&keys.integrity))];
        encoded.extend(
            files.versions.iter().map(|file| {
                (super::version_name(file.facts.version), file.encode(&keys.integrity))
            }),
        );
        let encoded: Vec<(&str, &[u8])> =
            encoded.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
        ensure_shard(target, uuid)?;
        let name = uuid.as_hyphenated().to_string();
        Ok(target.open_dir(&shard_path(uuid))?.create_dir_atomic(&name, &encoded)?)
    }
}

/// Copies a backup into a directory that is empty or missing, once all of it is known to be sound. Answers how many
/// keys were copied. The backup may lie where nothing can be written; a plain copy of a store may have to be written, to undo
/// what was interrupted in it.
///
/// # Errors
/// Those of opening the backup, and of [`FileStore::backup`].
pub fn restore(backup: &Path, target: &Path, root_key: &dyn RootKey) -> Result<usize> {
    let unlocked = Unlocked::open_to_read(backup, root_key)?;
    // A backup has no anchor beside it.
    let options = Options { accept_older: true, ..Options::default() };
    let (store, _) = FileStore::open(unlocked, options, &mut |_| Ok(()))?;
    store.backup(target)
}

/// A fault, with the file it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Below the store's directory.
    pub path: String,
    /// What it is.
    pub error: StoreError,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Keys whose files are all sound.
    pub keys: usize,
    /// Versions of those, each of which was unsealed unless it is destroyed.
    pub versions: u64,
    /// Sound answers.
    pub answers: usize,
    /// The revision in the head.
    pub revision: u64,
    /// Everything that is not sound, up to a thousand.
    pub problems: Vec<Problem>,
}

/// Reads, authenticates and unseals everything in a store that no process has open, and goes on past faults. Changes
/// nothing but what an interrupted write left behind.
///
/// # Errors
/// `NoStore`, `WrongRootKey`, `Disk` and whatever keeps the header from being opened.
pub fn check(path: &Path, root_key: &dyn RootKey) -> Result<CheckReport> {
    let Unlocked { root, lock: _lock, keys, .. } = Unlocked::open_to_read(path, root_key)?;
    let mut report = CheckReport::default();
    let mut digest = Digest::default();
    let walked = walk(&root, &mut |shard, name| {
        match check_key(&root, shard, name, &keys) {
            Ok(files) => {
                files.add_to(&mut digest, &keys.integrity);
                report.keys += 1;
                report.versions += files.versions.len() as u64;
            }
            Err(error) => report.add(format!("{KEYS}/{shard}/{name}"), error),
        }
        Ok(())
    });
    if let Err(error) = walked {
        report.add(KEYS.to_owned(), error);
    }
    match check_head(&root, &keys, digest, report.problems.is_empty()) {
        Ok(revision) => report.revision = revision,
        Err(error) => report.add(HEAD.to_owned(), error),
    }
    let answers = root.open_dir(ANSWERS)?;
    for (name, _) in answers.entries()? {
        match answers::read_answer(&answers, &name, &keys) {
            Ok(_) => report.answers += 1,
            Err(error) => report.add(format!("{ANSWERS}/{name}"), error),
        }
    }
    Ok(report)
}

impl CheckReport {
    fn add(&mut self, path: String, error: StoreError) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { path, error });
        }
    }
}

fn check_key(root: &Dir, shard: &str, name: &str, keys: &StoreKeys) -> Result<KeyFiles> {
    let uuid = parse_uuid(name, shard)?;
    let files = KeyFiles::read(&root.open_dir(&key_path(&uuid))?, &uuid, keys, false)?;
    if files.key.data_key.is_some()
        && let Some(data) = data_key(&files.key, keys)?
    {
        for file in files.versions.iter().filter(|file| file.secret.is_some()) {
            secret(&files.key, file, &data)?;
        }
    }
    Ok(files)
}

/// Where files are unsound already, their sum says nothing more.
fn check_head(root: &Dir, keys: &StoreKeys, digest: Digest, sound: bool) -> Result<u64> {
    let head = HeadFile::decode(&read_head(root)?, &keys.integrity)?;
    if head.store != keys.store {
        return Err(super::read::damaged(Role::Head, "it is of another store"));
    }
    let sum = digest.to_bytes();
    if sound && sum != head.before && sum != head.after {
        return Err(StoreError::Altered);
    }
    Ok(head.revision)
}
