//! Records: what a leaf of the log says, in one binary spelling.
//!
//! A record is `version (1) ‖ kind (1) ‖ seq (8) ‖ utc_ms (8) ‖ mono_ms (8) ‖ body`, integers big-endian, at most
//! [`MAX_RECORD`] bytes. Decoding refuses every string of bytes that encoding would not have made, so a record
//! and its leaf hash belong to each other. A field that cannot be missing twice is written once: tenant, purpose,
//! algorithm and version of a key are the parts of its kid.

use kms_core::{Algorithm, ErrorCode, KidRef, Track, Version};
use uuid::Uuid;

use crate::codec::{Reader, Writer};
use crate::error::Malformed;
use crate::merkle::Hash;

/// The version that [`Record::encode`] writes.
pub const VERSION: u8 = 1;
/// Longest record, in bytes. The largest there can be is a continuity proof by SLH-DSA, about 50 KiB.
pub const MAX_RECORD: usize = 64 * 1024;
/// Most tracks of a key, and most keys or signatures of a transition.
const MAX_TRACKS: u8 = 4;

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
}

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

/// An old head vouches for the version after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuity<'a> {
    /// Who rotated the key.
    pub actor: &'a str,
    /// The kid that signed, with its version.
    pub from: KidRef<'a>,
    /// The version after it, of the same key.
    pub to: Version,
    /// Public halves of the old version, so that every proof can be checked alone.
    pub from_public: Vec<Track<'a>>,
    /// Public halves of the new version.
    pub public: Vec<Track<'a>>,
    /// By the old version, over [`Continuity::statement`].
    pub signatures: Vec<Track<'a>>,
}

impl Continuity<'_> {
    /// What the old head signs: `ron-kms/continuity/v1` ‖ 0x00 ‖ old kid ‖ 0x00 ‖ new kid ‖ 0x00 ‖ public halves of the old
    /// version ‖ those of the new one. Halves are written as in the record, with the lengths of all parts.
    ///
    /// Every track signs these very bytes, also one of a key whose signatures otherwise cover a digest: a caller may
    /// have any 32 bytes signed by such a key, and no statement has 32. ML-DSA and SLH-DSA sign under an empty context, and
    /// the ML-DSA half of a hybrid version under the one that ties it to `from` (`kms_crypto::hybrid`).
    ///
    /// # Errors
    /// [`Malformed`] where the proof could not be recorded either.
    pub fn statement(
        from: KidRef<'_>,
        to: Version,
        from_public: &[Track<'_>],
        public: &[Track<'_>],
    ) -> Result<Vec<u8>, Malformed> {
        check_versions(from, to)?;
        let new = KidRef { version: Some(to), ..from };
        let mut statement = format!("ron-kms/continuity/v1\0{from}\0{new}\0").into_bytes();
        let mut out = Writer(&mut statement);
        put_tracks(&mut out, "from_public", from_public)?;
        put_tracks(&mut out, "public", public)?;
        Ok(statement)
    }
}

/// A key that signs checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditKey<'a> {
    /// The signature type of C2SP signed-note.
    pub algorithm: u8,
    /// The public key.
    pub public: &'a [u8],
}

/// Which keys sign checkpoints from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditKeys<'a> {
    /// Origin of the log, which is the name of its keys.
    pub origin: &'a str,
    /// The keys that sign from here on.
    pub keys: Vec<AuditKey<'a>>,
    /// By each of the keys before, in their order, over [`AuditKeys::statement`]. Empty in the first record of a
    /// log, and where an operator overrode.
    pub signatures: Vec<&'a [u8]>,
}

impl AuditKeys<'_> {
    /// What the keys before sign: `ron-kms/audit-key/v1` ‖ 0x00 ‖ origin ‖ keys.
    ///
    /// # Errors
    /// [`Malformed`] where the transition could not be recorded either.
    pub fn statement(origin: &str, keys: &[AuditKey<'_>]) -> Result<Vec<u8>, Malformed> {
        let mut statement = b"ron-kms/audit-key/v1\0".to_vec();
        let mut out = Writer(&mut statement);
        out.text("origin", origin)?;
        put_keys(&mut out, keys)?;
        Ok(statement)
    }
}

/// A process began to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The software's version.
    pub software: &'a str,
    /// The boot of the machine, where the system tells: after another boot, writes of the last moments may be missing.
    pub boot: Option<[u8; 16]>,
    /// Bytes of torn records that were dropped when the log was opened.
    pub dropped_bytes: u64,
}

/// Leaves that are there as hashes only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The first of them.
    pub first: u64,
    /// How many there are, at least 1.
    pub count: u64,
}

