//! Signing: only the head signs, and only what the key was made to sign.

use std::borrow::Cow;
use std::sync::Arc;

use kms_core::{Algorithm, Context, Kid, KmsError, Result, Signs, Version};
use kms_crypto::context::Context as SignatureContext;
use kms_crypto::digest::{self, DIGEST_LEN};
use kms_crypto::ed25519::VerifyLane;
use kms_crypto::hybrid::HybridContext;

use crate::checks::{Check, VerifyLanes, refuse_context};
use crate::engine::{Engine, Trace};
use crate::evidence::Attestation;
use crate::key::{Key, KeyVersion};
use crate::known::{ItemKid, KnownKid};
use crate::life_cycle::Use;
use crate::material::{SecretHalf, Signature};
use crate::op::Op;
use crate::policy::Demand;
use crate::suite::Suite;

/// What the service's own statements begin with; no sign API signs a message that does.
pub const RESERVED_PREFIX: &[u8] = b"ron-kms/";

/// The refusal of such a message.
pub(crate) const RESERVED: &str = "messages that begin with ron-kms/ are reserved";

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
            return Err(KmsError::bad_request(RESERVED).field(field));
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
    /// Names the kid that an error is about.
    pub(crate) fn at(&self, i: usize, error: KmsError) -> KmsError {
        match self {
            Target::Kid(_) => error.field("kid_or_set.kid"),
            Target::Set(_) => error.field(format!("kid_or_set.kid_set[{i}]")),
        }
    }

    /// As [`Target::at`] for an error about one of them.
    fn about(&self, error: KmsError) -> KmsError {
        match (self, error.field.as_deref()) {
            (Target::Kid(_), Some("kid")) => self.at(0, error),
            (Target::Set(_), Some("kid")) => error.field("kid_or_set.kid_set"),
            _ => error,
        }
    }

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
pub struct SignRequest<'a> {
    /// Under which kids.
    pub target: Target,
    /// Of what.
    pub payload: Payload<'a>,
    /// Under which context; empty for none.
    pub context: Vec<u8>,
    /// Whether both halves of a hybrid key must sign. They do where the service asks for it, whatever is said here.
    pub produce_hybrid: Option<bool>,
}

/// One signature, and the version and the track that made it.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Who signed.
    pub kid: Kid,
    /// With what.
    pub alg: Algorithm,
    /// The signature.
    pub signature: Signature,
    /// What is known of where its key is, where a token has said something of it.
    pub attestation: Option<Attestation>,
    /// The index of its record in the audit log, where there is one.
    pub audit: Option<u64>,
}

impl Engine {
    /// Signs in process under a key with one track.
    ///
    /// # Errors
    /// `Conflict` for a version that is not the head, and for a key or a head that is not in use, also where it was
    /// taken out of use meanwhile; `NotFound`, `BadRequest`; `Unsupported` for a hybrid key, and
    /// for a slow one unless `may_block`.
    pub fn sign_one(
        &self,
        context: &Context,
        kid: ItemKid<'_>,
        message: &[u8],
        may_block: bool,
    ) -> Result<Signature> {
        self.run(Op::Sign, context, |trace| {
            let payload = Payload::Local(message);
            let kid = self.find_item(context, kid)?;
            let head = self.signing_head(context, &kid, trace)?;
            payload.check_not_reserved()?;
            let alg = head.only_track(may_block)?;
            let covered = payload.covered(head.key.facts.signs)?;
            let signature = self.sign_track(&head, alg, &covered, SignatureContext::EMPTY)?;
            self.audit_signature(Op::Sign, context, &head, &covered)?;
            Ok(signature)
        })
    }

