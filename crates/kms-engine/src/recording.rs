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

use crate::engine::Engine;
use crate::key::{Key, KeyVersion};
use crate::op::Op;
use crate::sign::RESERVED;

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

/// The log failed after the work was done: a change may be in force, and its record on disk or not.
fn in_doubt(error: KmsError) -> KmsError {
    let message = format!("{}, which left the outcome open", error.message);
    KmsError { message: message.into(), ..error }
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
            Some(sink) => sink.when_settled(Box::new(|result| settled(result.map_err(in_doubt)))),
            None => settled(Ok(())),
        }
    }

    /// Refuses a call that would wait for a disk on a thread that must not.
    ///
    /// # Errors
    /// `Unsupported`, field `audit.durability`.
    pub fn check_need_not_wait(&self) -> Result<()> {
        if self.is_slow_to_settle() {
            let why = "the audit log waits for its disk: use the asynchronous call";
            return Err(KmsError::unsupported(why).field("audit.durability"));
        }
        Ok(())
    }

    /// Waits for what [`Engine::when_settled`] calls back for.
    ///
    /// # Errors
    /// Those of the log; what it recorded and did not settle must not be answered then.
    pub fn settle_records(&self) -> Result<()> {
        self.sink().map_or(Ok(()), AuditSink::settle).map_err(in_doubt)
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
        (key, version): (&Key, Version),
        input: &[u8],
    ) -> Result<Option<u64>> {
        let Some(sink) = self.sink() else { return Ok(None) };
        let input_hash = kms_crypto::digest::blake3(input);
        let kid = KidRef { version: Some(version), ..key.id().into() };
        let evidence = key.published(version)?.evidence.load();
        let attestation = evidence.as_ref().map(|it| &it.hash);
        let event = event(op.name(), context, Some(kid));
        sink.append(&AuditEvent { input_hash: Some(&input_hash), attestation, ..event })
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
        let silent = old.suite.wraps() || self.check_authority(old).is_err();
        if silent || key.check_enabled(from).is_err() {
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
        let signatures = self.vouch(context, key, from, &statement)?;
        let signatures = &tracks(names(old), &signatures);
        sink.append_continuity(&ContinuityEvent { context, rotation, signatures })
    }

    /// Records that the use or the change of a key was refused to a caller who may know of it. Refusals that say nothing
    /// about a key are counted, as those before authentication are: they cost who asks for them too little. The caller
    /// has the refusal in any case.
    pub(crate) fn audit_refusal(
        &self,
        op: Op,
        context: &Context,
        key: Option<&Key>,
        refusal: &KmsError,
    ) {
        let Some(sink) = self.sink().filter(|_| op.is_recorded()) else { return };
        // Of what was never admitted there is nothing to say; nor does a service that only verifies write.
        if self.is_closed() || self.verifies_only().is_some() || is_of_load(refusal) {
            return;
        }
        match key {
            Some(key) if !is_of_form(refusal) => {
                let event = event(op.name(), context, Some(key.id().into()));
                // Nothing was done that would have to be undone.
                let _ = sink.append(&AuditEvent { refusal: Some(refusal), ..event });
            }
            None if !is_of_form(refusal) => sink.refused(refusal),
            _ => {}
        }
    }

    /// Counts a refusal before authentication.
    pub fn audit_refused(&self, code: ErrorCode) {
        if let Some(sink) = self.sink() {
            sink.refused(&KmsError::new(code, ""));
        }
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

    /// Records one verification in process, where all are recorded.
    pub fn audit_verified(&self, context: &Context, valid: bool, input: &[&[u8]]) {
        let counts = (1, usize::from(!valid));
        self.audit_verification(AuditVerify::All, Op::Verify, context, counts, input);
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

/// Whether the same request may pass in a moment.
fn is_of_load(refusal: &KmsError) -> bool {
    let in_flight = refusal.code == ErrorCode::Conflict && refusal.retryable;
    in_flight || matches!(refusal.code, ErrorCode::Backpressure | ErrorCode::Timeout)
}

/// Whether a request is malformed. Forged envelopes and statements in the service's own name are not: they are what an
/// attacker sends.
fn is_of_form(refusal: &KmsError) -> bool {
    match refusal.code {
        ErrorCode::BadRequest => {
            refusal.field.as_deref() != Some("wrapped_b64") && refusal.message != RESERVED
        }
        ErrorCode::TooLarge => true,
        _ => false,
    }
}

fn event<'a>(op: &'static str, context: &'a Context, kid: Option<KidRef<'a>>) -> AuditEvent<'a> {
    AuditEvent { op, context, kid, input_hash: None, refusal: None, attestation: None }
}

fn tracks<'a>(names: impl Iterator<Item = &'static str>, halves: &'a [Vec<u8>]) -> Vec<Track<'a>> {
    names.zip(halves).map(|(alg, bytes)| Track { alg, bytes }).collect()
}
