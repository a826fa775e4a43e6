//! A store in a directory.
//!
//! ```text
//! lock                              held by the one process that has the store open
//! store                             the header: opens with the root key (header.rs)
//! head                              revision, and the sum over all files of keys (digest.rs)
//! keys/<2 hex>/<uuid>/key           facts and state of a key, its sealed data key
//! keys/<2 hex>/<uuid>/vN            facts and state of a version, its sealed secret
//! answers/<64 hex>                  a recorded answer
//! ```
//!
//! A commit writes, each durable before the next: the answer, the head with the sum that will hold, the anchor (the
//! tombstone first where something is destroyed), the change itself, which is one link or one rename, and last the head
//! with that sum alone. A start compares the sum over the files with both sums of the head: it finds whether the change
//! was made, and drops the answer if not. So whatever can run out of space comes before the one instant of the change,
//! and there is nothing to undo; what comes after it only narrows what a start accepts.
//!
//! Commits go one after the other; reads and answers of other operations do not wait for them.

mod answers;
mod backup;
mod commit;
mod open;
mod plan;
mod read;
mod rekey;
mod tombstones;

pub use backup::{CheckReport, Problem, check, restore};
pub use open::{OnOverride, OpenReport, Options, Unlocked};

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use kms_core::anchor::Anchor;
use kms_core::custody::{
    Answer, AnswerScope, Change, Committed, MetaStore, Recorded, Revision, StoredKey,
};
use kms_core::{Clock, Entropy, KmsError, SecretBytes, Version};
use kms_durable::{Dir, DirLock};
use uuid::Uuid;

use crate::digest::Digest;
use crate::error::{Result, StoreError};
use crate::header::StoreKeys;
use answers::Answers;

const HEADER: &str = "store";
const HEAD: &str = "head";
const KEYS: &str = "keys";
const ANSWERS: &str = "answers";
const KEY: &str = "key";

/// A store in a directory; see the module.
pub struct FileStore {
    root: Dir,
    _lock: DirLock,
    keys: RwLock<StoreKeys>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    anchor: Option<Arc<dyn Anchor>>,
    index: RwLock<HashMap<Uuid, Entry>>,
    answers: Answers,
    /// Held through a commit.
    writer: Mutex<WriterState>,
    /// Held through a rekey and a backup. Taken before `writer`.
    rekeying: Mutex<()>,
    in_doubt: AtomicBool,
    /// Before this process opened it.
    was_anchored: bool,
}

/// What is known of a key without reading it.
#[derive(Clone, Copy)]
struct Entry {
    revision: Revision,
    newest: Version,
}

struct WriterState {
    /// The last one that was used up, by a change that was made or one that failed.
    revision: Revision,
    digest: Digest,
}

impl FileStore {
    /// Whether changes are taken. Once a sync failed they are not, until the store is opened afresh.
    pub fn is_writable(&self) -> bool {
        !self.in_doubt.load(Ordering::Acquire) && !self.writer.is_poisoned()
    }

    /// How many keys there are, destroyed ones included.
    pub fn key_count(&self) -> usize {
        self.index.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether it was ever opened with an anchor.
    fn is_anchored(&self) -> bool {
        self.was_anchored || self.anchor.is_some()
    }

    /// Closes the store to changes where a failure left an outcome open.
    fn noticed<T>(&self, result: kms_durable::Result<T>) -> Result<T> {
        if result.as_ref().is_err_and(kms_durable::Error::is_in_doubt) {
            self.in_doubt.store(true, Ordering::Release);
        }
        result.map_err(StoreError::from)
    }

    fn check_writable(&self) -> Result<()> {
        if self.is_writable() { Ok(()) } else { Err(StoreError::ReadOnly) }
    }
}

impl MetaStore for FileStore {
    fn commit(
        &self,
        key: &Uuid,
        expected: Revision,
        change: &Change<'_>,
        answer: Option<&Answer>,
    ) -> Result<Committed, KmsError> {
        Ok(self.commit_change(key, expected, change, answer)?)
    }

    fn record(&self, answer: &Answer) -> Result<Recorded, KmsError> {
        Ok(self.record_answer(answer)?)
    }

    fn answer(&self, scope: &AnswerScope) -> Result<Option<Answer>, KmsError> {
        Ok(self.find_answer(scope)?)
    }

    fn load_all(
        &self,
        visit: &mut dyn FnMut(StoredKey) -> Result<(), KmsError>,
    ) -> Result<(), KmsError> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let uuids: Vec<Uuid> = index.keys().copied().collect();
        drop(index);
        for uuid in uuids {
            if let Some(key) = self.load(&uuid)? {
                visit(key)?;
            }
        }
        Ok(())
    }

    fn load(&self, key: &Uuid) -> Result<Option<StoredKey>, KmsError> {
        Ok(self.load_key(key)?)
    }

    fn unseal(&self, key: &Uuid, version: Version) -> Result<SecretBytes, KmsError> {
        Ok(self.unseal_version(key, version)?)
    }

    fn revision(&self) -> Revision {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).revision
    }
}

/// Where a key's directory is, below the store's.
fn key_path(uuid: &Uuid) -> String {
    format!("{}/{}", shard_path(uuid), uuid.as_hyphenated())
}

fn shard_path(uuid: &Uuid) -> String {
    format!("{KEYS}/{}", shard_name(uuid))
}

fn shard_name(uuid: &Uuid) -> String {
    format!("{:02x}", uuid.as_bytes()[0])
}

fn version_name(version: Version) -> String {
    format!("v{version}")
}
