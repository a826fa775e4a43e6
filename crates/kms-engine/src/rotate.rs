//! Rotating a key: a new version, and later or at once a new head.

use std::sync::Arc;

use kms_core::{Context, Kid, KidRef, KmsError, Result};

use crate::dispatch::Response;
use crate::engine::Engine;
use crate::key::Pending;
use crate::op::Op;

/// The longest wait before a rotated version becomes active: ten years, in milliseconds.
pub const MAX_ACTIVATE_AFTER_MS: u64 = 10 * 366 * 24 * 3_600_000;

/// A wish for a new version.
#[derive(Clone, Debug, Default, Hash)]
pub struct RotateKey {
    /// The algorithm of the new version: the key's own, or `hybrid`, which adds the post-quantum track to a classical
    /// key.
    pub alg: Option<String>,
    /// How long the new version is published before it signs, in milliseconds.
    pub activate_after_ms: u64,
}

/// A version was added.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The new version.
    pub kid: Kid,
    /// The version that was the head.
    pub previous: Kid,
    /// When the new version becomes the head, in Unix milliseconds; `None` when it already is.
    pub active_at_unix_ms: Option<u64>,
    /// The index of its record in the audit log, where there is one.
    pub audit: Option<u64>,
    /// The index of the record in which the version that was the head vouches for the new one, where it does.
    pub continuity: Option<u64>,
}

impl Engine {
    /// Adds a version. Signatures of every earlier version go on verifying.
    ///
    /// A kid with `#vN` rotates only if N is the head, so of two callers who saw the same head one
    /// wins. The head need not be enabled: a rotation is how a key is used again after its head was given up.
    ///
    /// # Errors
    /// `Conflict` for a stale version, while another version is pending and for a key that is not enabled, `NotFound`,
    /// `BadRequest`, `Unsupported` for another algorithm: no track is ever dropped.
    pub fn rotate(&self, context: &Context, kid: &str, wish: &RotateKey) -> Result<Rotated> {
        self.run(Op::Rotate, context, |trace| {
            let parsed = KidRef::parse(kid)?;
            let key = self.find(&parsed, context)?;
            trace.key = Some(Arc::clone(&key));
            if wish.activate_after_ms > MAX_ACTIVATE_AFTER_MS {
                let error = KmsError::bad_request("must be at most ten years");
                return Err(error.field("activate_after_ms"));
            }

            let now = self.now_ms();
            let change = self.change(&key, now)?;
            let head = Arc::clone(&change.head);
            head.life.key().check()?;
            if parsed.version.is_some_and(|version| version != head.active) {
                return Err(KmsError::conflict("this version is not the head").field("kid"));
            }
            if head.pending.is_some() {
                return Err(KmsError::conflict("another version is already pending").field("kid"));
            }
            let old = key.published(head.active)?;
            let suite = old.suite.rotated(wish.alg.as_deref())?;
            self.check_allowed(suite)?;
            trace.alg = suite.label();
            self.check_signs(self.demand(&key), suite)?;
            let next = change.next()?;
            let version = self.fresh_version(context, &key.id().at(next), suite)?;
            let secret = version.secret;
            let record = || -> Result<_> {
                let (from, to) = ((head.active, old), (next, &version));
                let continuity = self.audit_continuity(context, &key, from, to)?;
                let kid = KidRef { version: Some(next), ..key.id().into() };
                let audit = self.audit_change(Op::Rotate.name(), context, kid)?;
                Ok((audit, continuity))
            };
            let recorded = record().inspect_err(|_| self.arena.remove(secret));
            let (audit, continuity) = recorded?;
            let wait = wish.activate_after_ms;
            let active_at = (wait > 0).then(|| self.config.clock.unix_ms() + wait);
            let pending = active_at.map(|active_at_unix_ms| Pending {
                version: next,
                // Making it may have taken a while.
                due_ms: self.now_ms() + wait,
                active_at_unix_ms,
            });
            let rotated = Rotated {
                kid: key.id().at(next),
                previous: key.id().at(head.active),
                active_at_unix_ms: active_at,
                audit,
                continuity,
            };
            let answer = || Response::Rotated(rotated.clone());
            self.commit_version(context, &key, &rotated.kid, &version, pending, answer)
                .inspect_err(|_| self.arena.remove(secret))?;
            change.push(version, pending)?;
            self.plan_rotation(&key);
            Ok(rotated)
        })
    }
}
