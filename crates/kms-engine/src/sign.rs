//! Signing: only the head signs, and only what the key was made to sign.

use std::borrow::Cow;
use std::sync::Arc;

use kms_core::{Context, Kid, KmsError, Result, Signs, Version};
use kms_crypto::digest::{self, DIGEST_LEN};
use kms_crypto::ed25519::{self, KeyRef, SIGNATURE_LEN, VerifyLane};

use crate::engine::{Engine, Trace};
use crate::key::{Key, KeyVersion};
use crate::known::{ItemKid, KnownKid};
use crate::op::Op;

/// What the service's own statements begin with; no sign API signs a message that does.
pub const RESERVED_PREFIX: &[u8] = b"ron-kms/";

/// What is signed or verified.
#[derive(Clone, Debug, Hash)]
pub enum Payload<'a> {
    /// A payload in process: hashed here if the key signs digests.
    Local(&'a [u8]),
    /// BLAKE3-256 of a payload that stays with the caller; for `digest` keys.
    Digest([u8; DIGEST_LEN]),
    /// The message itself; for `message` keys.
    Message(Cow<'a, [u8]>),
}

impl Payload<'_> {
    /// The bytes that the signature covers.
    ///
    /// # Errors
    /// `Unsupported` where the form does not fit the key.
    pub(crate) fn covered(&self, signs: Signs) -> Result<Cow<'_, [u8]>> {
        match (self, signs) {
            (Payload::Local(payload), Signs::Digest) => {
                Ok(Cow::Owned(digest::blake3(payload).to_vec()))
            }
            (Payload::Local(payload), Signs::Message) => Ok(Cow::Borrowed(payload)),
            (Payload::Digest(digest), Signs::Digest) => Ok(Cow::Borrowed(digest)),
            (Payload::Message(message), Signs::Message) => Ok(Cow::Borrowed(message)),
            (Payload::Digest(_), Signs::Message) => {
                Err(KmsError::unsupported("this key signs messages").field("payload_b3"))
            }
            (Payload::Message(_), Signs::Digest) => {
                Err(KmsError::unsupported("this key signs digests").field("message_b64"))
            }
        }
    }

    /// Refuses what only the service itself may state.
    pub(crate) fn check_not_reserved(&self) -> Result<()> {
        let (bytes, field): (&[u8], _) = match self {
            Payload::Local(bytes) => (bytes, "message"),
            Payload::Digest(bytes) => (bytes, "payload_b3"),
            Payload::Message(bytes) => (bytes, "message_b64"),
        };
        if bytes.starts_with(RESERVED_PREFIX) {
            return Err(KmsError::bad_request("messages that begin with ron-kms/ are reserved")
                .field(field));
        }
        Ok(())
    }
}

/// Under which kids to sign.
#[derive(Clone, Debug, Hash)]
pub enum Target {
    /// One kid.
    Kid(String),
    /// Every kid of a set, all or none.
    Set(Vec<String>),
}

impl Target {
    /// The kids, one or more.
    pub(crate) fn kids(&self) -> &[String] {
        match self {
            Target::Kid(kid) => std::slice::from_ref(kid),
            Target::Set(kids) => kids,
        }
    }
}

/// A wish for signatures.
#[derive(Clone, Debug, Hash)]
pub struct SignRequest {
    /// Under which kids.
    pub target: Target,
    /// Of what.
    pub payload: Payload<'static>,
    /// Whether both halves of a hybrid key must sign.
    pub produce_hybrid: Option<bool>,
}

