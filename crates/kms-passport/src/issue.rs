//! From a wish to the bytes that are signed.

use std::borrow::Cow;

use kms_core::{Entropy, ErrorCode, KmsError, Result};
use uuid::Builder;

use crate::claims::{DEPTH, MAX_LIST};
use crate::json::{Fault, Kind, Reader, Writer, faults};
use crate::jws;
use crate::request::strings;

/// Longest text of a claim in bytes.
const MAX_TEXT: usize = 1024;

/// What an issuer puts into every passport, and how far a wish may go.
#[derive(Clone, Debug)]
pub struct IssuePolicy {
    /// `iss`.
    pub issuer: String,
    /// Lifetime where none is asked for, in seconds.
    pub default_ttl_s: u64,
    /// Longest lifetime, in seconds.
    pub max_ttl_s: u64,
    /// Longest payload in bytes.
    pub max_msg_bytes: usize,
}

/// The form of a passport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object with the payload and its signature.
    Envelope,
    /// A compact JWS.
    Jwt,
}

/// What is to be signed.
#[derive(Debug)]
pub struct Issued {
    /// The form that was asked for.
    pub format: Format,
    /// The canonical payload, or the signing input of a JWS.
    pub signed: Vec<u8>,
    /// `exp`.
    pub expires_at: u64,
}

#[derive(Default)]
struct Wish<'a> {
    sub: Option<Cow<'a, str>>,
    aud: Option<Vec<Cow<'a, str>>>,
    scopes: Option<Vec<Cow<'a, str>>>,
    /// Canonical.
    ctx: Option<Vec<u8>>,
    ttl_s: Option<u64>,
    nbf: Option<u64>,
    nonce: Option<Cow<'a, str>>,
    format: Option<Cow<'a, str>>,
}

