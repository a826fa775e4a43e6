//! Records: what a leaf of the log says, in one binary spelling.
//!
//! A record is `version (1) ‖ kind (1) ‖ seq (8) ‖ utc_ms (8) ‖ mono_ms (8) ‖ body`, integers big-endian, at most
//! [`MAX_RECORD`] bytes. Decoding refuses every string of bytes that encoding would not have made, so a record
//! and its leaf hash belong to each other. A field that cannot be missing twice is written once: tenant, purpose,
//! algorithm and version of a key are the parts of its kid.

mod keys;
mod operation;
mod process;
mod sealing;

use kms_core::{Algorithm, KidRef, Version};
use uuid::Uuid;

use crate::codec::{Reader, Writer};
use crate::error::Malformed;

pub use self::keys::{AuditKey, AuditKeys, Continuity};
pub use self::operation::{Operation, Refusal, Refusals, Target, Verifications};
pub use self::process::{Dropped, Opened, Override};
pub use self::sealing::{DeviceKey, MAX_FACTS, Sealing};

/// The version that [`Record::encode`] writes.
pub const VERSION: u8 = 1;
/// Longest record, in bytes. The largest there can be is a continuity proof by SLH-DSA, about 50 KiB.
pub const MAX_RECORD: usize = 64 * 1024;

/// A record; borrows from the bytes that it was decoded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The leaf index, from 0.
    pub seq: u64,
    /// Milliseconds since the Unix epoch, by a clock that an operator can set.
    pub utc_ms: u64,
    /// Milliseconds of a clock that only grows, since this process began to write.
    pub mono_ms: u64,
    /// What happened.
    pub body: Body<'a>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Kind 1: an operation that changed something, or made or refused a signature or a key.
    Operation(Operation<'a>),
    /// Kind 2: a verification request, as a whole.
    Verifications(Verifications<'a>),
    /// Kind 3: refusals before authentication, and those that name no key of the caller, of one interval.
    Refusals(Refusals),
    /// Kind 4: an old head vouches for the version after it.
    Continuity(Continuity<'a>),
    /// Kind 5: which keys sign checkpoints from here on. The first record of every log is one.
    AuditKeys(AuditKeys<'a>),
    /// Kind 6: a process began to write.
    Opened(Opened<'a>),
    /// Kind 7: these leaves are there as hashes only, because the queue was full.
    Dropped(Dropped),
    /// Kind 8: an operator had a refused log opened.
    Override(Override<'a>),
    /// Kind 9: which device signs checkpoints beside the audit keys from here on, if any.
    Sealing(Sealing<'a>),
}

impl<'a> Record<'a> {
    /// Bytes before the body.
    pub const HEADER: usize = 26;

    /// Appends the record's bytes to `out`.
    ///
    /// # Errors
    /// [`Malformed`] for a field that is too long or has control characters, counts that do not fit each
    /// other, or a record over [`MAX_RECORD`]. `out` then holds a part of it.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let start = out.len();
        let mut out = Writer(out);
        out.u8(VERSION);
        out.u8(self.body.kind());
        out.u64(self.seq);
        out.u64(self.utc_ms);
        out.u64(self.mono_ms);
        self.body.encode(&mut out)?;
        if out.0.len() - start > MAX_RECORD { Err(Malformed("length")) } else { Ok(()) }
    }

    /// Sets what only the writer knows, in a record that begins `encoded`.
    pub(crate) fn stamp(encoded: &mut [u8], seq: u64, utc_ms: u64, mono_ms: u64) {
        encoded[2..10].copy_from_slice(&seq.to_be_bytes());
        encoded[10..18].copy_from_slice(&utc_ms.to_be_bytes());
        encoded[18..26].copy_from_slice(&mono_ms.to_be_bytes());
    }

    /// Reads a record that fills `bytes`.
    ///
    /// # Errors
    /// [`Malformed`] for everything that [`Record::encode`] would not have written.
    pub fn decode(bytes: &'a [u8]) -> Result<Record<'a>, Malformed> {
        if bytes.len() > MAX_RECORD {
            return Err(Malformed("length"));
        }
        let mut input = Reader(bytes);
        if input.u8("version")? != VERSION {
            return Err(Malformed("version"));
        }
        let kind = input.u8("kind")?;
        let (seq, utc_ms) = (input.u64("seq")?, input.u64("utc_ms")?);
        let mono_ms = input.u64("mono_ms")?;
        let body = Body::decode(kind, &mut input)?;
        input.finish()?;
        Ok(Record { seq, utc_ms, mono_ms, body })
    }
}

impl<'a> Body<'a> {
    fn kind(&self) -> u8 {
        match self {
            Body::Operation(_) => 1,
            Body::Verifications(_) => 2,
            Body::Refusals(_) => 3,
            Body::Continuity(_) => 4,
            Body::AuditKeys(_) => 5,
            Body::Opened(_) => 6,
            Body::Dropped(_) => 7,
            Body::Override(_) => 8,
            Body::Sealing(_) => 9,
        }
    }

    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Malformed> {
        match self {
            Body::Operation(it) => it.encode(out),
            Body::Verifications(it) => it.encode(out),
            Body::Refusals(it) => it.encode(out),
            Body::Continuity(it) => it.encode(out),
            Body::AuditKeys(it) => it.encode(out),
            Body::Opened(it) => it.encode(out),
            Body::Dropped(it) => it.encode(out),
            Body::Override(it) => it.encode(out),
            Body::Sealing(it) => it.encode(out),
        }
    }

    fn decode(kind: u8, input: &mut Reader<'a>) -> Result<Body<'a>, Malformed> {
        Ok(match kind {
            1 => Body::Operation(Operation::decode(input)?),
            2 => Body::Verifications(Verifications::decode(input)?),
            3 => Body::Refusals(Refusals::decode(input)?),
            4 => Body::Continuity(Continuity::decode(input)?),
            5 => Body::AuditKeys(AuditKeys::decode(input)?),
            6 => Body::Opened(Opened::decode(input)?),
            7 => Body::Dropped(Dropped::decode(input)?),
            8 => Body::Override(Override::decode(input)?),
            9 => Body::Sealing(Sealing::decode(input)?),
            _ => return Err(Malformed("kind")),
        })
    }
}

/// tenant ‖ purpose ‖ algorithm ‖ UUID (16) ‖ version (4; 0 for none).
fn put_kid(out: &mut Writer<'_>, kid: KidRef<'_>) -> Result<(), Malformed> {
    let KidRef { tenant, purpose, alg, uuid, version } = kid;
    // The fields are public: somebody may have made one that is no kid.
    KidRef::from_parts(tenant, purpose, alg, uuid, version).map_err(|_| Malformed("kid"))?;
    out.text("kid", tenant)?;
    out.text("kid", purpose)?;
    out.text("kid", alg.name())?;
    out.array(uuid.as_bytes());
    out.u32(version.map_or(0, Version::get));
    Ok(())
}

fn take_kid<'a>(input: &mut Reader<'a>) -> Result<KidRef<'a>, Malformed> {
    let (tenant, purpose) = (input.text("kid")?, input.text("kid")?);
    let alg = Algorithm::parse(input.text("kid")?).map_err(|_| Malformed("kid"))?;
    let uuid = Uuid::from_bytes(input.array("kid")?);
    let version = Version::new(input.u32("kid")?);
    KidRef::from_parts(tenant, purpose, alg, uuid, version).map_err(|_| Malformed("kid"))
}

#[cfg(test)]
#[path = "tests/record.rs"]
mod tests;
