//! What the audit log is told, and when.
//!
//! A change of a key is recorded, and where the log promises that on disk, before it is put in force. A use (a signature,
//! an envelope) is recorded before its result leaves, and whoever answers the caller waits for the disk
//! ([`Engine::when_settled`]), so that uses side by side share one sync. An operation of a caller that was refused for
//! what it is, not for its form or for the load, is recorded too.

use std::sync::Arc;

use kms_core::{
    AuditEvent, AuditSink, Context, ContinuityEvent, ErrorCode, KidRef, KmsError, Result, Rotation,
    Settled, Track, VerificationEvent, Version,
};

use crate::dispatch::Request;
use crate::engine::Engine;
use crate::key::{Key, KeyVersion};
use crate::op::Op;

/// Which verifications are recorded: one record a request, which may be dropped under load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditVerify {
    /// None.
    #[default]
    None,
    /// Those of requests in JSON, from any transport.
    Requests,
    /// Those of calls in process too.
    All,
}

impl Engine {
    /// The audit log.
    pub(crate) fn sink(&self) -> Option<&dyn AuditSink> {
        self.config.audit.as_deref()
    }

    /// The name of the audit log that the indexes in answers are of.
    pub fn log(&self) -> Option<&str> {
        self.sink().and_then(AuditSink::log)
    }

    /// Whether what is recorded must reach a disk before it is answered: [`Engine::when_settled`].
    pub fn is_slow_to_settle(&self) -> bool {
        self.sink().is_some_and(AuditSink::is_slow)
    }

    /// Calls `settled` when all that was recorded is as durable as the log promises: at once, or on a thread of the log.
    pub fn when_settled(&self, settled: Settled) {
        match self.sink() {
            Some(sink) => sink.when_settled(settled),
            None => settled(Ok(())),
        }
    }

    /// Waits for what [`Engine::when_settled`] calls back for.
    ///
    /// # Errors
    /// Those of the log; what it recorded and did not settle must not be answered then.
    pub fn settle_records(&self) -> Result<()> {
        self.sink().map_or(Ok(()), AuditSink::settle)
    }

    /// Records a change before it is in force, and gives its place in the log.
    pub(crate) fn audit_change(
        &self,
        op: &'static str,
        context: &Context,
        kid: KidRef<'_>,
    ) -> Result<Option<u64>> {
        let Some(sink) = self.sink() else { return Ok(None) };
        let index = sink.append(&event(op, context, Some(kid)))?;
        sink.settle()?;
        Ok(index)
    }

    /// Records a use before its result leaves, and gives its place in the log.
    pub(crate) fn audit_use(
        &self,
        op: Op,
        context: &Context,
        kid: KidRef<'_>,
        input: &[u8],
    ) -> Result<Option<u64>> {
        let Some(sink) = self.sink() else { return Ok(None) };
        let input_hash = kms_crypto::digest::blake3(input);
        let event = event(op.name(), context, Some(kid));
        sink.append(&AuditEvent { input_hash: Some(&input_hash), ..event })
    }

    /// Has a head vouch for the version after it, where the log takes such proofs. A head that does not sign, or is out of
    /// use, vouches for nothing.
    pub(crate) fn audit_continuity(
        &self,
        context: &Context,
        key: &Arc<Key>,
        (from, old): (Version, &KeyVersion),
        (to, new): (Version, &KeyVersion),
    ) -> Result<Option<u64>> {
        let Some(sink) = self.sink() else { return Ok(None) };
        if old.suite.wraps() || key.check_enabled(from).is_err() {
            return Ok(None);
        }
        let names = |version: &KeyVersion| version.suite.algs().iter().map(|alg| alg.name());
        let (old_halves, new_halves) = (old.public.encoded(), new.public.encoded());
        let kid = |version| KidRef { version: Some(version), ..key.id().into() };
        let rotation = Rotation {
            from: kid(from),
            to: kid(to),
            from_public: &tracks(names(old), &old_halves),
            public: &tracks(names(new), &new_halves),
        };
        let Some(statement) = sink.continuity_statement(&rotation)? else { return Ok(None) };
        let signatures = self.vouch(key, from, &statement)?;
        let signatures = &tracks(names(old), &signatures);
        sink.append_continuity(&ContinuityEvent { context, rotation, signatures })
    }

    /// Records that a request was refused, where that says something about a key or a caller. The caller has the refusal
    /// in any case.
    pub(crate) fn audit_refusal(
        &self,
        op: Op,
        context: &Context,
        request: &Request,
        refusal: &KmsError,
    ) {
        let Some(sink) = self.sink() else { return };
        let of_form_or_load = matches!(
            refusal.code,
            ErrorCode::BadRequest
                | ErrorCode::TooLarge
                | ErrorCode::Backpressure
                | ErrorCode::Timeout
        );
        let in_flight = refusal.code == ErrorCode::Conflict && refusal.retryable;
        if of_form_or_load || in_flight || self.is_closed() {
            return;
        }
        let kid = request.kid().and_then(|kid| KidRef::parse(kid).ok());
        let event = event(op.name(), context, kid);
        // Nothing was done that would have to be undone.
        let _ = sink.append(&AuditEvent { refusal: Some(refusal), ..event });
    }

    /// Whether verifications of this kind are recorded.
    pub(crate) fn records(&self, of: AuditVerify) -> bool {
        self.config.audit.is_some()
            && match self.config.audit_verify {
                AuditVerify::None => false,
                AuditVerify::Requests => of == AuditVerify::Requests,
                AuditVerify::All => true,
            }
    }

    /// Counts a refusal before authentication.
    pub fn audit_refused(&self, code: ErrorCode) {
        if let Some(sink) = self.sink() {
            sink.refused(&KmsError::new(code, ""));
        }
    }

    /// Records one request to verify, with the hash of what was looked at.
    pub(crate) fn audit_verification(
        &self,
        of: AuditVerify,
        op: Op,
        context: &Context,
        (count, failures): (usize, usize),
        input: &[&[u8]],
    ) {
        let Some(sink) = self.sink().filter(|_| self.records(of)) else { return };
        let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
        let mut hasher = blake3::Hasher::new();
        input.iter().for_each(|part| {
            hasher.update(part);
        });
        sink.verified(&VerificationEvent {
            op: op.name(),
            context,
            count: number(count),
            failures: number(failures),
            inputs_hash: hasher.finalize().as_bytes(),
        });
    }
}

fn event<'a>(op: &'static str, context: &'a Context, kid: Option<KidRef<'a>>) -> AuditEvent<'a> {
    AuditEvent { op, context, kid, input_hash: None, refusal: None, attestation: None }
}

fn tracks<'a>(names: impl Iterator<Item = &'static str>, halves: &'a [Vec<u8>]) -> Vec<Track<'a>> {
    names.zip(halves).map(|(alg, bytes)| Track { alg, bytes }).collect()
}