/// An operator had a refused log opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override<'a> {
    /// Who.
    pub actor: &'a str,
    /// What had been refused, in words.
    pub refused: &'a str,
    /// Size that the anchor had, or 0.
    pub anchor_size: u64,
    /// Root that the anchor had, or zeros.
    pub anchor_root: Hash,
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
        }
    }

    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Malformed> {
        match self {
            Body::Operation(it) => it.encode(out),
            Body::Verifications(it) => it.encode(out),
            Body::Refusals(it) => it.encode(out),
            Body::Continuity(it) => it.encode(out),
            Body::AuditKeys(it) => it.encode(out),
            Body::Opened(it) => {
                out.text("software", it.software)?;
                out.option(it.boot.as_ref().map(|boot| &boot[..]));
                out.u64(it.dropped_bytes);
                Ok(())
            }
            Body::Dropped(it) => {
                out.u64(it.first);
                out.u64(it.count);
                it.check()
            }
            Body::Override(it) => {
                out.text("actor", it.actor)?;
                out.text("refused", it.refused)?;
                out.u64(it.anchor_size);
                out.array(&it.anchor_root);
                Ok(())
            }
        }
    }

    fn decode(kind: u8, input: &mut Reader<'a>) -> Result<Body<'a>, Malformed> {
        Ok(match kind {
            1 => Body::Operation(Operation::decode(input)?),
            2 => Body::Verifications(Verifications::decode(input)?),
            3 => Body::Refusals(Refusals::decode(input)?),
            4 => Body::Continuity(Continuity::decode(input)?),
            5 => Body::AuditKeys(AuditKeys::decode(input)?),
            6 => Body::Opened(Opened {
                software: input.text("software")?,
                boot: input.option("boot")?,
                dropped_bytes: input.u64("dropped_bytes")?,
            }),
            7 => {
                let dropped = Dropped { first: input.u64("first")?, count: input.u64("count")? };
                dropped.check()?;
                Body::Dropped(dropped)
            }
            8 => Body::Override(Override {
                actor: input.text("actor")?,
                refused: input.text("refused")?,
                anchor_size: input.u64("anchor_size")?,
                anchor_root: input.array("anchor_root")?,
            }),
            _ => return Err(Malformed("kind")),
        })
    }
}

impl Dropped {
    fn check(&self) -> Result<(), Malformed> {
        match self.first.checked_add(self.count) {
            Some(_) if self.count > 0 => Ok(()),
            _ => Err(Malformed("count")),
        }
    }
}

impl<'a> Operation<'a> {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Malformed> {
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

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
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
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Malformed> {
        out.text("op", self.op)?;
        out.text("request_id", self.request_id)?;
        out.text("actor", self.actor)?;
        out.text("tenant", self.tenant)?;
        out.u32(self.count);
        out.u32(self.failures);
        out.array(&self.inputs_hash);
        if self.failures > self.count { Err(Malformed("failures")) } else { Ok(()) }
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
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
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Malformed> {
        out.count("counts", self.counts.len(), ErrorCode::ALL.len() as u8)?;
        let mut last = 0;
        for &(code, count) in &self.counts {
            check_count(&mut last, code_byte(code), count)?;
            out.u8(last);
            out.u64(count);
        }
        Ok(())
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, Malformed> {
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

impl<'a> Continuity<'a> {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Malformed> {
        out.text("actor", self.actor)?;
        put_kid(out, self.from)?;
        out.u32(self.to.get());
        put_tracks(out, "from_public", &self.from_public)?;
        put_tracks(out, "public", &self.public)?;
        put_tracks(out, "signatures", &self.signatures)?;
        check_versions(self.from, self.to)
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let it = Continuity {
            actor: input.text("actor")?,
            from: take_kid(input)?,
            to: Version::new(input.u32("to")?).ok_or(Malformed("to"))?,
            from_public: take_tracks(input, "from_public")?,
            public: take_tracks(input, "public")?,
            signatures: take_tracks(input, "signatures")?,
        };
        check_versions(it.from, it.to)?;
        Ok(it)
    }
}

/// The next version follows one that is named.
fn check_versions(from: KidRef<'_>, to: Version) -> Result<(), Malformed> {
    match from.version {
        Some(from) if from < to => Ok(()),
        _ => Err(Malformed("to")),
    }
}

impl<'a> AuditKeys<'a> {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Malformed> {
        out.text("origin", self.origin)?;
        put_keys(out, &self.keys)?;
        if self.signatures.is_empty() {
            out.u8(0);
            return Ok(());
        }
        out.count("signatures", self.signatures.len(), MAX_TRACKS)?;
        self.signatures.iter().try_for_each(|signature| out.bytes("signatures", signature))
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let origin = input.text("origin")?;
        let len = input.count("keys", MAX_TRACKS)?;
        let keys = (0..len)
            .map(|_| Ok(AuditKey { algorithm: input.u8("keys")?, public: input.bytes("keys")? }))
            .collect::<Result<_, Malformed>>()?;
        let len = input.u8("signatures")?;
        if len > MAX_TRACKS {
            return Err(Malformed("signatures"));
        }
        let signatures = (0..len).map(|_| input.bytes("signatures")).collect::<Result<_, _>>()?;
        Ok(AuditKeys { origin, keys, signatures })
    }
}

fn put_keys(out: &mut Writer<'_>, keys: &[AuditKey<'_>]) -> Result<(), Malformed> {
    out.count("keys", keys.len(), MAX_TRACKS)?;
    keys.iter().try_for_each(|key| {
        out.u8(key.algorithm);
        out.bytes("keys", key.public)
    })
}

fn put_tracks(
    out: &mut Writer<'_>,
    field: &'static str,
    tracks: &[Track<'_>],
) -> Result<(), Malformed> {
    out.count(field, tracks.len(), MAX_TRACKS)?;
    tracks.iter().try_for_each(|track| {
        out.text(field, track.alg)?;
        out.bytes(field, track.bytes)
    })
}

fn take_tracks<'a>(
    input: &mut Reader<'a>,
    field: &'static str,
) -> Result<Vec<Track<'a>>, Malformed> {
    let len = input.count(field, MAX_TRACKS)?;
    (0..len).map(|_| Ok(Track { alg: input.text(field)?, bytes: input.bytes(field)? })).collect()
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

/// Codes are numbered from 1 by their place in [`ErrorCode::ALL`], to which codes are only added.
fn code_byte(code: ErrorCode) -> u8 {
    code as u8 + 1
}

fn code_of(byte: u8) -> Result<ErrorCode, Malformed> {
    let index = usize::from(byte).checked_sub(1).ok_or(Malformed("code"))?;
    ErrorCode::ALL.get(index).copied().ok_or(Malformed("code"))
}

#[cfg(test)]
#[path = "tests/record.rs"]
mod tests;
