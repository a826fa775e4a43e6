//! Verifying: every published version, for ever.

use std::sync::Arc;

use kms_core::{Algorithm, Context, KidRef, KmsError, Result};
use kms_crypto::ed25519::{self, KeyHandle, KeyRef, SIGNATURE_LEN};

use crate::engine::{Engine, Trace};
use crate::op::Op;
use crate::sign::Payload;

/// Which halves of a hybrid signature must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Any half that the version has.
    Or,
    /// Every half that the version has.
    #[default]
    And,
    /// The post-quantum half; a classical key has none and never satisfies it.
    PqOnly,
}

impl Mode {
    /// The name in `policy.mode`.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Or => "or",
            Mode::And => "and",
            Mode::PqOnly => "pq_only",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// `BadRequest`, field `policy.mode`.
    pub fn parse(name: &str) -> Result<Mode> {
        [Mode::Or, Mode::And, Mode::PqOnly].into_iter().find(|mode| mode.name() == name).ok_or_else(
            || KmsError::bad_request("must be `or`, `and` or `pq_only`").field("policy.mode"),
        )
    }
}

/// One signature to check.
#[derive(Clone, Debug, Hash)]
pub struct SignatureEntry {
    /// Its algorithm.
    pub alg: Algorithm,
    /// Its bytes; a wrong length is an invalid signature.
    pub signature: Vec<u8>,
    /// Its kid, with a version; needed where the request has none.
    pub kid: Option<String>,
}

/// A wish for a verdict.
#[derive(Clone, Debug, Hash)]
pub struct VerifyRequest {
    /// The kid of all signatures, with a version; `None` where each carries its own.
    pub kid: Option<String>,
    /// What was signed.
    pub payload: Payload<'static>,
    /// The signatures.
    pub sigs: Vec<SignatureEntry>,
    /// Which of them must hold, for each kid.
    pub mode: Mode,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whether the mode is satisfied for every kid.
    pub ok: bool,
    /// The algorithms whose signatures were checked, in order of first appearance.
    pub checked: Vec<Algorithm>,
    /// The mode, where it is satisfied.
    pub satisfied_mode: Option<Mode>,
}

impl Engine {
    /// Verifies one signature in process. `Ok(false)` is a verdict; an error means that there is none.
    ///
    /// # Errors
    /// `NotFound`, and `BadRequest` for a kid that is malformed or has no version.
    pub fn verify_one(
        &self,
        context: &Context,
        kid: &str,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool> {
        self.run(Op::Verify, context, |trace| {
            let valid = self.check(context, kid, &Payload::Local(message), signature, trace)?;
            trace.invalid = !valid;
            Ok(valid)
        })
    }

    /// Verifies the signatures of one request.
    ///
    /// # Errors
    /// `NotFound`; `BadRequest` for kids that are missing, malformed, unversioned or at odds with
    /// each other; `Unsupported` where the payload does not fit the key.
    pub fn verify(&self, context: &Context, wish: &VerifyRequest) -> Result<Verified> {
        self.run(Op::Verify, context, |trace| {
            let verified = self.verify_wish(context, wish, trace)?;
            trace.invalid = !verified.ok;
            Ok(verified)
        })
    }

    pub(crate) fn verify_wish(
        &self,
        context: &Context,
        wish: &VerifyRequest,
        trace: &mut Trace,
    ) -> Result<Verified> {
        if wish.sigs.is_empty() {
            return Err(KmsError::bad_request("at least one signature is needed").field("sigs"));
        }
        let mut seen: Vec<&str> = Vec::with_capacity(wish.sigs.len());
        let mut all_valid = true;
        for (i, entry) in wish.sigs.iter().enumerate() {
            let kid = kid_of(wish, entry, i)?;
            if seen.contains(&kid) {
                let error = KmsError::bad_request("two signatures of one algorithm for one kid");
                return Err(error.field(format!("sigs[{i}]")));
            }
            seen.push(kid);
            let at = |error: KmsError| match (&wish.kid, error.field.as_deref()) {
                (None, Some("kid")) => error.field(format!("sigs[{i}].kid")),
                _ => error,
            };
            let valid =
                self.check(context, kid, &wish.payload, &entry.signature, trace).map_err(at)?;
            all_valid &= valid;
        }
        // Every version of this build has one classical track, so `or` and `and` ask the same of it.
        let ok = all_valid && wish.mode != Mode::PqOnly;
        Ok(Verified {
            ok,
            checked: vec![Algorithm::Ed25519],
            satisfied_mode: ok.then_some(wish.mode),
        })
    }

    fn check(
        &self,
        context: &Context,
        kid: &str,
        payload: &Payload<'_>,
        signature: &[u8],
        trace: &mut Trace,
    ) -> Result<bool> {
        let parsed = KidRef::parse(kid)?;
        let wanted = parsed.require_version()?;
        let key = self.find(&parsed, context)?;
        trace.alg = Some(key.id.alg);
        let head = key.head(self.now_ms())?;
        let version = key.version(&head, wanted).ok_or_else(KmsError::not_found)?;
        let covered = payload.covered(key.signs)?;
        Ok(self.verdict(&version.public, &covered, signature))
    }

    fn verdict(&self, public: &Arc<KeyHandle>, covered: &[u8], signature: &[u8]) -> bool {
        <&[u8; SIGNATURE_LEN]>::try_from(signature).is_ok_and(|signature| {
            ed25519::verify(self.config.verify_lane, KeyRef::Handle(public), covered, signature)
        })
    }
}

/// The kid of a signature: the request's, or its own where the request has none.
fn kid_of<'a>(wish: &'a VerifyRequest, entry: &'a SignatureEntry, i: usize) -> Result<&'a str> {
    match (wish.kid.as_deref(), entry.kid.as_deref()) {
        (Some(kid), None) => Ok(kid),
        (Some(kid), Some(own)) if kid == own => Ok(kid),
        (Some(_), Some(_)) => {
            Err(KmsError::bad_request("differs from the request's kid")
                .field(format!("sigs[{i}].kid")))
        }
        (None, Some(own)) => Ok(own),
        (None, None) => {
            Err(KmsError::bad_request("is needed here or in every signature").field("kid"))
        }
    }
}
