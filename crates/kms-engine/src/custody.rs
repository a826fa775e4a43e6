//! Keys that outlive the process: what is committed to a store before it is in force, and how keys come back.
//!
//! Without a store nothing here does anything. With one, a change of a key is recorded in the audit log, committed, and
//! then published, under the key's mutex; the answer under an op_id is part of the same commit. Secrets are unsealed
//! when they are used first.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kms_core::custody::{
    self, Activation, Answer, AnswerScope, Change, Committed, MetaStore, NEVER, Recorded,
    StoredKey, StoredState, VersionFacts,
};
use kms_core::{Context, DestroyAt, KeyState, Kid, KmsError, Life, Result, SecretBytes, Version};

use crate::answers;
use crate::dispatch::Response;
use crate::engine::Engine;
use crate::key::{Head, Key, KeyVersion, Pending};
use crate::maker::Maker;
use crate::material::{PublicHalf, SecretHalf};
use crate::op::Op;
use crate::policy::KeyPolicy;

/// The store of an engine, sized so that it can be swapped out.
pub(crate) struct Custody(Box<dyn MetaStore>);

impl Engine {
    /// Takes a key of a store over. For the keys that are there before [`Engine::keep_in`].
    ///
    /// # Errors
    /// `Internal` for a key that this build cannot hold.
    pub fn adopt(&self, stored: StoredKey) -> Result<()> {
        let custody::KeyFacts { id, signs, created_unix_ms, policy_hints } = stored.facts;
        let policy = KeyPolicy::of_stored(policy_hints.as_deref())?;
        let mut facts = self.facts(id, signs, policy_hints, policy);
        facts.created_unix_ms = created_unix_ms;
        let versions = stored.versions.iter().map(|version| {
            let (suite, maker) = Maker::parse(&version.suite, facts.id.purpose.as_str())?;
            if maker.has_token() != self.has_token() && !self.config.other_backends {
                return Err(of_another_backend(maker));
            }
            let public = PublicHalf::from_encoded(suite, &version.public)?;
            self.note_maker(maker);
            let secret = self.arena.reserve();
            let created = version.created_unix_ms;
            Ok(KeyVersion::new(suite, public, secret, created, maker, None))
        });
        let versions = versions.collect::<Result<Vec<_>>>()?;
        let head = self.head_from(stored.state, &stored.versions)?;
        let key = Arc::new(Key::restored(facts, versions, head, stored.revision));
        let life = &key.load().life;
        let own = (1..=key.load().newest.get()).filter_map(Version::new);
        for (target, state) in std::iter::once((None, life.key()))
            .chain(own.map(|version| (Some(version), life.version(version))))
        {
            self.deadlines.moved(key.id().uuid, target, KeyState::Enabled, state);
        }
        self.keys.insert(Arc::clone(&key))?;
        self.plan_rotation(&key);
        Ok(())
    }

    /// Keeps every change from now on in `store`.
    pub fn keep_in(&self, store: Box<dyn MetaStore>) {
        self.custody.store(Some(Arc::new(Custody(store))));
        self.durable.store(true, Ordering::SeqCst);
    }

    /// Whether keys outlive the process.
    pub fn is_durable(&self) -> bool {
        self.durable.load(Ordering::SeqCst)
    }

    /// The store; `None` where keys live in memory only.
    ///
    /// # Errors
    /// `StoreUnavailable` after `close`: a change that began before must not take that for a service without a store.
    fn custody(&self) -> Result<Option<Arc<Custody>>> {
        match self.custody.load_full() {
            None if self.is_durable() => Err(crate::arena::gone()),
            custody => Ok(custody),
        }
    }

    fn head_from(&self, key: StoredState, versions: &[VersionFacts]) -> Result<Head> {
        let state = |stored| self.restored_state(stored);
        let own = versions.iter().map(|version| (version.version, state(version.state)));
        let life = Life::restored(state(key), own);
        let is_active = |it: &&VersionFacts| it.activation == Activation::Active;
        let active = versions.iter().rfind(is_active).map(|it| it.version);
        let newest = versions.last().map(|it| it.version);
        let (Some(active), Some(newest)) = (active, newest) else {
            return Err(KmsError::internal("a stored key has no active version"));
        };
        let pending = versions.last().and_then(|it| match it.activation {
            Activation::At { unix_ms } if unix_ms != NEVER => Some(Pending {
                version: it.version,
                due_ms: self.due_ms(unix_ms),
                active_at_unix_ms: unix_ms,
            }),
            _ => None,
        });
        let pending = pending.filter(|it| life.version(it.version) == KeyState::Enabled);
        let pending = pending.filter(|_| life.key() != KeyState::Destroyed);
        Ok(Head { active, newest, pending, life })
    }

