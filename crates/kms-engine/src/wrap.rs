//! Wrapping data keys: under the head, and unwrapping what any version wrapped.

use std::fmt;
use std::time::Instant;

use kms_core::{Context, ErrorCode, Kid, KidRef, KmsError, Result, SecretBytes};
use kms_crypto::hpke::{Apart, Kem, PublicKey};
use kms_crypto::wrap::{self, Envelope, Mode as EnvelopeMode};

use crate::engine::{Engine, Trace};
use crate::key::Key;
use crate::known::KnownKid;
use crate::life_cycle::Use;
use crate::material::{PublicHalf, SecretHalf};
use crate::op::Op;
use crate::suite::Suite;

/// Longest data key that the service generates, in bytes.
pub const MAX_GENERATED_LEN: usize = 512;

/// The KEM of a key, as callers name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KemMode {
    /// X25519.
    Classical,
    /// ML-KEM.
    Pq,
    /// X-Wing: both.
    Hybrid,
}

impl KemMode {
    /// The name in `kem_mode`.
    pub const fn name(self) -> &'static str {
        match self {
            KemMode::Classical => "classical",
            KemMode::Pq => "pq",
            KemMode::Hybrid => "hybrid",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// `BadRequest`, field `kem_mode`.
    pub fn parse(name: &str) -> Result<KemMode> {
        [KemMode::Classical, KemMode::Pq, KemMode::Hybrid]
            .into_iter()
            .find(|mode| mode.name() == name)
            .ok_or_else(|| {
                KmsError::bad_request("must be `classical`, `pq` or `hybrid`").field("kem_mode")
            })
    }

    const fn of(kem: Kem) -> KemMode {
        match kem {
            Kem::X25519 => KemMode::Classical,
            Kem::MlKem(_) => KemMode::Pq,
            Kem::XWing => KemMode::Hybrid,
        }
    }
}

/// What is wrapped.
#[derive(Clone, Copy)]
pub enum DataKey<'a> {
    /// The caller's, of 1 to 4,096 bytes.
    Given(&'a [u8]),
    /// Made here, of 1 to 512 bytes.
    Fresh(usize),
}

/// A data key in an envelope.
pub struct Wrapped {
    /// The version that it is for.
    pub kid: Kid,
    /// `x25519`, `ml-kem`, or `hybrid`.
    pub alg: &'static str,
    /// The envelope.
    pub envelope: Vec<u8>,
    /// The data key that was made here, for callers that asked for it.
    pub fresh: Option<SecretBytes>,
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wrapped")
            .field("kid", &self.kid)
            .field("alg", &self.alg)
            .finish_non_exhaustive()
    }
}

/// A data key out of its envelope.
pub struct Unwrapped {
    /// The version that it was for.
    pub kid: Kid,
    /// As in [`Wrapped`].
    pub alg: &'static str,
    /// The data key.
    pub data_key: SecretBytes,
}

