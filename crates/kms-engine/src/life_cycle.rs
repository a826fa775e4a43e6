//! Taking keys and versions out of use, back into it, and out of the world.
//!
//! A kid with `#vN` is that version, one without is the whole key. Only an enabled version of an enabled key is used,
//! for anything; the public half and the history of every version are shown for ever.
//!
//! A use of a version is checked when it begins and again when its result is about to leave, so none that ends after
//! a transition succeeds. Where there is an audit log the second check and the record are one step that no transition
//! comes between: no record of a use follows the one of the transition that forbids it.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;

use kms_core::custody::Change as StoredChange;
use kms_core::secret_memory;
use kms_core::{
    Context, DestroyAt, ErrorCode, KeyId, KeyState, KidRef, KmsError, Result, Transition, Version,
};

use crate::arena::gone;
use crate::custody::stored_state;
use crate::dispatch::Response;
use crate::engine::{Engine, contain, only_verifies};
use crate::key::{Change, Head, Key};
use crate::material::SecretHalf;
use crate::op::Op;
use crate::remote::is_in_token;

/// The longest wait before what is scheduled is destroyed: ten years, in milliseconds.
pub const MAX_DESTROY_DELAY_MS: u64 = 10 * 366 * 24 * 3_600_000;

/// What the audit log calls a destruction whose time has come.
const DESTROYED: &str = "destroyed";

/// A key or a version, and the state that it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChanged {
    /// The key.
    pub key: KeyId,
    /// The version, where one was named.
    pub version: Option<Version>,
    /// Its own state.
    pub state: KeyState,
    /// The index of its record in the audit log, where there is one.
    pub audit: Option<u64>,
}

impl StateChanged {
    /// The kid: with `#vN` for a version.
    pub fn kid(&self) -> String {
        kid(&self.key, self.version)
    }
}

impl Engine {
    /// Takes a key or a version out of use.
    ///
    /// # Errors
    /// `Conflict` unless it is enabled, `NotFound`, `BadRequest`.
    pub fn disable(&self, context: &Context, kid: &str) -> Result<StateChanged> {
        self.transition(Op::Disable, context, kid, |_| Ok(Transition::Disable))
    }

    /// Takes a key or a version into use again.
    ///
    /// # Errors
    /// `Conflict` unless it is disabled, `NotFound`, `BadRequest`.
    pub fn enable(&self, context: &Context, kid: &str) -> Result<StateChanged> {
        self.transition(Op::Enable, context, kid, |_| Ok(Transition::Enable))
    }

    /// Takes a key or a version out of use at once, and has its private half destroyed after a delay in milliseconds:
    /// the service's least one, or a longer one.
    ///
    /// # Errors
    /// `Conflict` unless it is enabled or disabled, `NotFound`; `BadRequest`, field `delay_ms`, for a delay that is
    /// too short or over ten years.
    pub fn schedule_destroy(
        &self,
        context: &Context,
        kid: &str,
        delay_ms: Option<u64>,
    ) -> Result<StateChanged> {
        self.transition(Op::Destroy, context, kid, |now_ms| {
            let least = self.config.min_destroy_delay_ms.min(MAX_DESTROY_DELAY_MS);
            let delay_ms = delay_ms.unwrap_or(least);
            let fault = |why: &'static str| Err(KmsError::bad_request(why).field("delay_ms"));
            match delay_ms {
                delay if delay < least => fault("must not be below the least delay of the service"),
                delay if delay > MAX_DESTROY_DELAY_MS => fault("must be at most ten years"),
                delay => Ok(Transition::ScheduleDestroy(DestroyAt {
                    due_ms: now_ms.saturating_add(delay),
                    unix_ms: self.config.clock.unix_ms().saturating_add(delay),
                })),
            }
        })
    }

    /// Keeps what was to be destroyed; it is disabled then.
    ///
    /// # Errors
    /// `Conflict` unless it is scheduled and its time is still to come, `NotFound`, `BadRequest`.
    pub fn cancel_destroy(&self, context: &Context, kid: &str) -> Result<StateChanged> {
        self.transition(Op::CancelDestroy, context, kid, |_| Ok(Transition::CancelDestroy))
    }

