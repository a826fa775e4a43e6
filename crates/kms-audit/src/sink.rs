//! The log as the engine's sink.

use std::sync::atomic::Ordering;

use kms_core::{
    AuditEvent, AuditSink, Context, ContinuityEvent, KmsError, Result, Rotation, Settled,
    VerificationEvent,
};

use crate::config::Durability;
use crate::log::AuditLog;
use crate::record::{Body, Continuity, Operation, Refusal, Target, Verifications};
use crate::writer::{checked, fit};

/// The record of an event, with the text that a refusal's reason became.
pub(crate) fn operation<'a>(event: &AuditEvent<'a>, reason: &'a str) -> Result<Operation<'a>> {
    let context = event.context;
    let refused = event.refusal.is_some();
    Ok(Operation {
        op: event.op,
        op_id: context.op_id,
        request_id: text("request_id", &context.request_id, refused)?,
        actor: text("actor", &context.actor, refused)?,
        target: match event.kid {
            Some(kid) => Target::Key(kid),
            None => Target::Tenant(tenant(context)),
        },
        input_hash: event.input_hash.copied(),
        refusal: event.refusal.map(|it| Refusal { code: it.code, reason }),
        attestation: event.attestation.copied(),
    })
}

/// The text, where a record takes it; of a refusal as much as it takes, so that no name keeps one out of the log.
fn text<'a>(field: &'static str, text: &'a str, refused: bool) -> Result<&'a str> {
    match checked(field, text) {
        Err(_) if refused => Ok("(too long)"),
        checked => Ok(checked?),
    }
}

fn tenant(context: &Context) -> &str {
    context.tenant.as_deref().unwrap_or_default()
}

pub(crate) fn statement(rotation: &Rotation<'_>) -> Result<Option<Vec<u8>>> {
    let Rotation { from, to, from_public, public } = *rotation;
    let statement = Continuity::statement(from, to.require_version()?, from_public, public);
    Ok(Some(statement.map_err(KmsError::from)?))
}

/// The texts of a summary, cut to what a record takes: nobody is refused for a long one.
pub(crate) struct Names {
    request_id: String,
    actor: String,
}

impl Names {
    pub(crate) fn of(context: &Context) -> Names {
        Names { request_id: fit(&context.request_id), actor: fit(&context.actor) }
    }
}

pub(crate) fn verifications<'a>(event: &VerificationEvent<'a>, names: &'a Names) -> Body<'a> {
    Body::Verifications(Verifications {
        op: event.op,
        request_id: &names.request_id,
        actor: &names.actor,
        tenant: tenant(event.context),
        count: event.count,
        failures: event.failures,
        inputs_hash: *event.inputs_hash,
    })
}

pub(crate) fn continuity<'a>(event: &ContinuityEvent<'a>) -> Result<Body<'a>> {
    let Rotation { from, to, from_public, public } = event.rotation;
    Ok(Body::Continuity(Continuity {
        actor: checked("actor", &event.context.actor)?,
        from,
        to: to.require_version()?,
        from_public: from_public.to_vec(),
        public: public.to_vec(),
        signatures: event.signatures.to_vec(),
    }))
}

/// Counts a record that was not taken, whatever the reason.
fn taken(log: &AuditLog, index: Result<u64>) -> Result<Option<u64>> {
    if index.is_err() {
        log.shared().refused_records.fetch_add(1, Ordering::Relaxed);
    }
    index.map(Some)
}

fn take(log: &AuditLog, event: &AuditEvent<'_>) -> Result<u64> {
    let reason = match event.refusal {
        // What was refused changes nothing: it is recorded whether or not the device signs.
        Some(refusal) => fit(&refusal.message),
        None => {
            log.check_sealed()?;
            String::new()
        }
    };
    Ok(log.submit(Body::Operation(operation(event, &reason)?))?)
}

fn take_continuity(log: &AuditLog, event: &ContinuityEvent<'_>) -> Result<u64> {
    log.check_sealed()?;
    Ok(log.submit(continuity(event)?)?)
}

impl AuditSink for AuditLog {
    fn log(&self) -> Option<&str> {
        Some(self.shared().writer.config.origin.as_str())
    }

    fn append(&self, event: &AuditEvent<'_>) -> Result<Option<u64>> {
        taken(self, take(self, event))
    }

    fn continuity_statement(&self, rotation: &Rotation<'_>) -> Result<Option<Vec<u8>>> {
        statement(rotation)
    }

    fn append_continuity(&self, event: &ContinuityEvent<'_>) -> Result<Option<u64>> {
        taken(self, take_continuity(self, event))
    }

    fn verified(&self, event: &VerificationEvent<'_>) {
        let names = Names::of(event.context);
        if self.shared().writer.submit_droppable(verifications(event, &names)).is_err() {
            self.shared().dropped_verifications.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn refused(&self, refusal: &KmsError) {
        self.shared().writer.refusals[refusal.code as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn is_slow(&self) -> bool {
        self.shared().writer.config.durability == Durability::Fsync
    }

    fn settle(&self) -> Result<()> {
        if self.is_slow() {
            self.shared().writer.flush()?;
        }
        Ok(())
    }

    fn when_settled(&self, settled: Settled) {
        if !self.is_slow() {
            settled(Ok(()));
        } else if let Some(settled) = self.shared().settling.when_settled(settled) {
            // Closed: what was not durable until then cannot become so.
            settled(self.settle());
        }
    }
}
