//! The layout of every file, version 1. Pure: bytes in, values out, and every malformed input a typed error.
//!
//! A file is `"RONKMS" ‖ kind (1) ‖ format (1) ‖ body ‖ tag (32)`; the tag is HMAC-SHA-256 over all before it under
//! the store's integrity key (in the header: under what the root key sealed, see `header.rs`). Bodies are fields in
//! a fixed order, see `codec.rs`; each value has one encoding.

use kms_core::custody::{
    Activation, Answer, AnswerScope, KeyFacts, Revision, StoredState, VersionFacts,
};
use kms_core::{Algorithm, ErrorCode, KeyId, KmsError, Name, Secret, Signs, Version};
use uuid::Uuid;

use crate::codec::{Fault, Reader, Writer};
use crate::error::{Result, Role, StoreError};
use crate::seal::{self, MAC_LEN, OVERHEAD};

/// The format that is written, and the only one so far.
pub(crate) const FORMAT: u8 = 1;
const MAGIC: &[u8; 6] = b"RONKMS";
const FRAME_LEN: usize = MAGIC.len() + 2 + MAC_LEN;

/// Longest policy hints, and longest continuity proof, in bytes.
pub const MAX_TEXT_LEN: usize = 16 * 1024;
/// Longest encoded public key in bytes.
pub const MAX_PUBLIC_LEN: usize = 8 * 1024;
/// Most tracks of a version.
pub const MAX_TRACKS: usize = 4;
/// Longest secret in bytes.
pub const MAX_SECRET_LEN: usize = 4 * 1024;
/// Longest name of a suite, and of an operation, in bytes.
const MAX_NAME_LEN: usize = 64;
/// Longest tenant and actor of an answer in bytes.
const MAX_SCOPE_LEN: usize = 1024;
/// Longest recorded answer in bytes: 512 of the longest signatures fit.
pub const MAX_ANSWER_LEN: usize = 32 * 1024 * 1024;

/// Longest file of each kind in bytes; no more is read.
pub(crate) const fn max_len(role: Role) -> usize {
    FRAME_LEN
        + match role {
            Role::Header => 32 * 1024,
            Role::Head | Role::Anchor => 1024,
            Role::Key => 2 * MAX_TEXT_LEN,
            Role::Version | Role::Sealed => 128 * 1024,
            Role::Answer => MAX_ANSWER_LEN + 8 * 1024,
            Role::Tombstones => 1024 * 1024 * 1024,
        }
}

/// The byte that says what a file is.
const fn kind(role: Role) -> u8 {
    match role {
        Role::Header => b'S',
        Role::Head => b'H',
        Role::Key => b'K',
        Role::Version => b'V',
        Role::Answer => b'A',
        Role::Anchor => b'P',
        Role::Tombstones => b'T',
        Role::Sealed => 0,
    }
}

/// What a file begins with.
pub(crate) fn begin(role: Role) -> Writer {
    let mut out = Writer::default();
    out.fixed(MAGIC).u8(kind(role)).u8(FORMAT);
    out
}

/// Ends a file with its tag.
pub(crate) fn finish(mut out: Writer, key: &Secret<32>) -> Vec<u8> {
    let tag = seal::mac(key, &[&out.0]);
    out.fixed(&tag);
    out.0
}

/// What follows the first bytes of a file, tag included.
///
/// # Errors
/// `Damaged`, `Newer`.
pub(crate) fn after_start(role: Role, bytes: &[u8]) -> Result<&[u8]> {
    let fault = |why| StoreError::Damaged { role, why };
    let rest = bytes.strip_prefix(MAGIC).ok_or(fault("it does not begin as one"))?;
    match rest {
        [found, ..] if *found != kind(role) => Err(fault("it is a file of another kind")),
        [_, FORMAT, rest @ ..] => Ok(rest),
        [_, format, ..] if *format > FORMAT => Err(StoreError::Newer { role, format: *format }),
        _ => Err(fault("it does not begin as one")),
    }
}

/// Checks start and tag, and reads the whole body.
///
/// # Errors
/// `Damaged`, `Newer`.
pub(crate) fn read<'a, T>(
    role: Role,
    bytes: &'a [u8],
    key: &Secret<32>,
    body: impl FnOnce(&mut Reader<'a>) -> Result<T, Fault>,
) -> Result<T> {
    let fault = |why| StoreError::Damaged { role, why };
    after_start(role, bytes)?;
    let (content, tag) = bytes.split_last_chunk::<MAC_LEN>().ok_or(fault("it ends too early"))?;
    if !seal::mac_holds(key, &[content], tag) {
        return Err(fault("its tag does not fit"));
    }
    let mut reader = Reader::new(after_start(role, content)?);
    let value = body(&mut reader).map_err(fault)?;
    reader.end().map_err(fault)?;
    Ok(value)
}