/// One signature and the version that made it.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Who signed.
    pub kid: Kid,
    /// The signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Engine {
    /// Signs in process, into the caller's 64 bytes.
    ///
    /// # Errors
    /// `Conflict` for a version that is not the head, `NotFound`, `BadRequest`.
    pub fn sign_into(
        &self,
        context: &Context,
        kid: ItemKid<'_>,
        message: &[u8],
        out: &mut [u8; SIGNATURE_LEN],
    ) -> Result<()> {
        self.run(Op::Sign, context, |trace| {
            let payload = Payload::Local(message);
            payload.check_not_reserved()?;
            let kid = self.find_item(context, kid)?;
            let version = self.signing_version(&kid, trace)?;
            *out = self.sign_as(Op::Sign, context, &kid.key, version, &payload)?;
            Ok(())
        })
    }

    /// Signs under one kid or under a set of them.
    ///
    /// # Errors
    /// As [`Engine::sign_into`]; `Unsupported` where the payload does not fit a key, or where a
    /// hybrid signature is asked of a classical key.
    pub fn sign(&self, context: &Context, wish: &SignRequest) -> Result<Vec<Signed>> {
        self.run(Op::Sign, context, |trace| self.sign_wish(Op::Sign, context, wish, trace))
    }

    pub(crate) fn sign_wish(
        &self,
        op: Op,
        context: &Context,
        wish: &SignRequest,
        trace: &mut Trace,
    ) -> Result<Vec<Signed>> {
        wish.payload.check_not_reserved()?;
        if wish.produce_hybrid == Some(true) {
            let error = KmsError::unsupported("this key has one track");
            return Err(error.field("policy.produce_hybrid"));
        }
        let kids = wish.target.kids();
        let mut signers = Vec::with_capacity(kids.len());
        for (i, kid) in kids.iter().enumerate() {
            let at = |error: KmsError| match &wish.target {
                Target::Kid(_) => error.field("kid_or_set.kid"),
                Target::Set(_) => error.field(format!("kid_or_set.kid_set[{i}]")),
            };
            let known = self.know(context, kid).map_err(at)?;
            let version = self.signing_version(&known, trace).map_err(at)?;
            let key = known.key;
            wish.payload.covered(key.signs)?;
            if signers.iter().any(|(k, _): &(Arc<Key>, _)| Arc::ptr_eq(k, &key)) {
                return Err(at(KmsError::bad_request("the same key appears twice")));
            }
            signers.push((key, version));
        }
        signers
            .into_iter()
            .map(|(key, version)| {
                let signature = self.sign_as(op, context, &key, version, &wish.payload)?;
                Ok(Signed { kid: key.id.at(version), signature })
            })
            .collect()
    }

    /// The head that will sign under a kid.
    pub(crate) fn signing_version(&self, kid: &KnownKid, trace: &mut Trace) -> Result<Version> {
        trace.alg = Some(kid.key.id.alg);
        kid.key.check_sound()?;
        let head = self.head_of(&kid.key)?;
        match kid.version {
            Some(version) if version > head.newest() => Err(KmsError::not_found()),
            Some(version) if version != head.active => {
                Err(KmsError::conflict("only the head of a key signs").field("kid"))
            }
            _ => Ok(head.active),
        }
    }

    fn sign_as(
        &self,
        op: Op,
        context: &Context,
        key: &Key,
        version: Version,
        payload: &Payload<'_>,
    ) -> Result<[u8; SIGNATURE_LEN]> {
        crate::faults::point("sign.act");
        let covered = payload.covered(key.signs)?;
        let head = key.published(version)?;
        let signature = self.sign_unverified(head, &covered)?;
        if self.config.verify_after_sign {
            let public = KeyRef::Handle(&head.public);
            if !ed25519::verify(VerifyLane::Auto, public, &covered, &signature) {
                return Err(faulty());
            }
        }
        self.audit_signature(op, context, key, version, &covered)?;
        Ok(signature)
    }

    /// A signature that must not leave yet.
    pub(crate) fn sign_unverified(
        &self,
        head: &KeyVersion,
        covered: &[u8],
    ) -> Result<[u8; SIGNATURE_LEN]> {
        let mut signature = self.arena.with(head.secret, |secret| secret.sign(covered))??;
        crate::faults::flip("sign.flip", &mut signature[40]);
        Ok(signature)
    }

    pub(crate) fn audit_signature(
        &self,
        op: Op,
        context: &Context,
        key: &Key,
        version: Version,
        covered: &[u8],
    ) -> Result<()> {
        if self.config.audit.is_none() {
            return Ok(());
        }
        self.audit(op, context, &key.id.at(version), key.id.alg, Some(covered))
    }
}

/// A signature did not verify right after it was made: the machine, not the caller, is at fault.
pub(crate) fn faulty() -> KmsError {
    KmsError::internal("the signature did not verify and was withheld")
}
