//! What was done and refused.

use kms_core::{ErrorCode, KidRef};
use uuid::Uuid;

use super::{put_kid, take_kid};
use crate::codec::{Reader, Writer};
use crate::error::Malformed;
use crate::merkle::Hash;

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    /// The engine's name of it.
    pub op: &'a str,
    /// The client's idempotency id.
    pub op_id: Option<Uuid>,
    /// Joins logs, answers and records.
    pub request_id: &'a str,
    /// Who asked.
    pub actor: &'a str,
    /// On what.
    pub target: Target<'a>,
    /// BLAKE3-256 of what was signed.
    pub input_hash: Option<Hash>,
    /// `None` for success.
    pub refusal: Option<Refusal<'a>>,
    /// BLAKE3-256 of attestation evidence.
    pub attestation: Option<Hash>,
}

/// What an operation was on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// No key; the tenant whose matter it was, or an empty text.
    Tenant(&'a str),
    /// A key, and the version where one was used.
    Key(KidRef<'a>),
}

/// Why an operation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// The stable code.
    pub code: ErrorCode,
    /// The message.
    pub reason: &'a str,
}

/// A verification request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifications<'a> {
    /// The engine's name of it.
    pub op: &'a str,
    /// Joins logs, answers and records.
    pub request_id: &'a str,
    /// Who asked.
    pub actor: &'a str,
    /// The tenant that the caller is bound to, or an empty text.
    pub tenant: &'a str,
    /// Signatures looked at.
    pub count: u32,
    /// Of which were not valid; at most `count`.
    pub failures: u32,
    /// BLAKE3-256 over the inputs.
    pub inputs_hash: Hash,
}

/// Refusals before authentication, and those that name no key of the caller, counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusals {
    /// How many with each code; codes in their order, each once, none with 0.
    pub counts: Vec<(ErrorCode, u64)>,
}

impl<'a> Operation<'a> {
    pub(super) fn encode(&self, out: &mut Writer<'_>) -> Result<(), Malformed> {
        out.text("op", self.op)?;
        out.option(self.op_id.as_ref().map(|id| &id.as_bytes()[..]));
        out.text("request_id", self.request_id)?;
        out.text("actor", self.actor)?;
        match self.target {
            Target::Tenant(tenant) => {
                out.u8(0);
                out.text("tenant", tenant)?;
            }
            Target::Key(kid) => {
                out.u8(1);
                put_kid(out, kid)?;
            }
        }
        out.option(self.input_hash.as_ref().map(|hash| &hash[..]));
        match &self.refusal {
            None => out.u8(0),
            Some(refusal) => {
                out.u8(code_byte(refusal.code));
                out.text("reason", refusal.reason)?;
            }
        }
        out.option(self.attestation.as_ref().map(|hash| &hash[..]));
        Ok(())
    }

    pub(super) fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Operation {
            op: input.text("op")?,
            op_id: input.option("op_id")?.map(Uuid::from_bytes),
            request_id: input.text("request_id")?,
            actor: input.text("actor")?,
            target: match input.u8("target")? {
                0 => Target::Tenant(input.text("tenant")?),
                1 => Target::Key(take_kid(input)?),
                _ => return Err(Malformed("target")),
            },
            input_hash: input.option("input_hash")?,
            refusal: match input.u8("result")? {
                0 => None,
                code => Some(Refusal { code: code_of(code)?, reason: input.text("reason")? }),
            },
            attestation: input.option("attestation")?,
        })
    }
}

impl<'a> Verifications<'a> {
    pub(super) fn encode(&self, out: &mut Writer<'_>) -> Result<(), Malformed> {
        out.text("op", self.op)?;
        out.text("request_id", self.request_id)?;
        out.text("actor", self.actor)?;
        out.text("tenant", self.tenant)?;
        out.u32(self.count);
        out.u32(self.failures);
        out.array(&self.inputs_hash);
        if self.failures > self.count { Err(Malformed("failures")) } else { Ok(()) }
    }

    pub(super) fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let it = Verifications {
            op: input.text("op")?,
            request_id: input.text("request_id")?,
            actor: input.text("actor")?,
            tenant: input.text("tenant")?,
            count: input.u32("count")?,
            failures: input.u32("failures")?,
            inputs_hash: input.array("inputs_hash")?,
        };
        if it.failures > it.count { Err(Malformed("failures")) } else { Ok(it) }
    }
}

impl Refusals {
    pub(super) fn encode(&self, out: &mut Writer<'_>) -> Result<(), Malformed> {
        out.count("counts", self.counts.len(), ErrorCode::ALL.len() as u8)?;
        let mut last = 0;
        for &(code, count) in &self.counts {
            check_count(&mut last, code_byte(code), count)?;
            out.u8(last);
            out.u64(count);
        }
        Ok(())
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let len = input.count("counts", ErrorCode::ALL.len() as u8)?;
        let mut counts = Vec::with_capacity(len.into());
        let mut last = 0;
        for _ in 0..len {
            let (code, count) = (input.u8("counts")?, input.u64("counts")?);
            check_count(&mut last, code, count)?;
            counts.push((code_of(code)?, count));
        }
        Ok(Refusals { counts })
    }
}

/// Codes ascend and counts are at least 1.
fn check_count(last: &mut u8, code: u8, count: u64) -> Result<(), Malformed> {
    if code <= *last || count == 0 {
        return Err(Malformed("counts"));
    }
    *last = code;
    Ok(())
}

/// Codes are numbered from 1 by their place in [`ErrorCode::ALL`], to which codes are only added.
fn code_byte(code: ErrorCode) -> u8 {
    code as u8 + 1
}

fn code_of(byte: u8) -> Result<ErrorCode, Malformed> {
    let index = usize::from(byte).checked_sub(1).ok_or(Malformed("code"))?;
    ErrorCode::ALL.get(index).copied().ok_or(Malformed("code"))
}
