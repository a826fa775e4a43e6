//! Whether a caller's capability covers a request: by its text alone, before any key is looked up, so that a refusal says
//! nothing about what exists.

use kms_core::{Context, KidRef, KmsError, Result, Rights};
use kms_crypto::digest;

use crate::create::CreateKey;
use crate::dispatch::Request;
use crate::engine::Engine;
use crate::sign::Payload;
use crate::suite::Suite;
use crate::verify::{VerifyRequest, kid_of};

impl Engine {
    /// Refuses what the caller's capability does not cover; counted like every other refusal.
    ///
    /// # Errors
    /// `NoCapability`; `BadRequest` for kids that are none, `Unsupported` for algorithms that are none.
    pub(crate) fn check_rights(&self, context: &Context, request: &Request) -> Result<()> {
        let Some(rights) = &context.rights else { return Ok(()) };
        let op = request.op();
        self.counting(op, || permit(rights, request))
            .inspect_err(|refusal| self.audit_refusal(op, context, None, refusal))
    }

    /// As [`Engine::check_rights`] for a request to verify, which its use case counts. Some kids are permitted already.
    pub(crate) fn check_verifies(
        &self,
        context: &Context,
        wish: &VerifyRequest<'_>,
        is_permitted: impl Fn(&str) -> bool,
    ) -> Result<()> {
        context.rights.as_ref().map_or(Ok(()), |rights| permit_verify(rights, wish, is_permitted))
    }
}

fn permit(rights: &Rights, request: &Request) -> Result<()> {
    rights.permit_scopes(request.op().scopes())?;
    match request {
        Request::Sign(wish) => {
            for (i, kid) in wish.target.kids().iter().enumerate() {
                let permitted = KidRef::parse(kid).and_then(|kid| rights.permit_kid(&kid));
                permitted.map_err(|error| wish.target.at(i, error))?;
            }
            return permit_payload(rights, &wish.payload);
        }
        // Refused, whoever asks.
        Request::Export(_) => return Ok(()),
        _ => {}
    }
    rights.permit_without_payload()?;
    match request {
        Request::Create(wish) => permit_create(rights, wish),
        Request::Import(wish) => permit_create(rights, &wish.key),
        // Of the keys of a tenant only those are listed that the capability is for.
        Request::List(wish) => rights.permit_tenant(&wish.tenant),
        Request::Derive(kid, _) => {
            let kid = KidRef::parse(kid)?;
            rights.permit_kid(&kid)?;
            rights.permit_new_key(kid.tenant, kid.purpose, kid.alg)
        }
        // They end in another version than the one that a kid may name.
        Request::Rotate(kid, _) | Request::Rewrap(kid, _) => {
            rights.permit_key(&KidRef::parse(kid)?)
        }
        Request::Wrap(wish) => rights.permit_kid(&KidRef::parse(&wish.kid)?),
        Request::Describe(kid)
        | Request::Attest(kid)
        | Request::Unwrap(kid, _)
        | Request::Disable(kid)
        | Request::Enable(kid)
        | Request::Destroy(kid, _)
        | Request::CancelDestroy(kid) => rights.permit_kid(&KidRef::parse(kid)?),
        Request::MintCapability(_) => Ok(()),
        Request::Sign(_) | Request::Export(_) => {
            Err(KmsError::internal("a request was checked twice"))
        }
    }
}

fn permit_create(rights: &Rights, wish: &CreateKey) -> Result<()> {
    let alg = Suite::parse(&wish.alg, &wish.purpose)?.named_by();
    rights.permit_new_key(&wish.tenant, &wish.purpose, alg)
}

fn permit_verify(
    rights: &Rights,
    wish: &VerifyRequest<'_>,
    is_permitted: impl Fn(&str) -> bool,
) -> Result<()> {
    rights.permit_scopes(crate::op::Op::Verify.scopes())?;
    for (i, entry) in wish.sigs.iter().enumerate() {
        let kid = kid_of(wish, entry, i)?;
        if is_permitted(kid) {
            continue;
        }
        let permitted = KidRef::parse(kid).and_then(|kid| rights.permit_kid(&kid));
        permitted.map_err(|error| match &wish.kid {
            None => error.within(&format!("sigs[{i}]")),
            Some(_) => error,
        })?;
    }
    permit_payload(rights, &wish.payload)
}

fn permit_payload(rights: &Rights, payload: &Payload<'_>) -> Result<()> {
    rights.permit_payload(|| match payload {
        Payload::Digest(digest) => *digest,
        Payload::Local(bytes) => digest::blake3(bytes),
        Payload::Message(bytes) => digest::blake3(bytes),
    })
}
