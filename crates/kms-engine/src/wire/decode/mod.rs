//! JSON to requests.

mod capability;
mod import;
mod json;
mod life_cycle;
mod wrapping;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kms_core::{Algorithm, Context, ErrorCode, KmsError, Result};
use kms_crypto::context::MAX_CONTEXT_LEN;
use kms_crypto::ed25519::SIGNATURE_LEN;
use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;
use uuid::Uuid;

pub(super) use self::capability::mint_capability;
pub(super) use self::import::import;
use self::json::{Items, Object, Whole, json, present, read};
pub(super) use self::life_cycle::{destroy, state};
pub(super) use self::wrapping::{rewrap, unwrap, wrap};
use super::hints::Hints;
use super::{MAX_ITEMS, MAX_MESSAGE_LEN};
use crate::create::CreateKey;
use crate::dispatch::Request;
use crate::list::ListKeys;
use crate::policy::Mode;
use crate::rotate::RotateKey;
use crate::sign::{Payload, SignRequest, Target};
use crate::verify::{SignatureEntry, VerifyRequest};

/// Longest `reference` of a batch item, in bytes.
const MAX_REFERENCE_LEN: usize = 256;

type Text<'a> = Cow<'a, str>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateDto<'a> {
    #[serde(borrow)]
    tenant: Text<'a>,
    purpose: Text<'a>,
    alg: Text<'a>,
    #[serde(default, deserialize_with = "present")]
    signs: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    policy_hints: Option<Hints>,
    #[serde(default, deserialize_with = "present")]
    op_id: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListDto<'a> {
    #[serde(borrow)]
    tenant: Text<'a>,
    #[serde(default, deserialize_with = "present")]
    limit: Option<Whole>,
    #[serde(default, deserialize_with = "present")]
    after: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateDto<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    alg: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    activate_after_ms: Option<Whole>,
    #[serde(default, deserialize_with = "present")]
    op_id: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignDto<'a> {
    #[serde(borrow)]
    kid_or_set: Object<TargetDto<'a>>,
    #[serde(default, deserialize_with = "present")]
    payload_b3: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    message_b64: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    context_b64: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    policy: Option<Object<SignPolicyDto>>,
    #[serde(default, deserialize_with = "present")]
    op_id: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    reference: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetDto<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    kid: Option<Text<'a>>,
    #[serde(default, borrow, deserialize_with = "present")]
    kid_set: Option<Items<Text<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignPolicyDto {
    #[serde(default, deserialize_with = "present")]
    produce_hybrid: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyDto<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    kid: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    payload_b3: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    message_b64: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    context_b64: Option<Text<'a>>,
    sigs: Items<Object<SignatureDto<'a>>>,
    #[serde(default, deserialize_with = "present")]
    policy: Option<Object<VerifyPolicyDto<'a>>>,
    #[serde(default, deserialize_with = "present")]
    reference: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureDto<'a> {
    #[serde(borrow)]
    alg: Text<'a>,
    signature_b64: Text<'a>,
    #[serde(default, deserialize_with = "present")]
    kid: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyPolicyDto<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    mode: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeriveDto<'a> {
    #[serde(borrow)]
    context: Text<'a>,
}

pub(super) fn create(body: &[u8], context: &mut Context) -> Result<Request> {
    let Object(dto): Object<CreateDto<'_>> = json(body)?;
    take_op_id(dto.op_id.as_deref(), context)?;
    Ok(Request::Create(CreateKey {
        tenant: dto.tenant.into_owned(),
        purpose: dto.purpose.into_owned(),
        alg: dto.alg.into_owned(),
        signs: dto.signs.map(Cow::into_owned),
        policy_hints: dto.policy_hints.map(Hints::into_json),
    }))
}

pub(super) fn list(body: &[u8]) -> Result<Request> {
    let Object(dto): Object<ListDto<'_>> = json(body)?;
    Ok(Request::List(ListKeys {
        tenant: dto.tenant.into_owned(),
        limit: dto.limit.map(Whole::to_usize),
        after: dto.after.map(Cow::into_owned),
    }))
}

/// An empty body is `{}`.
pub(super) fn rotate(kid: String, body: &[u8], context: &mut Context) -> Result<Request> {
    let Object(dto): Object<RotateDto<'_>> =
        if body.is_empty() { Object(RotateDto::default()) } else { json(body)? };
    take_op_id(dto.op_id.as_deref(), context)?;
    let alg = dto.alg.map(Cow::into_owned);
    let activate_after_ms = dto.activate_after_ms.map_or(0, |Whole(ms)| ms);
    Ok(Request::Rotate(kid, RotateKey { alg, activate_after_ms }))
}

pub(super) fn derive(kid: String, body: &[u8]) -> Result<Request> {
    let Object(dto): Object<DeriveDto<'_>> = json(body)?;
    Ok(Request::Derive(kid, dto.context.into_owned()))
}