/// `keys/<2 hex>/<uuid>/key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyFile {
    pub(crate) facts: KeyFacts,
    pub(crate) state: StoredState,
    /// That of the change that wrote it.
    pub(crate) revision: Revision,
    /// Which of the header's keys seals the data key.
    pub(crate) generation: u32,
    /// The sealed data key; gone once the key is destroyed.
    pub(crate) data_key: Option<[u8; OVERHEAD + 32]>,
}

impl KeyFile {
    /// All before the sealed data key: the header of that seal.
    pub(crate) fn header(&self) -> Writer {
        let mut out = begin(Role::Key);
        let id = &self.facts.id;
        out.uuid(&id.uuid)
            .bytes(id.tenant.as_str().as_bytes())
            .bytes(id.purpose.as_str().as_bytes())
            .bytes(id.alg.name().as_bytes())
            .u8(matches!(self.facts.signs, Signs::Message).into())
            .u64(self.facts.created_unix_ms);
        optional(&mut out, self.facts.policy_hints.as_deref().map(str::as_bytes));
        write_state(&mut out, self.state);
        out.u64(self.revision).u32(self.generation);
        out
    }

    pub(crate) fn encode(&self, integrity: &Secret<32>) -> Vec<u8> {
        let mut out = self.header();
        optional(&mut out, self.data_key.as_ref().map(|sealed| &sealed[..]));
        finish(out, integrity)
    }

    pub(crate) fn decode(bytes: &[u8], integrity: &Secret<32>) -> Result<KeyFile> {
        read(Role::Key, bytes, integrity, |reader| {
            let uuid = reader.uuid()?;
            let tenant = read_name(reader)?;
            let purpose = read_name(reader)?;
            let alg = Algorithm::parse(reader.text(MAX_NAME_LEN)?)
                .map_err(|_| "its algorithm is not in this build")?;
            let signs = match reader.u8()? {
                0 => Signs::Digest,
                1 => Signs::Message,
                _ => return Err("what it signs is unknown"),
            };
            let created_unix_ms = reader.u64()?;
            let policy_hints = reader.option(|reader| reader.text(MAX_TEXT_LEN))?.map(Box::from);
            let state = read_state(reader)?;
            let (revision, generation) = (reader.u64()?, reader.u32()?);
            let data_key = reader.option(|reader| {
                reader.bytes(OVERHEAD + 32)?.try_into().map_err(|_| "a data key is cut")
            })?;
            if data_key.is_none() != (state == StoredState::Destroyed) {
                return Err("state and data key do not fit");
            }
            let id = KeyId { tenant, purpose, alg, uuid };
            let facts = KeyFacts { id, signs, created_unix_ms, policy_hints };
            Ok(KeyFile { facts, state, revision, generation, data_key })
        })
    }
}

/// `keys/<2 hex>/<uuid>/vN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VersionFile {
    pub(crate) key: Uuid,
    pub(crate) facts: VersionFacts,
    /// That of the change that wrote it; also the generation of its seal.
    pub(crate) revision: Revision,
    /// The sealed secret; gone once version or key is destroyed.
    pub(crate) secret: Option<Vec<u8>>,
}

impl VersionFile {
    /// All before the sealed secret: with the kid, the header of that seal.
    fn start(&self) -> Writer {
        let facts = &self.facts;
        let mut out = begin(Role::Version);
        out.uuid(&self.key)
            .u32(facts.version.get())
            .bytes(facts.suite.as_bytes())
            .u64(facts.created_unix_ms);
        write_state(&mut out, facts.state);
        let (active, at) = match facts.activation {
            Activation::Active => (1, 0),
            Activation::At { unix_ms } => (0, unix_ms),
        };
        out.u8(active).u64(at).u64(self.revision);
        out.u8(u8::try_from(facts.public.len()).unwrap_or(u8::MAX));
        for public in &facts.public {
            out.bytes(public);
        }
        optional(&mut out, facts.proof.as_deref());
        out
    }