    fn restored_state(&self, stored: StoredState) -> KeyState {
        match stored {
            StoredState::Enabled => KeyState::Enabled,
            StoredState::Disabled => KeyState::Disabled,
            StoredState::DestroyScheduled { at_unix_ms: unix_ms } => {
                KeyState::DestroyScheduled(DestroyAt { due_ms: self.due_ms(unix_ms), unix_ms })
            }
            StoredState::Destroyed => KeyState::Destroyed,
        }
    }

    /// A moment of the wall clock on the monotonic one, as both are now.
    pub(crate) fn due_ms(&self, unix_ms: u64) -> u64 {
        let wait = unix_ms.saturating_sub(self.config.clock.unix_ms());
        self.now_ms().saturating_add(wait)
    }

    /// Commits a change of a key that has one, with the answer to the request that asked for it.
    ///
    /// # Errors
    /// `Conflict` where another writer came first; those of the store. Then the change must not be published.
    pub(crate) fn commit(
        &self,
        op: Op,
        context: &Context,
        key: &Key,
        change: &Change<'_>,
        response: impl FnOnce() -> Response,
    ) -> Result<()> {
        let Some(custody) = self.custody()? else { return Ok(()) };
        let answer = self.answer_to(op, context, key.id().tenant.as_str(), response)?;
        let expected = key.revision.load(Ordering::Relaxed);
        match custody.0.commit(&key.id().uuid, expected, change, answer.as_ref())? {
            Committed::Done { revision } => {
                key.revision.store(revision, Ordering::Relaxed);
                Ok(())
            }
            Committed::Conflict { .. } => {
                let error = KmsError::conflict("the key was changed by another writer");
                Err(error.field("kid"))
            }
            Committed::Answered(_) => {
                Err(KmsError::conflict("op_id is in flight").field("op_id").retryable(true))
            }
        }
    }

    /// Commits a new key.
    ///
    /// # Errors
    /// As [`Engine::commit`].
    pub(crate) fn commit_new(
        &self,
        op: Op,
        context: &Context,
        key: &Key,
        first: &KeyVersion,
        response: impl FnOnce() -> Response,
    ) -> Result<()> {
        if !self.is_durable() {
            return Ok(());
        }
        let facts = custody::KeyFacts {
            id: key.id().clone(),
            signs: key.facts.signs,
            created_unix_ms: key.facts.created_unix_ms,
            policy_hints: key.facts.policy_hints.clone(),
        };
        let first_facts = self.version_facts(Version::MIN, first, Activation::Active);
        self.with_seed(first, |secret| {
            let change = Change::Create { facts: &facts, first: &first_facts, secret };
            self.commit(op, context, key, &change, response)
        })??;
        self.stored(first);
        Ok(())
    }

    /// Commits a further version.
    ///
    /// # Errors
    /// As [`Engine::commit`].
    pub(crate) fn commit_version(
        &self,
        context: &Context,
        key: &Key,
        kid: &Kid,
        version: &KeyVersion,
        pending: Option<Pending>,
        response: impl FnOnce() -> Response,
    ) -> Result<()> {
        if !self.is_durable() {
            return Ok(());
        }
        let at = |it: Pending| Activation::At { unix_ms: it.active_at_unix_ms };
        let activation = pending.map_or(Activation::Active, at);
        let facts = self.version_facts(kid.version, version, activation);
        self.with_seed(version, |secret| {
            let change = Change::Rotate { version: &facts, secret };
            self.commit(Op::Rotate, context, key, &change, response)
        })??;
        self.stored(version);
        Ok(())
    }

    /// The store has a version now, and can unseal its secret again.
    fn stored(&self, version: &KeyVersion) {
        if version.sealed().is_some() {
            self.arena.may_go(version.secret);
        }
    }

    /// Lends what the store seals of a version.
    fn with_seed<T>(&self, held: &KeyVersion, act: impl FnOnce(&SecretBytes) -> T) -> Result<T> {
        match held.sealed() {
            Some(_) => self.arena.with(held.secret, |secret| act(secret.seed())),
            None => Ok(act(&SecretBytes::copy_of(&IN_TOKEN))),
        }
    }