    /// Signs under one kid or under a set of them, with every track that policy asks for.
    ///
    /// # Errors
    /// As [`Engine::sign_one`]; `Unsupported` where the payload or the context does not fit a key, or where a
    /// hybrid signature is asked of a key with one track.
    pub fn sign(&self, context: &Context, wish: &SignRequest<'_>) -> Result<Vec<Signed>> {
        self.run(Op::Sign, context, |trace| {
            let signed_under = SignatureContext::new(&wish.context)?;
            let kids = wish.target.kids();
            let mut known = Vec::with_capacity(kids.len());
            for (i, kid) in kids.iter().enumerate() {
                let kid = self.know(context, kid).map_err(|error| wish.target.at(i, error))?;
                known.push(kid);
            }
            // All are resolved and allowed before the first signs: all or none.
            let mut heads: Vec<SigningHead<'_>> = Vec::with_capacity(known.len());
            for (i, kid) in known.iter().enumerate() {
                let at = |error| wish.target.at(i, error);
                let head = self.signing_head(context, kid, trace).map_err(at)?;
                head.check_wish(wish, signed_under).map_err(|error| match &error.field {
                    Some(field) if field == "kid" => at(error),
                    _ => error,
                })?;
                if heads.iter().any(|other| Arc::ptr_eq(other.key, head.key)) {
                    return Err(at(KmsError::bad_request("the same key appears twice")));
                }
                heads.push(head);
            }
            wish.payload.check_not_reserved()?;
            let mut signed = Vec::with_capacity(heads.len() * 2);
            let mut uses = Vec::with_capacity(heads.len());
            let covered = |head: &SigningHead<'_>| wish.payload.covered(head.key.facts.signs);
            let covered = heads.iter().map(covered).collect::<Result<Vec<_>>>()?;
            for (head, covered) in heads.iter().zip(&covered) {
                for alg in head.tracks(wish.produce_hybrid) {
                    let signature = self.sign_track(head, *alg, covered, signed_under)?;
                    let attestation = self.attestation_of(head.key, head.version);
                    let kid = head.kid();
                    signed.push(Signed { kid, alg: *alg, signature, attestation, audit: None });
                }
                let (key, version) = (head.key, head.version);
                uses.push(Use { key, version, opened: None, input: covered });
            }
            let ended = self.end_uses(Op::Sign, context, &uses);
            let indexes = ended.map_err(|error| wish.target.about(error))?;
            for it in &mut signed {
                let of = heads.iter().position(|head| head.key.id().uuid == it.kid.key.uuid);
                it.audit = of.and_then(|of| indexes[of]);
            }
            Ok(signed)
        })
    }

    /// The head that will sign under a kid.
    pub(crate) fn signing_head<'a>(
        &self,
        context: &'a Context,
        kid: &'a KnownKid,
        trace: &mut Trace,
    ) -> Result<SigningHead<'a>> {
        let key = &kid.key;
        trace.key = Some(Arc::clone(key));
        key.check_sound()?;
        let head = self.head_of(key)?;
        let version = match kid.version {
            Some(version) if version > head.newest => return Err(KmsError::not_found()),
            Some(version) if version != head.active => {
                return Err(KmsError::conflict("only the head of a key signs").field("kid"));
            }
            _ => head.active,
        };
        let held = key.published(version)?;
        trace.alg = held.suite.label();
        self.check_enabled(key, &head, version)?;
        if held.suite.wraps() {
            let error = KmsError::unsupported("this key wraps, and does not sign");
            return Err(error.field("kid"));
        }
        let demand = self.demand(key);
        self.check_signs(demand, held.suite)?;
        self.check_authority(held)?;
        self.check_attested(key, version)?;
        Ok(SigningHead { key, version, held, demand, caller: context })
    }

    /// A signature by one track, verified before it is given where the service does so.
    fn sign_track(
        &self,
        head: &SigningHead<'_>,
        alg: Algorithm,
        covered: &[u8],
        context: SignatureContext<'_>,
    ) -> Result<Signature> {
        let signature = self.sign_unverified(head, alg, covered, context)?;
        // What a token gave is what a library of its maker says that it gave.
        if self.config.verify_after_sign || head.is_remote(alg) {
            let check = Check::new(
                head.key,
                head.version,
                alg,
                Cow::Borrowed(covered),
                context,
                signature.as_bytes(),
            )?;
            // Never in a lane that is not strict.
            let lanes = VerifyLanes { ed25519: VerifyLane::Auto, ..self.verify_lanes() };
            if !check.verdict(lanes) {
                return Err(faulty());
            }
        }
        Ok(signature)
    }

    /// A signature that must not leave yet.
    pub(crate) fn sign_unverified(
        &self,
        head: &SigningHead<'_>,
        alg: Algorithm,
        covered: &[u8],
        context: SignatureContext<'_>,
    ) -> Result<Signature> {
        crate::faults::point("sign.act");
        if head.is_remote(alg) {
            return self.sign_in_token(head, alg, covered);
        }
        let bound = match alg {
            Algorithm::Ed25519 => None,
            _ => head.held.public.hybrid_context(&LazyKid(head), context),
        };
        let context = bound.as_ref().map_or(context, HybridContext::as_context);
        let entropy = &*self.config.entropy;
        let sign = |secret: &SecretHalf| secret.sign(alg, covered, context, entropy);
        let mut signature = self.with_secret(head.key, head.version, sign)??;
        crate::faults::flip("sign.flip", &mut signature.as_bytes_mut()[40]);
        Ok(signature)
    }

    /// Has a version sign a statement of the service, with every track. It covers the statement's own bytes whatever
    /// the key's signatures cover otherwise.
    pub(crate) fn vouch(
        &self,
        context: &Context,
        key: &Arc<Key>,
        version: Version,
        statement: &[u8],
    ) -> Result<Vec<Vec<u8>>> {
        let (held, demand) = (key.published(version)?, self.demand(key));
        let head = SigningHead { key, version, held, demand, caller: context };
        let sign = |alg: &Algorithm| {
            let signature = self.sign_track(&head, *alg, statement, SignatureContext::EMPTY)?;
            Ok(signature.as_bytes().to_vec())
        };
        held.suite.algs().iter().map(sign).collect()
    }

    /// Ends the making of a signature: records it, all its halves together, before it leaves.
    pub(crate) fn audit_signature(
        &self,
        op: Op,
        context: &Context,
        head: &SigningHead<'_>,
        covered: &[u8],
    ) -> Result<Option<u64>> {
        self.end_use(op, context, head.key, head.version, covered)
    }
}