    /// What the secret's seal is bound to: kid, version, state, revision, public halves.
    pub(crate) fn header(&self, id: &KeyId) -> Vec<u8> {
        let mut out = Writer::default();
        out.bytes(id.at(self.facts.version).to_string().as_bytes()).fixed(&self.start().0);
        out.0
    }

    pub(crate) fn encode(&self, integrity: &Secret<32>) -> Vec<u8> {
        let mut out = self.start();
        optional(&mut out, self.secret.as_deref());
        finish(out, integrity)
    }

    pub(crate) fn decode(bytes: &[u8], integrity: &Secret<32>) -> Result<VersionFile> {
        read(Role::Version, bytes, integrity, |reader| {
            let key = reader.uuid()?;
            let version = Version::new(reader.u32()?).ok_or("there is no version 0")?;
            let suite = reader.text(MAX_NAME_LEN)?.into();
            let created_unix_ms = reader.u64()?;
            let state = read_state(reader)?;
            let activation = match (reader.u8()?, reader.u64()?) {
                (1, 0) => Activation::Active,
                (0, unix_ms) => Activation::At { unix_ms },
                _ => return Err("its activation is unknown"),
            };
            let revision = reader.u64()?;
            let tracks = usize::from(reader.u8()?);
            if !(1..=MAX_TRACKS).contains(&tracks) {
                return Err("its number of tracks is impossible");
            }
            let public = (0..tracks)
                .map(|_| reader.bytes(MAX_PUBLIC_LEN).map(<[u8]>::to_vec))
                .collect::<Result<_, _>>()?;
            let proof = reader.option(|reader| reader.bytes(MAX_TEXT_LEN))?.map(Box::from);
            let secret = reader.option(|reader| reader.bytes(MAX_SECRET_LEN + OVERHEAD))?;
            if state == StoredState::Destroyed && secret.is_some() {
                return Err("state and secret do not fit");
            }
            let facts =
                VersionFacts { version, suite, created_unix_ms, state, activation, public, proof };
            Ok(VersionFile { key, facts, revision, secret: secret.map(<[u8]>::to_vec) })
        })
    }
}

/// `head`: which files belong to the store, by the sum over them (`digest.rs`). Written before each change, with the
/// sum that will hold after it; a start finds one of the two, and so knows whether the change was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeadFile {
    pub(crate) store: Uuid,
    /// Of the change that is about to be made.
    pub(crate) revision: Revision,
    pub(crate) before: [u8; 32],
    pub(crate) after: [u8; 32],
    /// The key that changes: where a start has to sync.
    pub(crate) key: Uuid,
    /// The store was opened with an anchor once, and is not opened without one since.
    pub(crate) anchored: bool,
}

impl HeadFile {
    /// Whether it accepts one state of the files only, at this revision.
    pub(crate) fn accepts_only(&self, revision: Revision, anchored: bool) -> bool {
        self.before == self.after && self.revision == revision && self.anchored == anchored
    }

    pub(crate) fn encode(&self, integrity: &Secret<32>) -> Vec<u8> {
        let mut out = begin(Role::Head);
        out.uuid(&self.store).u64(self.revision).fixed(&self.before).fixed(&self.after);
        out.uuid(&self.key).u8(self.anchored.into());
        finish(out, integrity)
    }

    pub(crate) fn decode(bytes: &[u8], integrity: &Secret<32>) -> Result<HeadFile> {
        read(Role::Head, bytes, integrity, |reader| {
            Ok(HeadFile {
                store: reader.uuid()?,
                revision: reader.u64()?,
                before: reader.array()?,
                after: reader.array()?,
                key: reader.uuid()?,
                anchored: match reader.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err("a flag is neither 0 nor 1"),
                },
            })
        })
    }
}

/// `answers/<name>`, named by [`answer_name`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnswerFile {
    /// Of the change that it answers, without which it does not count; 0 where it changed no key.
    pub(crate) revision: Revision,
    pub(crate) answer: Answer,
}

impl AnswerFile {
    pub(crate) fn encode(&self, integrity: &Secret<32>) -> Vec<u8> {
        let mut out = begin(Role::Answer);
        out.u64(self.revision);
        write_scope(&mut out, &self.answer.scope);
        out.fixed(&self.answer.fingerprint).u64(self.answer.at_unix_ms);
        out.fixed(&self.answer.body);
        finish(out, integrity)
    }