pub(super) fn sign(body: &[u8], context: &mut Context) -> Result<Request> {
    let Object(dto): Object<SignDto<'_>> = json(body)?;
    refuse_reference(dto.reference.is_some())?;
    sign_request(dto, context)
}

fn sign_request(dto: SignDto<'_>, context: &mut Context) -> Result<Request> {
    take_op_id(dto.op_id.as_deref(), context)?;
    let Object(target) = dto.kid_or_set;
    let target = match (target.kid, target.kid_set) {
        (Some(kid), None) => Target::Kid(kid.into_owned()),
        (None, Some(kids)) => {
            let kids = kids.all("kid_or_set.kid_set")?;
            if kids.is_empty() {
                let error = KmsError::bad_request("must name at least one kid");
                return Err(error.field("kid_or_set.kid_set"));
            }
            Target::Set(kids.into_iter().map(Cow::into_owned).collect())
        }
        _ => {
            let error = KmsError::bad_request("must have exactly one of `kid` and `kid_set`");
            return Err(error.field("kid_or_set"));
        }
    };
    let payload = payload(dto.payload_b3.as_deref(), dto.message_b64.as_deref())?;
    let context = signature_context(dto.context_b64.as_deref())?;
    let produce_hybrid = dto.policy.and_then(|Object(policy)| policy.produce_hybrid);
    Ok(Request::Sign(SignRequest { target, payload, context, produce_hybrid }))
}

pub(super) fn verify(body: &[u8]) -> Result<VerifyRequest<'_>> {
    let Object(dto): Object<VerifyDto<'_>> = json(body)?;
    refuse_reference(dto.reference.is_some())?;
    verify_request(dto)
}

fn verify_request(dto: VerifyDto<'_>) -> Result<VerifyRequest<'_>> {
    let sigs = dto.sigs.all("sigs")?.into_iter().enumerate().map(|(i, Object(sig))| {
        let within = |error: KmsError| error.within(&format!("sigs[{i}]"));
        Ok(SignatureEntry {
            alg: Algorithm::parse(&sig.alg).map_err(within)?,
            signature: signature(&sig.signature_b64).map_err(within)?,
            kid: sig.kid,
        })
    });
    let mode = dto.policy.and_then(|Object(policy)| policy.mode);
    let context = signature_context(dto.context_b64.as_deref())?;
    Ok(VerifyRequest {
        kid: dto.kid,
        payload: payload(dto.payload_b3.as_deref(), dto.message_b64.as_deref())?,
        sigs: sigs.collect::<Result<_>>()?,
        context,
        mode: mode.map(|mode| Mode::parse(&mode)).transpose()?,
    })
}

/// The items of a batch, in parallel lists. A fault of form is its item's own and spoils no other.
pub(super) struct Batch<R> {
    pub(super) references: Vec<Option<String>>,
    pub(super) requests: Vec<R>,
}

/// An array asks for at most as many signatures as it may have items: sets of kids count whole.
pub(super) fn sign_batch(
    body: &[u8],
    context: &Context,
) -> Result<Batch<(Context, Result<Request>)>> {
    let mut signatures = 0;
    let items = raw_items(body, context)?;
    let mut batch = Batch { references: Vec::new(), requests: Vec::new() };
    for item in items {
        let mut context = context.clone();
        let (reference, request) = match json(item.get().as_bytes()) {
            Ok(Object(dto)) => apart(
                dto,
                |dto: &SignDto<'_>| &dto.reference,
                |dto| sign_request(dto, &mut context),
            ),
            Err(error) => (echo(item.get()), Err(error)),
        };
        if let Ok(Request::Sign(wish)) = &request {
            signatures += wish.target.kids().len();
        }
        batch.references.push(reference);
        batch.requests.push((context, request));
    }
    if signatures > MAX_ITEMS {
        let error = KmsError::new(ErrorCode::TooLarge, "asks for more than 512 signatures");
        return Err(error.field("(body)"));
    }
    Ok(batch)
}

/// All items are read at once. Only where one of them is not of the form are they read one by one.
pub(super) fn verify_batch<'a>(
    body: &'a [u8],
    context: &Context,
) -> Result<Batch<Result<VerifyRequest<'a>>>> {
    if let Some(items) = read::<Items<Object<VerifyDto<'_>>>>(body) {
        let items = items.all("(body)")?;
        refuse_op_id(context)?;
        let (references, requests) = items.into_iter().map(|Object(dto)| verify_item(dto)).unzip();
        return Ok(Batch { references, requests });
    }
    let items = raw_items(body, context)?;
    let items = items.into_iter().map(|item| match json(item.get().as_bytes()) {
        Ok(Object(dto)) => verify_item(dto),
        Err(error) => (echo(item.get()), Err(error)),
    });
    let (references, requests) = items.unzip();
    Ok(Batch { references, requests })
}

fn verify_item(dto: VerifyDto<'_>) -> (Option<String>, Result<VerifyRequest<'_>>) {
    apart(dto, |dto| &dto.reference, verify_request)
}