impl fmt::Debug for Unwrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unwrapped").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Engine {
    /// Wraps a data key under the head of a key.
    ///
    /// # Errors
    /// `NotFound`; `BadRequest` for a data key that does not fit; `Conflict` for a version that is not the head, or is
    /// not in use;
    /// `Unsupported` for a key that signs, and for a `kem_mode` that is not the key's.
    pub fn wrap(
        &self,
        context: &Context,
        kid: &str,
        data_key: DataKey<'_>,
        kem_mode: Option<KemMode>,
    ) -> Result<Wrapped> {
        self.run(Op::Wrap, context, |trace| {
            let kid = self.know(context, kid)?;
            let head = self.wrapping_head(&kid, trace)?;
            if kem_mode.is_some_and(|wanted| wanted != KemMode::of(head.public.kem())) {
                let error = KmsError::unsupported("differs from the one of this key");
                return Err(error.field("kem_mode"));
            }
            let fresh = match data_key {
                DataKey::Given(_) => None,
                DataKey::Fresh(size) => Some(self.fresh_data_key(size)?),
            };
            let bytes = match (&fresh, data_key) {
                (Some(fresh), _) => fresh.expose(),
                (None, DataKey::Given(bytes)) => bytes,
                (None, DataKey::Fresh(_)) => &[],
            };
            let envelope = self.seal(&kid.key, &head, bytes)?;
            let HeadToWrap { kid: used, alg, .. } = head;
            self.end_use(Op::Wrap, context, &kid.key, used.version, &envelope)?;
            Ok(Wrapped { kid: used, alg, envelope, fresh })
        })
    }

    /// Unwraps a data key. Where a kid is given, the envelope must be for that key, and for that version if it
    /// names one.
    ///
    /// # Errors
    /// `NotFound` and `BadRequest` for the kid that is given. Every failure of the envelope is one `BadRequest`,
    /// field `wrapped_b64`, be it malformed, forged, for another key or for one that the caller may not know of.
    /// `Conflict`, field `kid`, for a version that is not in use.
    pub fn unwrap(
        &self,
        context: &Context,
        kid: Option<&str>,
        envelope: &[u8],
    ) -> Result<Unwrapped> {
        self.run(Op::Unwrap, context, |trace| {
            let given = kid.map(|kid| self.know(context, kid)).transpose()?;
            let (known, data_key) = self.open(context, given.as_ref(), envelope, trace)?;
            let kid = known.kid();
            self.end_use(Op::Unwrap, context, &known.known.key, kid.version, envelope)?;
            Ok(Unwrapped { kid, alg: alg_name(known.held.suite), data_key })
        })
    }

    /// Wraps what is in an envelope anew, under the head of the same key; the data key stays here.
    ///
    /// # Errors
    /// As [`Engine::unwrap`].
    pub fn rewrap(&self, context: &Context, kid: Option<&str>, envelope: &[u8]) -> Result<Wrapped> {
        self.run(Op::Rewrap, context, |trace| {
            let given = kid.map(|kid| self.know(context, kid)).transpose()?;
            let (opened, data_key) = self.open(context, given.as_ref(), envelope, trace)?;
            let from = opened.kid().version;
            let known = KnownKid { key: opened.known.key, version: None };
            let head = self.wrapping_head(&known, trace)?;
            let envelope = self.seal(&known.key, &head, data_key.expose())?;
            let HeadToWrap { kid, alg, .. } = head;
            let (key, version, opened) = (&*known.key, kid.version, Some(from));
            self.end_uses(Op::Rewrap, context, &[Use { key, version, opened, input: &envelope }])?;
            Ok(Wrapped { kid, alg, envelope, fresh: None })
        })
    }

    fn fresh_data_key(&self, size: usize) -> Result<SecretBytes> {
        if !(1..=MAX_GENERATED_LEN).contains(&size) {
            return Err(KmsError::bad_request("must be from 1 to 512").field("size"));
        }
        let mut drawn = Ok(());
        let fresh = SecretBytes::fill(size, |out| drawn = self.config.entropy.fill(out));
        drawn.map(|()| fresh)
    }

    fn wrapping_head<'a>(&self, kid: &'a KnownKid, trace: &mut Trace) -> Result<HeadToWrap<'a>> {
        let key = &kid.key;
        trace.key = Some(std::sync::Arc::clone(key));
        key.check_sound()?;
        let head = self.head_of(key)?;
        if kid.version.is_some_and(|version| version > head.newest) {
            return Err(KmsError::not_found());
        }
        if kid.version.is_some_and(|version| version != head.active) {
            return Err(KmsError::conflict("only the head of a key wraps").field("kid"));
        }
        let held = key.published(head.active)?;
        trace.alg = held.suite.label();
        self.check_enabled(key, &head, head.active)?;
        self.check_authority(held)?;
        let PublicHalf::Kem(public) = &held.public else { return Err(signs()) };
        let kid = key.id().at(head.active);
        Ok(HeadToWrap { kid, public, alg: alg_name(held.suite) })
    }

    fn seal(&self, key: &Key, head: &HeadToWrap<'_>, data_key: &[u8]) -> Result<Vec<u8>> {
        let aead = key.facts.policy.aead;
        let (kid, entropy) = (head.kid.to_string(), &*self.config.entropy);
        let seal = |secret: &SecretHalf| {
            let psk = secret.psk()?;
            let lane = self.config.pq_lane;
            wrap::seal(lane, head.public, aead, &kid, Some(psk), data_key, entropy)
        };
        let sealed = self.with_secret(key, head.kid.version, seal)?;
        sealed.map_err(|error| match error.field.as_deref() {
            Some("dataKey") => error.field("plaintext_key_b64"),
            _ => error,
        })
    }

    /// Opens an envelope with the version that it names.
    fn open(
        &self,
        context: &Context,
        given: Option<&KnownKid>,
        envelope: &[u8],
        trace: &mut Trace,
    ) -> Result<(Opened, SecretBytes)> {
        trace.key = given.map(|given| std::sync::Arc::clone(&given.key));
        let parsed = Envelope::parse(envelope).map_err(unopened)?;
        let fits = |known: &KnownKid| match given {
            Some(given) => {
                std::sync::Arc::ptr_eq(&given.key, &known.key)
                    && given.version.is_none_or(|version| known.version == Some(version))
            }
            None => true,
        };
        let known = KidRef::parse(parsed.kid)
            .ok()
            .and_then(|kid| kid.version)
            .and_then(|_| self.know(context, parsed.kid).ok())
            .filter(fits)
            .ok_or_else(does_not_open)?;
        trace.key = Some(std::sync::Arc::clone(&known.key));
        known.key.check_sound()?;
        // Whoever may know of a key may know that it is not in use.
        let held = self.version_of(&known).map_err(|error| match error.code {
            ErrorCode::Conflict => error,
            _ => does_not_open(),
        })?;
        trace.alg = held.suite.label();
        if !held.suite.wraps() {
            return Err(does_not_open());
        }
        let outside = known.key.facts.policy.wrap_outside && parsed.mode == EnvelopeMode::Base;
        let version = known.version.ok_or_else(does_not_open)?;
        let PublicHalf::Kem(public) = &held.public else { return Err(does_not_open()) };
        let aead = known.key.facts.policy.aead;
        let started = Instant::now();
        // What the token says is not about the envelope: it is told as it is.
        let agreed = match held.is_remote() {
            false => None,
            true => {
                let point = wrap::point_of(public, aead, parsed.kid, !outside, envelope);
                let kid = known.key.id().at(version);
                Some(self.agree_in_token(context, &kid, &point.map_err(unopened)?)?)
            }
        };
        let open = |secret: &SecretHalf| {
            let psk = (!outside).then_some(secret.psk()?);
            let shared = match (&agreed, secret.kem()) {
                (Some(agreed), ml_kem) => {
                    let apart = Apart { public, ml_kem, agreed };
                    wrap::decapsulate(&apart, aead, parsed.kid, psk, envelope)?
                }
                (None, Some(private)) => {
                    wrap::decapsulate(private, aead, parsed.kid, psk, envelope)?
                }
                (None, None) => return Err(does_not_open()),
            };
            self.counters.decapsulated(held.suite.label(), started.elapsed());
            shared.decrypt()
        };
        let data_key = self.with_secret(&known.key, version, open)?.map_err(unopened)?;
        let held = HeldSuite { suite: held.suite };
        Ok((Opened { known, held }, data_key))
    }
}

/// The version that wraps.
struct HeadToWrap<'a> {
    kid: Kid,
    public: &'a PublicKey,
    alg: &'static str,
}

/// The version that opened an envelope.
struct Opened {
    known: KnownKid,
    held: HeldSuite,
}

struct HeldSuite {
    suite: Suite,
}

impl Opened {
    fn kid(&self) -> Kid {
        let version = self.known.version.unwrap_or(kms_core::Version::MIN);
        self.known.key.id().at(version)
    }
}

fn alg_name(suite: Suite) -> &'static str {
    if suite.is_hybrid() { "hybrid" } else { suite.named_by().name() }
}

fn signs() -> KmsError {
    KmsError::unsupported("this key signs, and does not wrap").field("kid")
}

/// The one error of every failure to open.
fn does_not_open() -> KmsError {
    KmsError::bad_request("the envelope does not open").field("wrapped_b64")
}

fn unopened(_: KmsError) -> KmsError {
    does_not_open()
}