    /// Notes, durably, that a key is about to be made in a token, so that a start knows whose it is. The note goes after
    /// a day.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn note_intent(&self, kid: &Kid) -> Result<()> {
        let Some(custody) = self.custody()? else { return Ok(()) };
        let at_unix_ms = self.config.clock.unix_ms();
        let scope = AnswerScope::note_of_making(&kid.key);
        custody.0.record(&Answer { scope, fingerprint: [0; 32], at_unix_ms, body: vec![] })?;
        Ok(())
    }

    /// Whether the store has such a note.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn has_intent(&self, kid: &Kid) -> Result<bool> {
        let Some(custody) = self.custody()? else { return Ok(false) };
        Ok(custody.0.answer(&AnswerScope::note_of_making(&kid.key))?.is_some())
    }

    fn version_facts(
        &self,
        version: Version,
        held: &KeyVersion,
        activation: Activation,
    ) -> VersionFacts {
        VersionFacts {
            version,
            suite: held.maker.stored_name(held.suite),
            created_unix_ms: held.created_unix_ms,
            state: StoredState::Enabled,
            activation,
            public: held.public.encoded(),
            proof: None,
        }
    }

    fn answer_to(
        &self,
        op: Op,
        context: &Context,
        tenant: &str,
        response: impl FnOnce() -> Response,
    ) -> Result<Option<Answer>> {
        let (Some(op_id), Some(fingerprint)) = (context.op_id, context.fingerprint) else {
            return Ok(None);
        };
        let scope = AnswerScope {
            tenant: tenant.into(),
            actor: context.actor.clone(),
            op: op.name().into(),
            op_id,
        };
        let at_unix_ms = self.config.clock.unix_ms();
        Ok(Some(Answer { scope, fingerprint, at_unix_ms, body: answers::encode(&response())? }))
    }

    /// Records the answer of an operation that changes no key.
    ///
    /// # Errors
    /// Those of the store; `Conflict`, retryable, where another answer was there first.
    pub(crate) fn record_answer(
        &self,
        op: Op,
        context: &Context,
        tenant: &str,
        response: &Response,
    ) -> Result<()> {
        let Some(custody) = self.custody()? else { return Ok(()) };
        let answer = self.answer_to(op, context, tenant, || response.clone())?;
        match answer.map(|answer| custody.0.record(&answer)).transpose()? {
            Some(Recorded::Answered(_)) => {
                Err(KmsError::conflict("op_id is in flight").field("op_id").retryable(true))
            }
            _ => Ok(()),
        }
    }

    /// The answer that was recorded under the context's op_id, by this process or one before.
    ///
    /// # Errors
    /// `Conflict`, field `op_id`, for another body; those of the store.
    pub(crate) fn recorded(
        &self,
        op: Op,
        context: &Context,
        tenant: &str,
    ) -> Result<Option<Response>> {
        let Some(custody) = self.custody()? else { return Ok(None) };
        let (Some(op_id), Some(fingerprint)) = (context.op_id, context.fingerprint) else {
            return Ok(None);
        };
        let (actor, op) = (context.actor.clone(), op.name().into());
        let scope = AnswerScope { tenant: tenant.into(), actor, op, op_id };
        match custody.0.answer(&scope)? {
            None => Ok(None),
            Some(answer) if answer.fingerprint != fingerprint => {
                Err(KmsError::conflict("op_id was used with another body").field("op_id"))
            }
            Some(answer) => answers::decode(self, &answer.body).map(Some),
        }
    }

    /// Unseals the secret of a version into its place, where it stays until there are too many.
    ///
    /// # Errors
    /// Those of the store; `StoreUnavailable` where there is none.
    pub(crate) fn warm(&self, key: &Key, version: Version) -> Result<Arc<SecretHalf>> {
        let custody = self.custody()?.ok_or_else(crate::arena::gone)?;
        let held = key.published(version)?;
        let sealed = held.sealed().ok_or_else(crate::arena::gone)?;
        let seed: SecretBytes = custody.0.unseal(&key.id().uuid, version)?;
        let (secret, public) = SecretHalf::from_sealed(sealed, self.lanes(), seed)?;
        // A public half that is not its secret's would let signatures out that reveal the secret.
        if public.is_some_and(|public| !held.public.encoded().ends_with(&public.encoded())) {
            return Err(KmsError::internal("a stored public key is not the one of its secret"));
        }
        let secret = Arc::new(secret);
        self.arena.put(held.secret, Arc::clone(&secret))?;
        // Destroyed meanwhile: what was put back comes after the wiping.
        if key.load().life.effective(version) == KeyState::Destroyed {
            self.arena.remove(held.secret);
            return Err(crate::arena::gone());
        }
        self.arena.may_go(held.secret);
        Ok(secret)
    }
}

/// What a store seals of a version that has no private half outside of the token.
const IN_TOKEN: [u8; 1] = [1];

fn of_another_backend(maker: Maker) -> KmsError {
    let why = match maker {
        Maker::Token | Maker::TokenAgrees => {
            "the store has versions of the backend pkcs11, which is not among the backends"
        }
        Maker::Software => {
            "the store has versions of the backend file, which is not among the backends"
        }
    };
    KmsError::bad_request(why).field("service.multi_backends")
}

/// A state as it is kept.
pub(crate) fn stored_state(state: KeyState) -> StoredState {
    match state {
        KeyState::Enabled => StoredState::Enabled,
        KeyState::Disabled => StoredState::Disabled,
        KeyState::DestroyScheduled(at) => StoredState::DestroyScheduled { at_unix_ms: at.unix_ms },
        KeyState::Destroyed => StoredState::Destroyed,
    }
}