/// An item that is of the form: its reference, and what it asks for.
fn apart<'a, D, R>(
    dto: D,
    reference_of: impl FnOnce(&D) -> &Option<Text<'a>>,
    decode: impl FnOnce(D) -> Result<R>,
) -> (Option<String>, Result<R>) {
    match reference(reference_of(&dto).as_deref()) {
        Ok(reference) => (reference, decode(dto)),
        Err(error) => (None, Err(error)),
    }
}

fn raw_items<'a>(body: &'a [u8], context: &Context) -> Result<SmallVec<[&'a RawValue; 1]>> {
    let items: Items<&RawValue> = json(body)?;
    let items = items.all("(body)")?;
    refuse_op_id(context)?;
    Ok(items)
}

fn refuse_op_id(context: &Context) -> Result<()> {
    match context.op_id {
        Some(_) => {
            let error = KmsError::bad_request("a batch takes an op_id in each item");
            Err(error.field("op_id"))
        }
        None => Ok(()),
    }
}

/// The reference of an item that is not of the form, so that its sender can tell which it was.
fn echo(item: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Reference {
        reference: String,
    }
    let found = serde_json::from_str::<Reference>(item).ok()?;
    reference(Some(&found.reference)).ok()?
}

fn reference(text: Option<&str>) -> Result<Option<String>> {
    match text {
        Some(text) if text.len() > MAX_REFERENCE_LEN => {
            Err(KmsError::bad_request("must be at most 256 bytes").field("reference"))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

fn refuse_reference(named: bool) -> Result<()> {
    if named { Err(KmsError::bad_request("unknown field").field("reference")) } else { Ok(()) }
}

fn payload(payload_b3: Option<&str>, message_b64: Option<&str>) -> Result<Payload<'static>> {
    match (payload_b3, message_b64) {
        (Some(hex), None) => {
            let mut digest = [0; 32];
            match base16ct::lower::decode(hex, &mut digest).map(<[u8]>::len) {
                Ok(32) => Ok(Payload::Digest(digest)),
                _ => {
                    Err(KmsError::bad_request("must be 64 lower-case hex digits")
                        .field("payload_b3"))
                }
            }
        }
        (None, Some(text)) => {
            // Four characters carry three bytes: refuse before decoding.
            if text.len() / 4 * 3 > MAX_MESSAGE_LEN + 2 {
                return Err(too_long());
            }
            let message = base64(text, "message_b64")?;
            if message.len() > MAX_MESSAGE_LEN {
                return Err(too_long());
            }
            Ok(Payload::Message(Cow::Owned(message)))
        }
        (Some(_), Some(_)) => {
            Err(KmsError::bad_request("excludes payload_b3").field("message_b64"))
        }
        (None, None) => {
            Err(KmsError::bad_request("payload_b3 or message_b64 is needed").field("payload_b3"))
        }
    }
}

/// The context of a signature: FIPS 204's, at most 255 bytes.
fn signature_context(text: Option<&str>) -> Result<Vec<u8>> {
    let bytes = text.map_or(Ok(vec![]), |text| base64(text, "context_b64"))?;
    if bytes.len() > MAX_CONTEXT_LEN {
        return Err(KmsError::bad_request("must be at most 255 bytes").field("context_b64"));
    }
    Ok(bytes)
}

fn too_long() -> KmsError {
    KmsError::new(ErrorCode::TooLarge, "must be at most 65536 bytes").field("message_b64")
}

/// RFC 4648, section 4: padded, canonical (no stray trailing bits), no line breaks.
fn base64(text: &str, field: &'static str) -> Result<Vec<u8>> {
    STANDARD
        .decode(text)
        .map_err(|_| KmsError::bad_request("must be padded canonical base64").field(field))
}

/// The bytes of a signature. Those of Ed25519 stay out of the heap.
fn signature(text: &str) -> Result<SmallVec<[u8; SIGNATURE_LEN]>> {
    /// As many as 88 characters may decode to.
    const MOST: usize = SIGNATURE_LEN.div_ceil(3) * 3;
    let mut bytes = [0; MOST];
    match STANDARD.decode_slice(text, &mut bytes) {
        Ok(len) => Ok(SmallVec::from_slice(&bytes[..len])),
        // Too long for that, or at fault.
        Err(_) => base64(text, "signature_b64").map(SmallVec::from_vec),
    }
}

fn take_op_id(text: Option<&str>, context: &mut Context) -> Result<()> {
    let Some(text) = text else { return Ok(()) };
    let op_id = Uuid::try_parse(text)
        .map_err(|_| KmsError::bad_request("must be a UUID").field("op_id"))?;
    match context.op_id {
        Some(header) if header != op_id => {
            Err(KmsError::bad_request("differs from the Idempotency-Key header").field("op_id"))
        }
        _ => {
            context.op_id = Some(op_id);
            Ok(())
        }
    }
}