/// The version that signs, and what is asked for of it.
pub(crate) struct SigningHead<'a> {
    pub(crate) key: &'a Arc<Key>,
    pub(crate) version: Version,
    pub(crate) held: &'a KeyVersion,
    demand: Demand,
    pub(crate) caller: &'a Context,
}

impl SigningHead<'_> {
    pub(crate) fn kid(&self) -> Kid {
        self.key.id().at(self.version)
    }

    /// The track of a key that has one.
    ///
    /// # Errors
    /// `Unsupported`, field `kid`, for a hybrid key; and for a slow one unless `may_block`.
    pub(crate) fn only_track(&self, may_block: bool) -> Result<Algorithm> {
        let suite = self.held.suite;
        if suite.is_hybrid() {
            let error = KmsError::unsupported("this key signs with two tracks: sign a bundle");
            return Err(error.field("kid"));
        }
        if self.held.is_remote() && !may_block {
            let why = "the private half is in a token: use the asynchronous call";
            return Err(KmsError::unsupported(why).field("kid"));
        }
        if suite.is_slow() && !may_block {
            let error = KmsError::unsupported("SLH-DSA is slow: use the asynchronous call");
            return Err(error.field("kid"));
        }
        Ok(suite.named_by())
    }

    /// The tracks that sign. A request may ask for more of them than policy does, not for fewer.
    pub(crate) fn tracks(&self, produce_hybrid: Option<bool>) -> &'static [Algorithm] {
        if produce_hybrid == Some(true) {
            return self.held.suite.algs();
        }
        self.demand.signing_tracks(self.held.suite)
    }

    /// Whether this track is in a token.
    pub(crate) fn is_remote(&self, alg: Algorithm) -> bool {
        alg == Algorithm::Ed25519 && self.held.is_remote()
    }

    pub(crate) fn check_wish(
        &self,
        wish: &SignRequest<'_>,
        context: SignatureContext<'_>,
    ) -> Result<()> {
        wish.payload.covered(self.key.facts.signs)?;
        if wish.produce_hybrid == Some(true) && !self.held.suite.is_hybrid() {
            let error = KmsError::unsupported("this key has one track");
            return Err(error.field("policy.produce_hybrid"));
        }
        if self.held.suite == Suite::Ed25519 {
            refuse_context(context)?;
        }
        Ok(())
    }
}

/// Prints the kid of a head where it is needed.
struct LazyKid<'a>(&'a SigningHead<'a>);

impl std::fmt::Display for LazyKid<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.kid().fmt(f)
    }
}

/// A signature did not verify right after it was made: the machine, not the caller, is at fault.
pub(crate) fn faulty() -> KmsError {
    KmsError::internal("the signature did not verify and was withheld")
}
