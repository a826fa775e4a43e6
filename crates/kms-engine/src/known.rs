//! Kids that were looked up once, so that calls that repeat them do not parse and search again.

use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::Guard;
use kms_core::custody::Change as StoredChange;
use kms_core::{Context, KidRef, KmsError, Result, Version, version_needed};

use crate::engine::{Engine, only_verifies};
use crate::key::{Change, Head, Key, KeyVersion, Pending};
use crate::life_cycle::service;
use crate::op::Op;

/// A kid, found. It never comes to mean another key, and every use still asks for the key's state.
#[derive(Clone)]
pub struct KnownKid {
    pub(crate) key: Arc<Key>,
    pub(crate) version: Option<Version>,
}

/// A kid as the item of a batch has it.
#[derive(Clone, Copy)]
pub enum ItemKid<'a> {
    /// Looked up before.
    Known(&'a KnownKid),
    /// Looked up now; on failure the item alone fails.
    Named(&'a str),
}

/// What the audit log calls a pending version that became the head.
const ACTIVATED: &str = "activated";

impl Engine {
    /// Looks a kid up. Whether its version exists is asked when it is used.
    ///
    /// # Errors
    /// `NotFound`, `BadRequest`.
    pub fn know(&self, context: &Context, kid: &str) -> Result<KnownKid> {
        let parsed = KidRef::parse(kid)?;
        Ok(KnownKid { key: self.keys.find(&parsed, context)?, version: parsed.version })
    }

    /// The head as it is now. A pending version whose time has come becomes active here, for good: setting a clock
    /// back does not undo it. The clock is read only where a version is pending.
    ///
    /// Where that cannot be kept now, the head stays the one before.
    ///
    /// # Errors
    /// `Internal` for a key that a panic left in doubt.
    pub(crate) fn head_of(&self, key: &Key) -> Result<Guard<Arc<Head>>> {
        let head = key.load();
        match head.pending {
            Some(pending) if self.now_ms() >= pending.due_ms => {
                let mut change = key.change()?;
                drop(self.activate(&mut change));
                Ok(key.load())
            }
            _ => Ok(head),
        }
    }

    /// Makes a pending version whose time has come the head.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn activate(&self, change: &mut Change<'_>) -> Result<()> {
        let due = change.head.pending.filter(|pending| self.now_ms() >= pending.due_ms);
        let Some(Pending { version: active, .. }) = due else { return Ok(()) };
        if self.verifies_only().is_some() {
            return Err(only_verifies());
        }
        let activated = StoredChange::Activate { version: active };
        let (service, now_ms) = (service(), self.now_ms());
        let target = (change.key.id().uuid, Some(active));
        let Some(recorded) = self.activations.begin(&target, now_ms) else { return Ok(()) };
        let kid = KidRef { version: Some(active), ..change.key.id().into() };
        if !recorded {
            self.audit_change(ACTIVATED, &service, kid)?;
        }
        self.commit(Op::Rotate, &service, change.key, &activated, || unreachable!("no op_id"))
            .inspect_err(|_| self.activations.failed(target, true, now_ms))?;
        self.activations.done(&target);
        change.publish(Head { active, pending: None, ..(*change.head).clone() });
        Ok(())
    }

    /// The head as it is now, after what is due is destroyed.
    pub(crate) fn settled_head(&self, key: &Key) -> Result<Guard<Arc<Head>>> {
        if !self.head_of(key)?.life.due(self.now_ms()).is_empty() {
            self.settle(key);
        }
        self.head_of(key)
    }

    /// The version that a kid names, which must be published and in use.
    pub(crate) fn version_of<'a>(&self, kid: &'a KnownKid) -> Result<&'a KeyVersion> {
        let version = kid.version.ok_or_else(version_needed)?;
        let head = self.head_of(&kid.key)?;
        let held = kid.key.version(&head, version).ok_or_else(KmsError::not_found)?;
        self.check_enabled(&kid.key, &head, version)?;
        self.cache_age_ms(held)?;
        Ok(held)
    }

    /// The kid of an item, found now where it was not before.
    ///
    /// # Errors
    /// Those of [`Engine::know`].
    pub(crate) fn find_item<'a>(
        &self,
        context: &Context,
        kid: ItemKid<'a>,
    ) -> Result<Cow<'a, KnownKid>> {
        match kid {
            ItemKid::Known(known) => Ok(Cow::Borrowed(known)),
            ItemKid::Named(name) => self.know(context, name).map(Cow::Owned),
        }
    }
}
