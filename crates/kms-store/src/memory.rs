//! A store that forgets: nothing of it outlives the process, and closing it wipes every secret.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use kms_core::custody::{
    ANSWER_KEPT_MS, Activation, Answer, AnswerScope, Change, Committed, MetaStore, Recorded,
    Revision, StoredKey, StoredState, VersionFacts,
};
use kms_core::{Clock, ErrorCode, KmsError, Result, SecretBytes, Version};
use uuid::Uuid;

use crate::format::check_limits;

/// A store in memory.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    max_answers: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    revision: Revision,
    keys: HashMap<Uuid, Kept>,
    answers: HashMap<AnswerScope, Answer>,
}

struct Kept {
    stored: StoredKey,
    /// Version N at index N - 1; gone once it is destroyed.
    secrets: Vec<Option<SecretBytes>>,
}

impl MemoryStore {
    /// An empty store that keeps at most `max_answers` answers at once.
    pub fn new(clock: Arc<dyn Clock>, max_answers: usize) -> MemoryStore {
        MemoryStore { clock, max_answers, held: Mutex::default() }
    }

    fn lock(&self) -> Result<MutexGuard<'_, Held>> {
        self.held.lock().map_err(|_| KmsError::internal("an earlier change was interrupted"))
    }

    fn make_room(&self, held: &mut Held) -> Result<()> {
        let now = self.clock.unix_ms();
        held.answers.retain(|_, answer| in_force(answer, now));
        if held.answers.len() < self.max_answers {
            return Ok(());
        }
        let error = KmsError::new(ErrorCode::Backpressure, "no room to record another op_id");
        Err(error.retry_after_ms(60_000))
    }

    fn find(&self, held: &Held, scope: &AnswerScope) -> Option<Answer> {
        let now = self.clock.unix_ms();
        held.answers.get(scope).filter(|answer| in_force(answer, now)).cloned()
    }
}

fn in_force(answer: &Answer, now_unix_ms: u64) -> bool {
    answer.at_unix_ms.saturating_add(ANSWER_KEPT_MS) > now_unix_ms
}

impl MetaStore for MemoryStore {
    fn commit(
        &self,
        key: &Uuid,
        expected: Revision,
        change: &Change<'_>,
        answer: Option<&Answer>,
    ) -> Result<Committed> {
        match change {
            Change::Create { facts, first, secret } => {
                check_limits(facts.policy_hints.as_deref(), Some((first, secret.len())), answer)?;
            }
            Change::Rotate { version, secret } => {
                check_limits(None, Some((version, secret.len())), answer)?;
            }
            _ => check_limits(None, None, answer)?,
        }
        let mut held = self.lock()?;
        if let Some(found) = answer.and_then(|answer| self.find(&held, &answer.scope)) {
            return Ok(Committed::Answered(Box::new(found)));
        }
        let at = held.keys.get(key).map_or(0, |kept| kept.stored.revision);
        if at != expected {
            return Ok(Committed::Conflict { revision: at });
        }
        if answer.is_some() {
            self.make_room(&mut held)?;
        }
        let revision = held.revision + 1;
        match (change, held.keys.get_mut(key)) {
            (Change::Create { facts, first, secret }, None) => {
                if facts.id.uuid != *key || first.version != Version::MIN {
                    return Err(KmsError::conflict("a new key begins with its version 1"));
                }
                check_alive(first.state)?;
                let stored = StoredKey {
                    facts: (*facts).clone(),
                    state: StoredState::Enabled,
                    revision,
                    versions: vec![(*first).clone()],
                };
                let secrets = vec![Some(SecretBytes::copy_of(secret.expose()))];
                held.keys.insert(*key, Kept { stored, secrets });
            }
            (_, None) => return Err(KmsError::not_found()),
            (change, Some(kept)) => kept.apply(change, revision)?,
        }
        held.revision = revision;
        if let Some(answer) = answer {
            held.answers.insert(answer.scope.clone(), answer.clone());
        }
        Ok(Committed::Done { revision })
    }

    fn record(&self, answer: &Answer) -> Result<Recorded> {
        check_limits(None, None, Some(answer))?;
        let mut held = self.lock()?;
        if let Some(found) = self.find(&held, &answer.scope) {
            return Ok(Recorded::Answered(Box::new(found)));
        }
        self.make_room(&mut held)?;
        held.answers.insert(answer.scope.clone(), answer.clone());
        Ok(Recorded::Done)
    }

    fn answer(&self, scope: &AnswerScope) -> Result<Option<Answer>> {
        Ok(self.find(&*self.lock()?, scope))
    }

    fn load_all(&self, visit: &mut dyn FnMut(StoredKey) -> Result<()>) -> Result<()> {
        let uuids: Vec<Uuid> = self.lock()?.keys.keys().copied().collect();
        for uuid in uuids {
            if let Some(key) = self.load(&uuid)? {
                visit(key)?;
            }
        }
        Ok(())
    }

    fn load(&self, key: &Uuid) -> Result<Option<StoredKey>> {
        Ok(self.lock()?.keys.get(key).map(|kept| kept.stored.clone()))
    }

    fn unseal(&self, key: &Uuid, version: Version) -> Result<SecretBytes> {
        let held = self.lock()?;
        let secret = held
            .keys
            .get(key)
            .and_then(|kept| kept.secrets.get(version.get() as usize - 1))
            .ok_or_else(KmsError::not_found)?;
        let secret = secret.as_ref().ok_or_else(destroyed)?;
        Ok(SecretBytes::copy_of(secret.expose()))
    }

    fn revision(&self) -> Revision {
        self.lock().map_or(0, |held| held.revision)
    }
}

impl Kept {
    /// All or nothing: whatever refuses comes first.
    fn apply(&mut self, change: &Change<'_>, revision: Revision) -> Result<()> {
        check_alive(self.stored.state)?;
        match change {
            Change::Create { .. } => return Err(KmsError::conflict("the key is there already")),
            Change::Rotate { version, secret } => {
                if version.version.get() as usize != self.secrets.len() + 1 {
                    return Err(KmsError::conflict("this is not the next version"));
                }
                check_alive(version.state)?;
                self.stored.versions.push((*version).clone());
                self.secrets.push(Some(SecretBytes::copy_of(secret.expose())));
            }
            Change::Activate { version } => {
                let facts = self.version(*version)?;
                if facts.activation == Activation::Active {
                    return Err(KmsError::conflict("the version is active already"));
                }
                facts.activation = Activation::Active;
            }
            Change::SetKeyState(state) => {
                self.stored.state = *state;
                if *state == StoredState::Destroyed {
                    self.secrets.fill_with(|| None);
                }
            }
            Change::SetVersionState { version, state } => {
                self.version(*version)?.enter(*state);
                if *state == StoredState::Destroyed {
                    self.secrets[version.get() as usize - 1] = None;
                }
            }
        }
        self.stored.revision = revision;
        Ok(())
    }

    /// A version that is not destroyed.
    fn version(&mut self, version: Version) -> Result<&mut VersionFacts> {
        let facts = self.stored.versions.get_mut(version.get() as usize - 1);
        let facts = facts.ok_or_else(KmsError::not_found)?;
        check_alive(facts.state)?;
        Ok(facts)
    }
}

fn check_alive(state: StoredState) -> Result<()> {
    if state == StoredState::Destroyed { Err(destroyed()) } else { Ok(()) }
}

fn destroyed() -> KmsError {
    KmsError::conflict("the key or version is destroyed").field("kid")
}
