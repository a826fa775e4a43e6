//! Claims: read once, then held against time, audience and scopes.

use std::borrow::Cow;

use crate::counters::Skewed;
use crate::json::{Fault, Kind, Names, Reader, faults};
use crate::reason::Reason;
use crate::request::strings;
use crate::time::Now;

/// Nesting of a payload.
pub(crate) const DEPTH: usize = 32;
/// Most audiences, and most scopes.
pub(crate) const MAX_LIST: usize = 64;

/// The claims that decide. Others are checked for form and kept for the caller.
pub(crate) struct Claims<'a> {
    pub(crate) issuer: Cow<'a, str>,
    pub(crate) audience: Vec<Cow<'a, str>>,
    pub(crate) scopes: Vec<Cow<'a, str>>,
    pub(crate) issued_at: u64,
    pub(crate) expires_at: u64,
    pub(crate) not_before: Option<u64>,
    pub(crate) kid: Cow<'a, str>,
    pub(crate) id: Option<Cow<'a, str>>,
    pub(crate) nonce: Option<Cow<'a, str>>,
}

impl<'a> Claims<'a> {
    /// Reads a payload: `iss sub aud iat exp kid` must be there, `nbf scopes nonce ctx jti` may, others are let be
    /// (RFC 7519, section 4). An envelope's must be canonical; in a JWS, `aud` may be a single string.
    pub(crate) fn read<const CANONICAL: bool>(payload: &'a [u8]) -> Result<Claims<'a>, Fault> {
        let mut reader = Reader::<CANONICAL>::new(payload, DEPTH)?;
        let mut names = Names::<CANONICAL>::new();
        let (mut issuer, mut subject, mut kid) = (None, false, None);
        let (mut audience, mut scopes) = (None, Vec::new());
        let (mut issued_at, mut expires_at, mut not_before) = (None, None, None);
        let (mut id, mut nonce) = (None, None);
        let mut more = reader.begin_object()?;
        while more {
            let name = reader.name()?;
            match &*name {
                "iss" => issuer = Some(text(&mut reader)?),
                "sub" => subject = text(&mut reader).map(|_| true)?,
                "aud" => audience = Some(list(&mut reader, !CANONICAL)?),
                "scopes" => scopes = list(&mut reader, false)?,
                "iat" => issued_at = Some(seconds(&mut reader)?),
                "exp" => expires_at = Some(seconds(&mut reader)?),
                "nbf" => not_before = Some(seconds(&mut reader)?),
                "kid" => kid = Some(text(&mut reader)?),
                "jti" => id = Some(text(&mut reader)?),
                "nonce" => nonce = Some(text(&mut reader)?),
                "ctx" if reader.peek()? != Kind::Object => return Err(faults::CLAIMS),
                _ => reader.skip()?,
            }
            names.add(name)?;
            more = reader.more_members()?;
        }
        names.finish()?;
        reader.finish()?;
        let (Some(issuer), true, Some(kid)) = (issuer, subject, kid) else {
            return Err(faults::CLAIMS);
        };
        let (Some(audience), Some(issued_at), Some(expires_at)) = (audience, issued_at, expires_at)
        else {
            return Err(faults::CLAIMS);
        };
        Ok(Claims { issuer, audience, scopes, issued_at, expires_at, not_before, kid, id, nonce })
    }

    /// Whether its time is now, give or take `skew` seconds. What passes only by that is told to `skewed`.
    pub(crate) fn check_time(&self, now: Now, skew: u64, skewed: &Skewed) -> Result<(), Reason> {
        if now.latest >= self.expires_at.saturating_add(skew) {
            return Err(Reason::Expired);
        }
        let begins = self.not_before.unwrap_or(0).max(self.issued_at);
        if now.earliest.saturating_add(skew) < begins {
            return Err(Reason::Nbf);
        }
        if now.latest >= self.expires_at {
            skewed.expired();
        }
        if now.earliest < begins {
            skewed.early();
        }
        Ok(())
    }

    /// Whether it is for the audience that was named.
    pub(crate) fn check_audience(
        &self,
        audience: Option<&str>,
        required: bool,
    ) -> Result<(), Reason> {
        let fits = match audience {
            Some(audience) => self.audience.iter().any(|each| each == audience),
            None => !required,
        };
        if fits { Ok(()) } else { Err(Reason::BadAud) }
    }

    /// Whether it has all scopes that were asked for.
    pub(crate) fn check_scopes(&self, asked: &[Cow<'_, str>]) -> Result<(), Reason> {
        let has_all = asked.iter().all(|scope| self.scopes.contains(scope));
        if has_all { Ok(()) } else { Err(Reason::ScopeDenied) }
    }
}

fn text<'a, const CANONICAL: bool>(
    reader: &mut Reader<'a, CANONICAL>,
) -> Result<Cow<'a, str>, Fault> {
    if reader.peek()? == Kind::String { reader.string() } else { Err(faults::CLAIMS) }
}

fn list<'a, const CANONICAL: bool>(
    reader: &mut Reader<'a, CANONICAL>,
    or_one: bool,
) -> Result<Vec<Cow<'a, str>>, Fault> {
    match reader.peek()? {
        Kind::Array => strings(reader, MAX_LIST)?.ok_or(faults::CLAIMS),
        Kind::String if or_one => Ok(vec![reader.string()?]),
        _ => Err(faults::CLAIMS),
    }
}

/// A NumericDate (RFC 7519, section 2) that is whole.
fn seconds<const CANONICAL: bool>(reader: &mut Reader<'_, CANONICAL>) -> Result<u64, Fault> {
    if reader.peek()? != Kind::Number {
        return Err(faults::CLAIMS);
    }
    reader.number()?.whole().ok_or(faults::CLAIMS)
}
