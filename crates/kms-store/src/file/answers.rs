//! Recorded answers: one file each, bounded in number and size, gone after 24 hours.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kms_core::custody::{ANSWER_KEPT_MS, Answer, AnswerScope, Recorded};
use kms_core::{ErrorCode, KmsError};
use kms_durable::Dir;

use super::{FileStore, read};
use crate::error::{Result, Role, StoreError};
use crate::format::{AnswerFile, answer_name, check_limits, max_len};
use crate::header::StoreKeys;

/// Which answers there are. Their bytes stay on the disk.
pub(super) struct Answers {
    pub(super) dir: Dir,
    max_count: usize,
    max_bytes: u64,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    by_name: HashMap<Box<str>, Info>,
    by_expiry: BTreeSet<(u64, Box<str>)>,
    bytes: u64,
}

#[derive(Clone, Copy)]
struct Info {
    expires_unix_ms: u64,
    len: u64,
    /// Its change is not made yet, or its file not written.
    pending: bool,
}

/// What becomes of notes of what was being made, which count only in the newest copy of a store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Notes {
    /// It is the newest.
    Held,
    /// Nothing says that it is.
    Removed,
    /// The same, and whoever opens it only reads: they stay, as what is over does.
    Left,
}

impl Answers {
    pub(super) fn new(dir: Dir, max_count: usize, max_bytes: u64) -> Answers {
        Answers { dir, max_count, max_bytes, held: Mutex::default() }
    }

    /// Takes the files over that are there, and removes those that are over or were never in force: those of a
    /// change past `committed`.
    pub(super) fn load(
        &self,
        keys: &StoreKeys,
        committed: u64,
        notes: Notes,
        now_unix_ms: u64,
    ) -> Result<()> {
        let mut held = self.lock();
        let mut dropped = false;
        for (name, _) in self.dir.entries_removing_stale()? {
            let (file, len) = read_answer(&self.dir, &name, keys)?;
            let expires_unix_ms = file.answer.at_unix_ms.saturating_add(ANSWER_KEPT_MS);
            let note = file.answer.scope.is_note_of_making();
            let over = expires_unix_ms <= now_unix_ms || (note && notes != Notes::Held);
            if file.revision > committed || (over && notes != Notes::Left) {
                self.dir.unlink(&name)?;
                dropped = true;
                continue;
            }
            if over {
                continue;
            }
            held.insert(name.into(), Info { expires_unix_ms, len, pending: false });
        }
        drop(held);
        // An answer that comes back after its revision was given to another change would count.
        if dropped { self.dir.sync().map_err(StoreError::from) } else { Ok(()) }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Each critical section is a few map operations.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of an answer.
    fn state(&self, name: &str) -> Option<Info> {
        self.lock().by_name.get(name).copied()
    }

    /// Makes room for one more.
    fn reserve(&self, name: &str, at_unix_ms: u64, len: u64, now_unix_ms: u64) -> Result<()> {
        let mut held = self.lock();
        let expired = held.take_expired(now_unix_ms);
        for name in &expired {
            // One that stays, or comes back after a power cut, is ignored by its time.
            let _ = self.dir.unlink(name);
        }
        if held.by_name.contains_key(name) {
            return Err(in_flight());
        }
        if held.by_name.len() >= self.max_count || held.bytes + len > self.max_bytes {
            let error = KmsError::new(ErrorCode::Backpressure, "no room to record another op_id");
            return Err(error.retry_after_ms(60_000).into());
        }
        let expires_unix_ms = at_unix_ms.saturating_add(ANSWER_KEPT_MS);
        held.insert(name.into(), Info { expires_unix_ms, len, pending: true });
        Ok(())
    }

    pub(super) fn in_force(&self, name: &str) {
        if let Some(info) = self.lock().by_name.get_mut(name) {
            info.pending = false;
        }
    }

    fn release(&self, name: &str) {
        self.lock().remove(name);
    }
}

impl Held {
    fn insert(&mut self, name: Box<str>, info: Info) {
        self.bytes += info.len;
        self.by_expiry.insert((info.expires_unix_ms, name.clone()));
        self.by_name.insert(name, info);
    }