    pub(crate) fn decode(bytes: &[u8], integrity: &Secret<32>) -> Result<AnswerFile> {
        read(Role::Answer, bytes, integrity, |reader| {
            let revision = reader.u64()?;
            let text = |reader: &mut Reader<'_>, max| reader.text(max).map(Box::<str>::from);
            let scope = AnswerScope {
                tenant: text(reader, MAX_SCOPE_LEN)?,
                actor: text(reader, MAX_SCOPE_LEN)?,
                op: text(reader, MAX_NAME_LEN)?,
                op_id: reader.uuid()?,
            };
            let (fingerprint, at_unix_ms) = (reader.array()?, reader.u64()?);
            let body = reader.rest().to_vec();
            let answer = Answer { scope, fingerprint, at_unix_ms, body };
            Ok(AnswerFile { revision, answer })
        })
    }
}

/// The name of the file of an answer: 64 hex digits of a keyed hash, so that names tell nothing.
pub(crate) fn answer_name(scope: &AnswerScope, integrity: &Secret<32>) -> String {
    let mut out = Writer::default();
    out.fixed(b"answer name\0");
    write_scope(&mut out, scope);
    seal::mac(integrity, &[&out.0]).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses fields over the limits, which would not be read back.
///
/// # Errors
/// `TooLarge`, with the field.
pub(crate) fn check_limits(
    hints: Option<&str>,
    version: Option<(&VersionFacts, usize)>,
    answer: Option<&Answer>,
) -> Result<(), KmsError> {
    let check = |fits: bool, field: &'static str| {
        let error = || KmsError::new(ErrorCode::TooLarge, "over what a store keeps").field(field);
        if fits { Ok(()) } else { Err(error()) }
    };
    check(hints.is_none_or(|hints| hints.len() <= MAX_TEXT_LEN), "policy_hints")?;
    if let Some((facts, secret_len)) = version {
        check(facts.suite.len() <= MAX_NAME_LEN, "suite")?;
        let tracks = (1..=MAX_TRACKS).contains(&facts.public.len());
        check(tracks && facts.public.iter().all(|key| key.len() <= MAX_PUBLIC_LEN), "public")?;
        check(facts.proof.as_ref().is_none_or(|proof| proof.len() <= MAX_TEXT_LEN), "proof")?;
        check(secret_len <= MAX_SECRET_LEN, "secret")?;
    }
    if let Some(Answer { scope, body, .. }) = answer {
        check(scope.tenant.len() <= MAX_SCOPE_LEN, "tenant")?;
        check(scope.actor.len() <= MAX_SCOPE_LEN, "actor")?;
        check(scope.op.len() <= MAX_NAME_LEN, "op")?;
        check(body.len() <= MAX_ANSWER_LEN, "op_id")?;
    }
    Ok(())
}

fn write_scope(out: &mut Writer, scope: &AnswerScope) {
    out.bytes(scope.tenant.as_bytes())
        .bytes(scope.actor.as_bytes())
        .bytes(scope.op.as_bytes())
        .uuid(&scope.op_id);
}

fn optional(out: &mut Writer, field: Option<&[u8]>) {
    match field {
        None => out.u8(0),
        Some(bytes) => out.u8(1).bytes(bytes),
    };
}

/// 0 enabled, 1 disabled, 2 destroy scheduled, 3 destroyed; then the time, 0 but for 2.
fn write_state(out: &mut Writer, state: StoredState) {
    let (byte, at) = match state {
        StoredState::Enabled => (0, 0),
        StoredState::Disabled => (1, 0),
        StoredState::DestroyScheduled { at_unix_ms } => (2, at_unix_ms),
        StoredState::Destroyed => (3, 0),
    };
    out.u8(byte).u64(at);
}

fn read_state(reader: &mut Reader<'_>) -> Result<StoredState, Fault> {
    match (reader.u8()?, reader.u64()?) {
        (0, 0) => Ok(StoredState::Enabled),
        (1, 0) => Ok(StoredState::Disabled),
        (2, at_unix_ms) => Ok(StoredState::DestroyScheduled { at_unix_ms }),
        (3, 0) => Ok(StoredState::Destroyed),
        _ => Err("its state is unknown"),
    }
}

fn read_name(reader: &mut Reader<'_>) -> Result<Name, Fault> {
    Name::parse(reader.text(MAX_NAME_LEN)?, "name").map_err(|_| "a name is malformed")
}

#[cfg(test)]
mod tests;