    fn transition(
        &self,
        op: Op,
        context: &Context,
        kid: &str,
        transition: impl FnOnce(u64) -> Result<Transition>,
    ) -> Result<StateChanged> {
        self.run(op, context, |trace| {
            let parsed = KidRef::parse(kid)?;
            let key = self.find(&parsed, context)?;
            trace.key = Some(std::sync::Arc::clone(&key));
            let now_ms = self.now_ms();
            let mut change = self.change(&key, now_ms)?;
            let target = parsed.version;
            if target.is_some_and(|version| version > change.head.newest) {
                return Err(KmsError::not_found());
            }
            trace.alg = key.published(target.unwrap_or(change.head.active))?.suite.label();
            if op == Op::Destroy {
                self.check_destroyable(&key, target)?;
            }
            let next = change.head.after(target, transition(now_ms)?, now_ms)?;
            let before = own_state(&change.head, target);
            let state = own_state(&next, target);
            let record = |kid: KidRef<'_>| self.audit_change(op.name(), context, kid);
            let audit = self.effect(&mut change, op, context, target, next, record)?;
            self.deadlines.moved(key.id().uuid, target, before, state);
            Ok(StateChanged { key: key.id().clone(), version: target, state, audit })
        })
    }

    /// Starts a change of a key, with everything that is due carried out before it.
    ///
    /// # Errors
    /// `Internal` for a key that a panic left in doubt; those of the audit log.
    pub(crate) fn change<'a>(&self, key: &'a Key, now_ms: u64) -> Result<Change<'a>> {
        let mut change = key.change()?;
        self.activate(&mut change)?;
        for target in change.head.life.due(now_ms) {
            self.destroy_due(&mut change, target, now_ms)?;
        }
        Ok(change)
    }

    /// Destroys what is due. Where that fails it is not tried again at once, however often it is met, and has one record
    /// in the log.
    fn destroy_due(
        &self,
        change: &mut Change<'_>,
        target: Option<Version>,
        now_ms: u64,
    ) -> Result<()> {
        let uuid = change.key.id().uuid;
        let Some(recorded) = self.unfinished.begin(&(uuid, target), now_ms) else {
            let why = "a destruction that is due could not be carried out";
            return Err(KmsError::new(ErrorCode::StoreUnavailable, why));
        };
        let recorded = Cell::new(recorded);
        let service = service();
        let record = |kid: KidRef<'_>| {
            if recorded.get() {
                return Ok(None);
            }
            let index = self.audit_change(DESTROYED, &service, kid)?;
            recorded.set(true);
            Ok(index)
        };
        let next = change.head.after(target, Transition::Destroy, now_ms)?;
        let before = own_state(&change.head, target);
        let destroy = || -> Result<_> {
            // A token is told after the record and before the store: what a crash interrupts is told to it again.
            if is_in_token(change.key, target) {
                let kid = KidRef { version: target, ..change.key.id().into() };
                record(kid)?;
                if !self.destroyed_in_token(change.key, target)? {
                    let why = "the token is being told to destroy it";
                    return Err(KmsError::new(ErrorCode::StoreUnavailable, why));
                }
            }
            self.effect(change, Op::Destroy, &service, target, next, record)
        };
        destroy()
            .inspect_err(|_| self.unfinished.failed((uuid, target), recorded.get(), now_ms))?;
        self.unfinished.done(&(uuid, target));
        self.deadlines.moved(uuid, target, before, KeyState::Destroyed);
        Ok(())
    }

    /// Records a transition and puts it in force, while no use is being recorded. What is destroyed is wiped in
    /// between: it was out of use before.
    fn effect(
        &self,
        change: &mut Change<'_>,
        op: Op,
        context: &Context,
        target: Option<Version>,
        next: Head,
        record: impl FnOnce(KidRef<'_>) -> Result<Option<u64>>,
    ) -> Result<Option<u64>> {
        if self.verifies_only().is_some() {
            return Err(only_verifies());
        }
        let key = change.key;
        let _fence = change.fence()?;
        let kid = KidRef { version: target, ..key.id().into() };
        let audit = record(kid)?;
        let state = own_state(&next, target);
        let kept = stored_state(state);
        let stored = target.map_or(StoredChange::SetKeyState(kept), |version| {
            StoredChange::SetVersionState { version, state: kept }
        });
        self.commit(op, context, key, &stored, || {
            let key = key.id().clone();
            Response::StateChanged(StateChanged { key, version: target, state, audit })
        })?;
        crate::faults::point("life_cycle.publish");
        match target {
            _ if own_state(&next, target) != KeyState::Destroyed => {}
            Some(version) => self.arena.remove(key.published(version)?.secret),
            None => key.versions_of(&next).for_each(|version| self.arena.remove(version.secret)),
        }
        change.publish(next);
        Ok(audit)
    }

    /// Destroys what is due. Returns in how many milliseconds something is due next, if anything is.
    ///
    /// What is due is also destroyed by the next call that meets it; a timer that calls this makes it happen on time.
    /// What the audit log does not take is tried again a second later; a key that a panic left in doubt stays as it is.
    /// Harmless after `close`.
    pub fn sweep(&self) -> Option<u64> {
        // In a forked child it is the parent that destroys.
        secret_memory::check_process().ok()?;
        let now_ms = self.now_ms();
        for entry in self.deadlines.due(now_ms) {
            let (_, uuid, version) = entry;
            let waits = self.keys.get(&uuid).is_some_and(|key| {
                self.settle(&key);
                key.check_sound().is_ok() && key.load().life.due(now_ms).contains(&version)
            });
            if !waits {
                self.deadlines.remove(&entry);
            }
        }
        let next = self.deadlines.next()?;
        Some(if next <= now_ms { 1_000 } else { next - now_ms })
    }

    /// Carries out what is due of a key, as far as that is possible now.
    pub(crate) fn settle(&self, key: &Key) {
        let settled = contain(AssertUnwindSafe(|| self.change(key, self.now_ms()).map(drop)));
        // A refusal leaves the key scheduled, which is out of use; and a key in doubt stays as it is.
        drop(settled);
    }

    /// Refuses a version that is not in use, as a head says. Destroys it first where that is due.
    ///
    /// # Errors
    /// `Conflict`, field `kid`.
    pub(crate) fn check_enabled(&self, key: &Key, head: &Head, version: Version) -> Result<()> {
        let Err(error) = head.life.check(version) else { return Ok(()) };
        if head.life.effective(version).is_due(self.now_ms()) {
            self.settle(key);
        }
        Err(key.check_enabled(version).err().unwrap_or(error))
    }

    /// Uses the private half of a version.
    ///
    /// # Errors
    /// `Conflict`, field `kid`, where it was destroyed meanwhile; `StoreUnavailable` after `close`.
    pub(crate) fn with_secret<T>(
        &self,
        key: &Key,
        version: Version,
        act: impl FnOnce(&SecretHalf) -> T,
    ) -> Result<T> {
        let held = self.arena.load(key.published(version)?.secret);
        if let Some(secret) = held.as_deref().and_then(Option::as_deref) {
            return Ok(act(secret));
        }
        key.check_enabled(version)?;
        let unsealed = if self.is_durable() { self.warm(key, version) } else { Err(gone()) };
        match unsealed {
            Ok(secret) => Ok(act(&secret)),
            Err(error) => key.check_enabled(version).and(Err(error)),
        }
    }

    /// Ends a use of a version: its result may leave. It must be in use still; and it is recorded.
    ///
    /// # Errors
    /// `Conflict`, field `kid`, where it was taken out of use meanwhile; those of the audit log.
    pub(crate) fn end_use(
        &self,
        op: Op,
        context: &Context,
        key: &Key,
        version: Version,
        input: &[u8],
    ) -> Result<Option<u64>> {
        let recorded = self.end_uses(op, context, &[Use { key, version, opened: None, input }])?;
        Ok(recorded.first().copied().flatten())
    }

    /// Ends several uses, of one key each: all or none. The index of each in the audit log, where there is one.
    ///
    /// # Errors
    /// Those of [`Engine::end_use`].
    pub(crate) fn end_uses(
        &self,
        op: Op,
        context: &Context,
        uses: &[Use<'_>],
    ) -> Result<Vec<Option<u64>>> {
        let check = |Use { key, version, opened, .. }: &Use<'_>| {
            let head = key.load();
            head.life.check(*version)?;
            opened.map_or(Ok(()), |version| head.life.check(version))
        };
        if self.config.audit.is_none() {
            uses.iter().try_for_each(check)?;
            return Ok(vec![None; uses.len()]);
        }
        // In one order everywhere: two calls that hold what the other waits for would wait for ever.
        let mut keys: Vec<&Key> = uses.iter().map(|used| used.key).collect();
        keys.sort_unstable_by_key(|key| key.id().uuid);
        let _recording = keys.into_iter().map(Key::record_use).collect::<Result<Vec<_>>>()?;
        uses.iter().try_for_each(check)?;
        let record = |Use { key, version, input, .. }: &Use<'_>| {
            self.audit_use(op, context, (key, *version), input)
        };
        uses.iter().map(record).collect()
    }
}

/// A use of a version that is about to end.
pub(crate) struct Use<'a> {
    pub(crate) key: &'a Key,
    pub(crate) version: Version,
    /// Another version of the key whose private half took part.
    pub(crate) opened: Option<Version>,
    /// What the record has the hash of.
    pub(crate) input: &'a [u8],
}

/// What the service does by itself.
pub(crate) fn service() -> Context {
    Context { actor: "ron-kms".into(), ..Context::default() }
}

/// The state of a version by itself, or of the key.
pub(crate) fn own_state(head: &Head, target: Option<Version>) -> KeyState {
    target.map_or(head.life.key(), |version| head.life.version(version))
}

fn kid(key: &KeyId, version: Option<Version>) -> String {
    version.map_or_else(|| key.to_string(), |version| key.at(version).to_string())
}
