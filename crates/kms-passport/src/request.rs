//! What callers send: one passport with what they ask of it, or an array of them.

use std::borrow::Cow;

use crate::json::{Fault, Kind, Reader};

/// Nesting of a request: arrays of objects with arrays, and of what is passed over.
const DEPTH: usize = 16;
/// Most scopes that a request asks for.
const MAX_SCOPES: usize = 64;

/// A passport as it was presented.
pub(crate) struct Presented<'a> {
    pub(crate) form: Form<'a>,
    /// The audience that the caller is.
    pub(crate) audience: Option<Cow<'a, str>>,
    /// Scopes that it must have.
    pub(crate) scopes: Vec<Cow<'a, str>>,
}

pub(crate) enum Form<'a> {
    Envelope { alg: Cow<'a, str>, kid: Cow<'a, str>, msg: Cow<'a, str>, sig: Cow<'a, str> },
    Token(Cow<'a, str>),
}

/// What one item is: `None` where it is JSON, but not a passport.
pub(crate) type Item<'a> = Option<Presented<'a>>;

/// Reads the one passport of a body.
///
/// # Errors
/// Where the body is not JSON.
pub(crate) fn one(body: &[u8]) -> Result<Item<'_>, Fault> {
    let mut reader = Reader::<false>::new(body, DEPTH)?;
    let item = item(&mut reader)?;
    reader.finish()?;
    Ok(item)
}

/// Why an array is not taken.
pub(crate) enum BatchFault {
    /// It is not JSON, or no array.
    Malformed(Fault),
    /// It has more items than may be.
    TooLarge,
}

impl From<Fault> for BatchFault {
    fn from(fault: Fault) -> Self {
        BatchFault::Malformed(fault)
    }
}

/// Reads an array of at most `most` passports.
pub(crate) fn batch(body: &[u8], most: usize) -> Result<Vec<Item<'_>>, BatchFault> {
    let mut reader = Reader::<false>::new(body, DEPTH)?;
    // A shorter body has fewer: an envelope has some hundred bytes.
    let mut items = Vec::with_capacity(most.min(body.len() / 128 + 1));
    let mut more = reader.begin_array()?;
    while more {
        if items.len() == most {
            return Err(BatchFault::TooLarge);
        }
        items.push(item(&mut reader)?);
        more = reader.more_elements()?;
    }
    reader.finish()?;
    Ok(items)
}

/// The fields of an item while it is read.
#[derive(Default)]
struct Fields<'a> {
    alg: Option<Cow<'a, str>>,
    kid: Option<Cow<'a, str>>,
    msg: Option<Cow<'a, str>>,
    sig: Option<Cow<'a, str>>,
    token: Option<Cow<'a, str>>,
    audience: Option<Cow<'a, str>>,
    scopes: Option<Vec<Cow<'a, str>>>,
}

fn item<'a>(reader: &mut Reader<'a, false>) -> Result<Item<'a>, Fault> {
    if reader.peek()? != Kind::Object {
        reader.skip()?;
        return Ok(None);
    }
    let mut fields = Fields::default();
    let mut well_formed = true;
    let mut more = reader.begin_object()?;
    while more {
        let name = reader.name()?;
        let slot = match &*name {
            "alg" => Some(&mut fields.alg),
            "kid" => Some(&mut fields.kid),
            "msg" => Some(&mut fields.msg),
            "sig" => Some(&mut fields.sig),
            "token" => Some(&mut fields.token),
            "audience" => Some(&mut fields.audience),
            _ => None,
        };
        let kind = reader.peek()?;
        match slot {
            // A name that is there twice is found here.
            Some(slot) if slot.is_none() && kind == Kind::String => *slot = Some(reader.string()?),
            None if name == "scopes" && fields.scopes.is_none() && kind == Kind::Array => {
                fields.scopes = strings(reader, MAX_SCOPES)?;
                well_formed &= fields.scopes.is_some();
            }
            _ => {
                well_formed = false;
                reader.skip()?;
            }
        }
        more = reader.more_members()?;
    }
    Ok(fields.presented().filter(|_| well_formed))
}

impl<'a> Fields<'a> {
    fn presented(self) -> Item<'a> {
        let form = match (self.token, self.alg, self.kid, self.msg, self.sig) {
            (Some(token), None, None, None, None) => Form::Token(token),
            (None, Some(alg), Some(kid), Some(msg), Some(sig)) => {
                Form::Envelope { alg, kid, msg, sig }
            }
            _ => return None,
        };
        Some(Presented { form, audience: self.audience, scopes: self.scopes.unwrap_or_default() })
    }
}

/// An array of at most `most` strings; `None` where it is something else.
pub(crate) fn strings<'a, const CANONICAL: bool>(
    reader: &mut Reader<'a, CANONICAL>,
    most: usize,
) -> Result<Option<Vec<Cow<'a, str>>>, Fault> {
    let mut strings = Vec::new();
    let mut fits = true;
    let mut more = reader.begin_array()?;
    while more {
        if reader.peek()? == Kind::String && strings.len() < most {
            strings.push(reader.string()?);
        } else {
            fits = false;
            reader.skip()?;
        }
        more = reader.more_elements()?;
    }
    Ok(fits.then_some(strings))
}

/// What is answered for JSON that is not a request.
pub(crate) const NOT_A_PASSPORT: Fault =
    "must be an envelope (alg, kid, msg, sig) or a token, with audience and scopes beside it";
