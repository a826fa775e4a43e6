//! Answers to JSON.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kms_core::{Algorithm, KeyState, KmsError, Result, Version};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use smallvec::SmallVec;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::capabilities::MintedCapability;
use crate::create::PublicHalves;
use crate::describe::{Attested, Described};
use crate::dispatch::{Response, SetOrOne};
use crate::evidence::Attestation;
use crate::list::Listed;
use crate::policy::Mode;
use crate::sign::Signed;
use crate::verify::Verified;

#[derive(Serialize)]
struct PublicDto {
    alg: &'static str,
    pubkey_b64: String,
    /// The post-quantum track of a hybrid key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pq: Option<Box<PublicDto>>,
}

/// Where an operation is recorded.
#[derive(Serialize)]
struct AuditDto<'a> {
    log: &'a str,
    index: u64,
    /// Of a rotation: where the old head vouches for the new version.
    #[serde(skip_serializing_if = "Option::is_none")]
    continuity: Option<u64>,
}

#[derive(Serialize)]
struct CreatedDto<'a> {
    kid: String,
    public: PublicDto,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<AuditDto<'a>>,
}

#[derive(Serialize)]
struct DescribedDto<'a> {
    kid: String,
    alg: &'static str,
    signs: &'static str,
    head: String,
    versions: Vec<String>,
    public: PublicDto,
    #[serde(flatten)]
    state: StateDto,
    version_states: Vec<VersionStateDto>,
    created_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<PendingDto>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_hints: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attestation_class: Option<&'a str>,
}

#[derive(Serialize)]
struct ListedDto {
    keys: Vec<ListedKeyDto>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct ListedKeyDto {
    kid: String,
    alg: &'static str,
    signs: &'static str,
    head: String,
    newest: String,
    #[serde(flatten)]
    state: StateDto,
    created_ms: u64,
}

#[derive(Serialize)]
struct StateDto {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    destroy_at: Option<String>,
}

impl From<KeyState> for StateDto {
    fn from(state: KeyState) -> StateDto {
        let destroy_at = state.destroy_at().map(|at| timestamp(at.unix_ms));
        StateDto { state: state.name(), destroy_at }
    }
}

#[derive(Serialize)]
struct VersionStateDto {
    version: String,
    #[serde(flatten)]
    state: StateDto,
}

#[derive(Serialize)]
struct StateChangedDto<'a> {
    kid: String,
    #[serde(flatten)]
    state: StateDto,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<AuditDto<'a>>,
}

#[derive(Serialize)]
struct MintedDto<'a> {
    token: &'a str,
    id: &'a str,
    identifier: &'a str,
    exp: u64,
    caveats: &'a [Box<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<AuditDto<'a>>,
}

#[derive(Serialize)]
struct PendingDto {
    kid: String,
    active_at: String,
}

#[derive(Serialize)]
struct AttestedDto {
    kid: String,
    alg: &'static str,
    head: String,
    versions: Vec<String>,
    created_ms: u64,
    class: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<EvidenceDto>,
}

/// What a token says of a version.
#[derive(Serialize)]
struct EvidenceDto {
    kid: String,
    class: String,
    complete: bool,
    facts: BTreeMap<&'static str, String>,
    b3: String,
}

#[derive(Serialize)]
struct RotatedDto<'a> {
    kid: String,
    previous: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<AuditDto<'a>>,
}

#[derive(Serialize)]
struct SignedDto<'a> {
    sigs: Vec<SignatureDto<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attestation: Option<AttestationDto<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<AuditDto<'a>>,
}

/// What is said of a key's custody with its signatures.
#[derive(Serialize)]
struct AttestationDto<'a> {
    class: &'a str,
    complete: bool,
    b3: String,
}

impl<'a> From<&'a Attestation> for AttestationDto<'a> {
    fn from(it: &'a Attestation) -> Self {
        AttestationDto { class: &it.class, complete: it.complete, b3: it.b3() }
    }
}

#[derive(Serialize)]
struct SignatureDto<'a> {
    alg: &'static str,
    signature_b64: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attestation: Option<AttestationDto<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<AuditDto<'a>>,
}

#[derive(Serialize)]
struct VerifiedDto {
    ok: bool,
    details: DetailsDto,
    /// For how long what the keys are known by has not been confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_age_ms: Option<u64>,
}

#[derive(Serialize)]
struct WrappedDto {
    wrapped_b64: String,
    alg: &'static str,
    kid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext_key_b64: Option<String>,
}

#[derive(Serialize)]
struct UnwrappedDto {
    plaintext_key_b64: String,
    alg: &'static str,
    kid: String,
}

