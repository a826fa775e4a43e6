//! The log as the engine's sink.

use std::sync::atomic::Ordering;

use kms_core::{
    AuditEvent, AuditSink, Context, ContinuityEvent, KmsError, Result, VerificationEvent,
};

use crate::log::AuditLog;
use crate::record::{Body, Continuity, Operation, Refusal, Target, Verifications};
use crate::writer::{checked, fit};

/// The record of an event, with the text that a refusal's reason became.
pub(crate) fn operation<'a>(event: &AuditEvent<'a>, reason: &'a str) -> Result<Operation<'a>> {
    let context = event.context;
    Ok(Operation {
        op: event.op,
        op_id: context.op_id,
        request_id: checked("request_id", &context.request_id)?,
        actor: checked("actor", &context.actor)?,
        target: match event.kid {
            Some(kid) => Target::Key(kid),
            None => Target::Tenant(tenant(context)),
        },
        input_hash: event.input_hash.copied(),
        refusal: event.refusal.map(|it| Refusal { code: it.code, reason }),
        attestation: event.attestation.copied(),
    })
}

fn tenant(context: &Context) -> &str {
    context.tenant.as_deref().unwrap_or_default()
}

impl AuditSink for AuditLog {
    fn append(&self, event: &AuditEvent<'_>) -> Result<Option<u64>> {
        let reason = event.refusal.map_or(String::new(), |it| fit(&it.message));
        let body = Body::Operation(operation(event, &reason)?);
        Ok(Some(AuditLog::append(self, body)?))
    }

    fn append_continuity(&self, event: &ContinuityEvent<'_>) -> Result<Option<u64>> {
        let body = Body::Continuity(Continuity {
            actor: checked("actor", &event.context.actor)?,
            from: event.from,
            to: event.to.require_version()?,
            from_public: event.from_public.to_vec(),
            public: event.public.to_vec(),
            signatures: event.signatures.to_vec(),
        });
        // The record of the rotation, which follows, waits for both.
        Ok(Some(self.submit(body)?))
    }

    fn verified(&self, event: &VerificationEvent<'_>) {
        let body = Body::Verifications(Verifications {
            op: event.op,
            request_id: &fit(&event.context.request_id),
            actor: &fit(&event.context.actor),
            tenant: tenant(event.context),
            count: event.count,
            failures: event.failures,
            inputs_hash: *event.inputs_hash,
        });
        if self.submit(body).is_err() {
            self.shared().dropped_verifications.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn refused(&self, refusal: &KmsError) {
        self.shared().writer.refusals[refusal.code as usize].fetch_add(1, Ordering::Relaxed);
    }
}