    fn remove(&mut self, name: &str) {
        if let Some(info) = self.by_name.remove(name) {
            self.bytes -= info.len;
            self.by_expiry.remove(&(info.expires_unix_ms, name.into()));
        }
    }

    fn take_expired(&mut self, now_unix_ms: u64) -> Vec<Box<str>> {
        let mut expired = Vec::new();
        let due = |held: &Held| {
            held.by_expiry
                .first()
                .filter(|(at, _)| *at <= now_unix_ms)
                .map(|(_, name)| name.clone())
        };
        while let Some(name) = due(self) {
            self.remove(&name);
            expired.push(name);
        }
        expired
    }
}

fn in_flight() -> StoreError {
    KmsError::conflict("op_id is in flight").field("op_id").retryable(true).into()
}

/// Reads and checks one answer; also its length.
pub(super) fn read_answer(dir: &Dir, name: &str, keys: &StoreKeys) -> Result<(AnswerFile, u64)> {
    let bytes = dir.read(name, max_len(Role::Answer))?;
    let file = AnswerFile::decode(&bytes, &keys.integrity)?;
    if answer_name(&file.answer.scope, &keys.integrity) != name {
        return Err(read::damaged(Role::Answer, "it is of another op_id"));
    }
    Ok((file, bytes.len() as u64))
}

impl FileStore {
    /// Takes over the answers that are there.
    pub(super) fn load_answers(&self, committed: u64, notes: Notes) -> Result<()> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        self.answers.load(&keys, committed, notes, self.clock.unix_ms())
    }

    /// The answer in force, unless it is over.
    pub(super) fn find_answer(&self, scope: &AnswerScope) -> Result<Option<Answer>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let name = answer_name(scope, &keys.integrity);
        match self.answers.state(&name) {
            Some(info) if !info.pending && info.expires_unix_ms > self.clock.unix_ms() => {}
            _ => return Ok(None),
        }
        match read_answer(&self.answers.dir, &name, &keys) {
            Ok((file, _)) => Ok(Some(file.answer)),
            // It expired between the two.
            Err(StoreError::Disk(kms_durable::Error::NotFound)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn record_answer(&self, answer: &Answer) -> Result<Recorded> {
        check_limits(None, None, Some(answer))?;
        self.check_writable()?;
        if let Some(found) = self.find_answer(&answer.scope)? {
            return Ok(Recorded::Answered(Box::new(found)));
        }
        let name = self.write_answer(answer, 0)?;
        self.answers.in_force(&name);
        Ok(Recorded::Done)
    }

    /// Writes the answer of a change that is about to be made; it counts once that is.
    pub(super) fn write_answer(&self, answer: &Answer, revision: u64) -> Result<String> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let name = answer_name(&answer.scope, &keys.integrity);
        let bytes = AnswerFile { revision, answer: answer.clone() }.encode(&keys.integrity);
        drop(keys);
        let now = self.clock.unix_ms();
        self.answers.reserve(&name, answer.at_unix_ms, bytes.len() as u64, now)?;
        match self.noticed(self.answers.dir.create_new(&name, &bytes)) {
            Ok(()) => Ok(name),
            Err(error) => {
                self.answers.release(&name);
                Err(error)
            }
        }
    }

    /// Takes the answer of a change back that was not made.
    pub(super) fn drop_answer(&self, name: &str) -> Result<()> {
        let removed = self.answers.dir.remove(name);
        if removed.is_err() {
            // It must not count later, which only a fresh start makes sure of.
            self.in_doubt.store(true, std::sync::atomic::Ordering::Release);
        }
        self.answers.release(name);
        removed.map_err(StoreError::from)
    }
}