/// Makes the canonical payload of `{sub,aud,scopes,ctx?,ttl_s?,nbf?,nonce?,format?}` under the version `kid`, at the
/// second `now`, with a fresh `jti`.
///
/// # Errors
/// `BadRequest` naming the field; `TooLarge` for a payload over the limit; `Internal` without randomness.
pub fn issue(
    policy: &IssuePolicy,
    body: &[u8],
    kid: &str,
    now: u64,
    entropy: &dyn Entropy,
) -> Result<Issued> {
    let too_large = || KmsError::new(ErrorCode::TooLarge, faults::LONG).field("body");
    let wish = read(body, policy.max_msg_bytes).map_err(|(fault, field)| match fault {
        faults::LONG => too_large(),
        _ => KmsError::bad_request(fault).field(field),
    })?;
    let fault = |field, why: &'static str| KmsError::bad_request(why).field(field);
    let missing = |field| fault(field, "is needed");
    let sub = wish.sub.ok_or_else(|| missing("sub"))?;
    let aud = wish.aud.ok_or_else(|| missing("aud"))?;
    let scopes = wish.scopes.ok_or_else(|| missing("scopes"))?;
    let format = match wish.format.as_deref() {
        None | Some("envelope") => Format::Envelope,
        Some("jwt") => Format::Jwt,
        Some(_) => return Err(fault("format", "must be envelope or jwt")),
    };
    let ttl = wish.ttl_s.unwrap_or(policy.default_ttl_s);
    if ttl == 0 || ttl > policy.max_ttl_s {
        return Err(fault("ttl_s", "must be from 1 to the longest lifetime of this issuer"));
    }
    let expires_at = now.saturating_add(ttl);
    if wish.nbf.is_some_and(|nbf| nbf >= expires_at) {
        return Err(fault("nbf", "must be before the passport expires"));
    }
    let mut random = [0; 16];
    entropy.fill(&mut random)?;
    let id = Builder::from_random_bytes(random).into_uuid();

    // Names in the order of RFC 8785: aud ctx exp iat iss jti kid nbf nonce scopes sub.
    let mut payload = Writer::new(512);
    let list = |payload: &mut Writer, list: &[Cow<'_, str>]| {
        payload.out.push(b'[');
        for (i, each) in list.iter().enumerate() {
            if i > 0 {
                payload.out.push(b',');
            }
            payload.string(each);
        }
        payload.out.push(b']');
    };
    payload.out.extend_from_slice(br#"{"aud":"#);
    list(&mut payload, &aud);
    payload.out.extend_from_slice(br#","ctx":"#);
    payload.out.extend_from_slice(wish.ctx.as_deref().unwrap_or(b"{}"));
    payload.out.extend_from_slice(format!(r#","exp":{expires_at},"iat":{now},"iss":"#).as_bytes());
    payload.string(&policy.issuer);
    payload.out.extend_from_slice(format!(r#","jti":"{id}","kid":"#).as_bytes());
    payload.string(kid);
    if let Some(nbf) = wish.nbf {
        payload.out.extend_from_slice(format!(r#","nbf":{nbf}"#).as_bytes());
    }
    if let Some(nonce) = &wish.nonce {
        payload.out.extend_from_slice(br#","nonce":"#);
        payload.string(nonce);
    }
    payload.out.extend_from_slice(br#","scopes":"#);
    list(&mut payload, &scopes);
    payload.out.extend_from_slice(br#","sub":"#);
    payload.string(&sub);
    payload.out.push(b'}');

    let payload = payload.out;
    if payload.len() > policy.max_msg_bytes {
        return Err(too_large());
    }
    let signed = match format {
        Format::Envelope => payload,
        Format::Jwt => jws::signing_input(kid, &payload),
    };
    Ok(Issued { format, signed, expires_at })
}

type FieldFault = (Fault, &'static str);

fn read(body: &[u8], most: usize) -> Result<Wish<'_>, FieldFault> {
    let syntax = |fault| (fault, "body");
    let mut reader = Reader::<false>::new(body, DEPTH).map_err(syntax)?;
    let mut wish = Wish::default();
    if reader.peek().map_err(syntax)? != Kind::Object {
        return Err(("must be an object", "body"));
    }
    let mut more = reader.begin_object().map_err(syntax)?;
    while more {
        let name = reader.name().map_err(syntax)?;
        let reader = &mut reader;
        match &*name {
            "sub" => once(&mut wish.sub, "sub", || text(reader))?,
            "aud" => once(&mut wish.aud, "aud", || audience(reader))?,
            "scopes" => once(&mut wish.scopes, "scopes", || list(reader))?,
            "ctx" => once(&mut wish.ctx, "ctx", || object(reader, most))?,
            "ttl_s" => once(&mut wish.ttl_s, "ttl_s", || whole(reader))?,
            "nbf" => once(&mut wish.nbf, "nbf", || whole(reader))?,
            "nonce" => once(&mut wish.nonce, "nonce", || text(reader))?,
            "format" => once(&mut wish.format, "format", || text(reader))?,
            _ => return Err(("has a field that is not known", "body")),
        }
        more = reader.more_members().map_err(syntax)?;
    }
    reader.finish().map_err(syntax)?;
    Ok(wish)
}

fn once<T>(
    slot: &mut Option<T>,
    field: &'static str,
    read: impl FnOnce() -> Result<T, Fault>,
) -> Result<(), FieldFault> {
    if slot.is_some() {
        return Err((faults::DUPLICATE, field));
    }
    *slot = Some(read().map_err(|fault| (fault, field))?);
    Ok(())
}

fn text<'a>(reader: &mut Reader<'a, false>) -> Result<Cow<'a, str>, Fault> {
    if reader.peek()? != Kind::String {
        return Err("must be a string");
    }
    let text = reader.string()?;
    if text.is_empty() || text.len() > MAX_TEXT {
        return Err("must have from 1 to 1024 bytes");
    }
    Ok(text)
}

fn list<'a>(reader: &mut Reader<'a, false>) -> Result<Vec<Cow<'a, str>>, Fault> {
    const RULE: Fault = "must be an array of at most 64 strings of 1 to 1024 bytes, none twice";
    if reader.peek()? != Kind::Array {
        return Err(RULE);
    }
    let list = strings(reader, MAX_LIST)?.ok_or(RULE)?;
    let fits = |text: &Cow<'_, str>| !text.is_empty() && text.len() <= MAX_TEXT;
    let twice = list.iter().enumerate().any(|(i, each)| list[..i].contains(each));
    if twice || !list.iter().all(fits) { Err(RULE) } else { Ok(list) }
}

/// One audience is taken as an array of one.
fn audience<'a>(reader: &mut Reader<'a, false>) -> Result<Vec<Cow<'a, str>>, Fault> {
    if reader.peek()? == Kind::String {
        return text(reader).map(|one| vec![one]);
    }
    let list = list(reader)?;
    if list.is_empty() { Err("must name an audience") } else { Ok(list) }
}

fn object(reader: &mut Reader<'_, false>, most: usize) -> Result<Vec<u8>, Fault> {
    if reader.peek()? != Kind::Object {
        return Err("must be an object");
    }
    let mut writer = Writer::for_claims(most);
    writer.value(reader)?;
    Ok(writer.out)
}

fn whole(reader: &mut Reader<'_, false>) -> Result<u64, Fault> {
    const RULE: Fault = "must be a whole number";
    if reader.peek()? != Kind::Number {
        return Err(RULE);
    }
    reader.number()?.whole().ok_or(RULE)
}