#[derive(Serialize)]
struct DetailsDto {
    #[serde(serialize_with = "names")]
    checked: SmallVec<[Algorithm; 2]>,
    satisfied_mode: Option<&'static str>,
}

#[derive(Serialize)]
struct ErrorDto<'a> {
    code: &'static str,
    message: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

/// An item of a batch: its answer or its error, with its reference.
#[derive(Serialize)]
struct ItemDto<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    #[serde(flatten)]
    outcome: OutcomeDto<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OutcomeDto<'a> {
    Answer(AnswerDto<'a>),
    Error { error: ErrorDto<'a> },
}

#[derive(Serialize)]
#[serde(untagged)]
enum AnswerDto<'a> {
    Created(CreatedDto<'a>),
    Described(Box<DescribedDto<'a>>),
    Listed(ListedDto),
    Attested(AttestedDto),
    Rotated(RotatedDto<'a>),
    Signed(SignedDto<'a>),
    Verified(VerifiedDto),
    Wrapped(WrappedDto),
    Unwrapped(UnwrappedDto),
    StateChanged(StateChangedDto<'a>),
    Minted(MintedDto<'a>),
}

/// The answer; `log` is the audit log that its indexes are of.
pub(super) fn response(response: &Response, log: Option<&str>) -> Vec<u8> {
    json(&answer(response, log))
}

pub(super) fn batch(
    answers: &[Result<Response>],
    references: &[Option<String>],
    log: Option<&str>,
) -> Vec<u8> {
    let items: Vec<ItemDto<'_>> = answers
        .iter()
        .zip(references)
        .map(|(answered, reference)| ItemDto {
            reference: reference.as_deref(),
            outcome: match answered {
                Ok(response) => OutcomeDto::Answer(answer(response, log)),
                Err(error) => OutcomeDto::Error { error: error_dto(error) },
            },
        })
        .collect();
    json(&items)
}

/// An error as JSON: `{code, message, retryable, retry_after_ms?, field?}`.
pub fn error(error: &KmsError) -> String {
    String::from_utf8(json(&error_dto(error))).unwrap_or_default()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    // Serialising strings and integers into memory cannot fail.
    let written = serde_json::to_writer(&mut out, value);
    debug_assert!(written.is_ok());
    out
}

fn error_dto(error: &KmsError) -> ErrorDto<'_> {
    ErrorDto {
        code: error.code.name(),
        message: &error.message,
        retryable: error.retryable,
        retry_after_ms: error.retry_after_ms,
        field: error.field.as_deref(),
    }
}

fn answer<'a>(response: &'a Response, log: Option<&'a str>) -> AnswerDto<'a> {
    let audit = |index: Option<u64>, continuity| {
        let (log, index) = (log?, index?);
        Some(AuditDto { log, index, continuity })
    };
    match response {
        Response::Created(created) => AnswerDto::Created(CreatedDto {
            kid: created.kid.to_string(),
            public: public(&created.public),
            audit: audit(created.audit, None),
        }),
        Response::Described(described) => AnswerDto::Described(Box::new(describe(described))),
        Response::Listed(listed) => AnswerDto::Listed(list(listed)),
        Response::Attested(attested) => AnswerDto::Attested(attest(attested)),
        Response::Rotated(rotated) => AnswerDto::Rotated(RotatedDto {
            kid: rotated.kid.to_string(),
            previous: rotated.previous.to_string(),
            active_at: rotated.active_at_unix_ms.map(timestamp),
            audit: audit(rotated.audit, rotated.continuity),
        }),
        Response::Signed(signed, shape) => AnswerDto::Signed(sign(signed, *shape, audit)),
        Response::Verified(verified) => AnswerDto::Verified(verify(verified)),
        Response::Wrapped(wrapped) => AnswerDto::Wrapped(WrappedDto {
            wrapped_b64: STANDARD.encode(&wrapped.envelope),
            alg: wrapped.alg,
            kid: wrapped.kid.to_string(),
            plaintext_key_b64: wrapped.fresh.as_ref().map(|key| STANDARD.encode(key.expose())),
        }),
        Response::Unwrapped(unwrapped) => AnswerDto::Unwrapped(UnwrappedDto {
            plaintext_key_b64: STANDARD.encode(unwrapped.data_key.expose()),
            alg: unwrapped.alg,
            kid: unwrapped.kid.to_string(),
        }),
        Response::StateChanged(changed) => AnswerDto::StateChanged(StateChangedDto {
            kid: changed.kid(),
            state: changed.state.into(),
            audit: audit(changed.audit, None),
        }),
        Response::Minted(minted) => {
            let MintedCapability { token, identifier, id, exp, caveats, audit: index } = &**minted;
            let audit = audit(*index, None);
            AnswerDto::Minted(MintedDto { token, id, identifier, exp: *exp, caveats, audit })
        }
    }
}

fn public(key: &PublicHalves) -> PublicDto {
    let mut tracks = key.tracks().into_iter().rev().map(|(alg, bytes)| (alg.name(), bytes));
    let dto = |pq: Option<PublicDto>, (alg, bytes): (&'static str, Vec<u8>)| PublicDto {
        alg,
        pubkey_b64: STANDARD.encode(bytes),
        pq: pq.map(Box::new),
    };
    let last = tracks.next().map(|track| dto(None, track));
    let all = tracks.fold(last, |pq, track| Some(dto(pq, track)));
    // Every version has a track.
    all.unwrap_or(PublicDto { alg: "none", pubkey_b64: String::new(), pq: None })
}

fn versions(newest: Version) -> Vec<String> {
    (1..=newest.get()).map(|version| format!("#v{version}")).collect()
}

fn describe(described: &Described) -> DescribedDto<'_> {
    let alg = described.kid.key.alg.name();
    DescribedDto {
        kid: described.kid.to_string(),
        alg,
        signs: described.signs.name(),
        head: format!("#v{}", described.head),
        versions: versions(described.newest),
        public: public(&described.public),
        state: described.state.into(),
        version_states: (1..=described.newest.get())
            .zip(&described.version_states)
            .map(|(version, state)| VersionStateDto {
                version: format!("#v{version}"),
                state: (*state).into(),
            })
            .collect(),
        created_ms: described.created_unix_ms,
        pending: described.pending.as_ref().map(|(kid, active_at)| PendingDto {
            kid: kid.to_string(),
            active_at: timestamp(*active_at),
        }),
        policy_hints: described
            .policy_hints
            .as_deref()
            .and_then(|hints| serde_json::from_str(hints).ok()),
        attestation_class: described.class.as_deref(),
    }
}

fn list(listed: &Listed) -> ListedDto {
    let keys = listed.keys.iter().map(|key| ListedKeyDto {
        kid: key.kid.to_string(),
        alg: key.kid.key.alg.name(),
        signs: key.signs.name(),
        head: format!("#v{}", key.kid.version),
        newest: format!("#v{}", key.newest),
        state: key.state.into(),
        created_ms: key.created_unix_ms,
    });
    ListedDto { keys: keys.collect(), next: listed.next.as_ref().map(ToString::to_string) }
}

fn attest(attested: &Attested) -> AttestedDto {
    AttestedDto {
        kid: attested.kid.to_string(),
        alg: attested.kid.key.alg.name(),
        head: format!("#v{}", attested.head),
        versions: versions(attested.newest),
        created_ms: attested.created_unix_ms,
        class: attested.class.clone(),
        evidence: attested.evidence.as_ref().map(|it| EvidenceDto {
            kid: it.kid.to_string(),
            class: it.class.clone(),
            complete: it.complete,
            facts: it.facts.iter().cloned().collect(),
            b3: base16ct::lower::encode_string(&it.hash),
        }),
    }
}

fn sign<'a>(
    signed: &'a [Signed],
    shape: SetOrOne,
    audit: impl Fn(Option<u64>, Option<u64>) -> Option<AuditDto<'a>>,
) -> SignedDto<'a> {
    let own_kid = shape == SetOrOne::Set;
    let sigs = signed.iter().map(|signed| SignatureDto {
        alg: signed.alg.name(),
        signature_b64: STANDARD.encode(signed.signature.as_bytes()),
        kid: own_kid.then(|| signed.kid.to_string()),
        attestation: signed.attestation.as_ref().filter(|_| own_kid).map(Into::into),
        audit: audit(signed.audit.filter(|_| own_kid), None),
    });
    let sigs = sigs.collect();
    let all = signed.first().filter(|_| !own_kid);
    let kid = all.map(|signed| signed.kid.to_string());
    let attestation = all.and_then(|signed| signed.attestation.as_ref()).map(Into::into);
    let audit = audit(all.and_then(|signed| signed.audit), None);
    SignedDto { sigs, kid, attestation, audit }
}

fn verify(verified: &Verified) -> VerifiedDto {
    VerifiedDto {
        ok: verified.ok,
        details: DetailsDto {
            checked: verified.checked.clone(),
            satisfied_mode: verified.satisfied_mode.map(Mode::name),
        },
        cache_age_ms: verified.cache_age_ms,
    }
}

/// Algorithms by their names.
fn names<S: Serializer>(algs: &SmallVec<[Algorithm; 2]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(algs.iter().map(|alg| alg.name()))
}

/// RFC 3339, UTC.
fn timestamp(unix_ms: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_default()
}
