//! An anchor in a file outside the data directory, on another disk where there is one.
//!
//! Two files, so that a change costs the same however many tombstones there are: at the path itself what every change
//! replaces, with the number of tombstones; at `<path>.tombstones` the list, which only a destruction replaces, and
//! before the number. Both are authenticated by a key that only the store's root key gives, so another store's anchor,
//! or an edited one, is damage. Whoever can put back an older copy of the anchor *and* of the data directory is not
//! found out by it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use kms_core::anchor::{Anchor, AnchorState};
use kms_core::{ErrorCode, KmsError, Secret};
use kms_durable::Dir;

use crate::error::{Result, Role, StoreError};
use crate::format::{begin, finish, max_len, read};

/// Longest kid in the list, in bytes.
const MAX_TOMBSTONE_LEN: usize = kms_core::key_id::MAX_KID_LEN;

/// The anchor of one store. One process holds it at a time: the one that holds the store's lock.
pub struct FileAnchor {
    dir: Dir,
    name: String,
    key: Secret<32>,
    state: Mutex<State>,
}

struct State {
    current: Option<AnchorState>,
    /// A change whose outcome is open: nothing more is written.
    in_doubt: bool,
}

impl FileAnchor {
    /// Opens the anchor at `path`, whose directory is there; `key` is [`crate::Unlocked::subkey`] of `anchor`.
    ///
    /// # Errors
    /// `Damaged` for an anchor that was edited, is incomplete or is of another store; `Disk`.
    pub fn open(path: &Path, key: Secret<32>) -> Result<FileAnchor> {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| KmsError::bad_request("the anchor's path names no file"))?;
        let dir = Dir::open(parent)?;
        let current = load(&dir, name, &key)?;
        let state = Mutex::new(State { current, in_doubt: false });
        Ok(FileAnchor { dir, name: name.to_owned(), key, state })
    }

    /// Changes the state, durably before anyone sees it.
    fn change(
        &self,
        change: impl FnOnce(&mut AnchorState) -> Result<(), KmsError>,
    ) -> Result<(), KmsError> {
        let mut state = self.state.lock().map_err(|_| StoreError::ReadOnly)?;
        if state.in_doubt {
            return Err(StoreError::ReadOnly.into());
        }
        let old = state.current.as_ref();
        let mut new = old.cloned().unwrap_or_default();
        change(&mut new)?;
        if old == Some(&new) {
            return Ok(());
        }
        let written = self.write(old, &new);
        state.in_doubt |= written.as_ref().is_err_and(kms_durable::Error::is_in_doubt);
        written.map_err(StoreError::from)?;
        state.current = Some(new);
        Ok(())
    }

    fn write(&self, old: Option<&AnchorState>, new: &AnchorState) -> kms_durable::Result<()> {
        let known = old.map_or(0, |old| old.tombstones.len());
        if new.tombstones.len() != known {
            if old.is_none() {
                // A list without the file that counts it would be damage.
                let empty = AnchorState { tombstones: BTreeSet::new(), ..new.clone() };
                self.dir.replace(&self.name, &encode(&empty, &self.key))?;
            }
            let list = encode_tombstones(&new.tombstones, &self.key);
            self.dir.replace(&tombstones_name(&self.name), &list)?;
        }
        self.dir.replace(&self.name, &encode(new, &self.key))
    }
}

impl Anchor for FileAnchor {
    fn load(&self) -> Result<Option<AnchorState>, KmsError> {
        let state = self.state.lock().map_err(|_| StoreError::ReadOnly)?;
        if state.in_doubt {
            return Err(StoreError::ReadOnly.into());
        }
        Ok(state.current.clone())
    }

    fn advance_log(&self, size: u64, root: &[u8; 32]) -> Result<(), KmsError> {
        self.change(|state| {
            if size < state.log_size
                || (size == state.log_size && *root != state.log_root && size > 0)
            {
                return Err(backwards("the audit log is not a continuation of the anchored one"));
            }
            (state.log_size, state.log_root) = (size, *root);
            Ok(())
        })
    }

    fn advance_store(&self, revision: u64) -> Result<(), KmsError> {
        self.change(|state| {
            if revision < state.store_revision {
                return Err(backwards("the key store is older than the anchored one"));
            }
            state.store_revision = revision;
            Ok(())
        })
    }

    fn add_tombstone(&self, kid: &str) -> Result<(), KmsError> {
        if kid.len() > MAX_TOMBSTONE_LEN {
            return Err(KmsError::internal("a tombstone is no kid"));
        }
        self.change(|state| {
            state.tombstones.insert(kid.into());
            Ok(())
        })
    }

    fn override_with(
        &self,
        log: Option<(u64, [u8; 32])>,
        store_revision: Option<u64>,
    ) -> Result<(), KmsError> {
        self.change(|state| {
            if let Some(log) = log {
                (state.log_size, state.log_root) = log;
            }
            state.store_revision = store_revision.unwrap_or(state.store_revision);
            Ok(())
        })
    }
}

fn backwards(why: &'static str) -> KmsError {
    KmsError::new(ErrorCode::Conflict, why)
}

fn tombstones_name(name: &str) -> String {
    format!("{name}.tombstones")
}

fn encode(state: &AnchorState, key: &Secret<32>) -> Vec<u8> {
    let mut out = begin(Role::Anchor);
    out.u64(state.log_size).fixed(&state.log_root).u64(state.store_revision);
    out.u64(state.tombstones.len() as u64);
    finish(out, key)
}

fn encode_tombstones(tombstones: &BTreeSet<Box<str>>, key: &Secret<32>) -> Vec<u8> {
    let mut out = begin(Role::Tombstones);
    out.u64(tombstones.len() as u64);
    for kid in tombstones {
        out.bytes(kid.as_bytes());
    }
    finish(out, key)
}

fn load(dir: &Dir, name: &str, key: &Secret<32>) -> Result<Option<AnchorState>> {
    let list = tombstones_name(name);
    let main = found(dir.read(name, max_len(Role::Anchor)))?;
    let list = found(dir.read(&list, max_len(Role::Tombstones)))?;
    let fault = |why| StoreError::Damaged { role: Role::Tombstones, why };
    let Some(main) = main else {
        return match list {
            Some(_) => Err(fault("the anchor beside it is missing")),
            None => Ok(None),
        };
    };
    let (mut state, count) = read(Role::Anchor, &main, key, |reader| {
        let log_size = reader.u64()?;
        let log_root = reader.array()?;
        let store_revision = reader.u64()?;
        let state = AnchorState { log_size, log_root, store_revision, ..AnchorState::default() };
        Ok((state, reader.u64()?))
    })?;
    if let Some(list) = list {
        state.tombstones = read(Role::Tombstones, &list, key, |reader| {
            let count = reader.u64()?;
            let mut tombstones = BTreeSet::new();
            for _ in 0..count {
                tombstones.insert(reader.text(MAX_TOMBSTONE_LEN)?.into());
            }
            Ok(tombstones)
        })?;
    }
    // More than were counted: a crash came between the two writes, and what is listed holds.
    if (state.tombstones.len() as u64) < count {
        return Err(fault("some are missing"));
    }
    Ok(Some(state))
}

/// `None` for a file that is not there.
pub(crate) fn found(read: kms_durable::Result<Vec<u8>>) -> kms_durable::Result<Option<Vec<u8>>> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(kms_durable::Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
