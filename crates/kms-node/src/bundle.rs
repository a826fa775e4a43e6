//! Bundles: all signatures of a key, which a hybrid one has two of.

use std::borrow::Cow;
use std::sync::Arc;

use kms_core::{Algorithm, Context, Result};
use kms_engine::{
    Engine, Mode, Payload, SignRequest, SignatureEntry, Signed, Target, VerifyRequest,
};
use napi::Env;
use napi::bindgen_prelude::{Object, Uint8Array, Uint8ArraySlice};
use napi_derive::napi;

use crate::bytes;
use crate::kms::NativeKms;
use crate::task::{Signing, guard, spawn_signing};

/// One signature of a bundle.
#[napi(object)]
pub struct BundleSignature {
    /// The name of its algorithm.
    pub alg: String,
    /// The signature.
    pub signature: Uint8Array,
}

/// The signatures of one key over one message.
#[napi(object)]
pub struct Bundle {
    /// The version that signed.
    pub kid: String,
    /// The classical one first.
    pub sigs: Vec<BundleSignature>,
    /// What is known of where the key is, where a token has said something of it.
    pub attestation: Option<BundleAttestation>,
    /// Where the signing is recorded, where it is.
    pub audit: Option<AuditPosition>,
}

/// What is said of a key's custody with its signatures; `attest` has it in full.
#[napi(object)]
pub struct BundleAttestation {
    /// The class of custody, of the weakest half.
    pub class: String,
    /// Whether the token says that the key was made there and can never leave.
    pub complete: bool,
    /// BLAKE3-256 of the evidence, in hex.
    pub b3: String,
}

/// A place in an audit log.
#[napi(object)]
pub struct AuditPosition {
    /// The log's name.
    pub log: String,
    /// The index of the leaf, from 0.
    pub index: f64,
}

/// The verdict on a bundle.
#[napi(object)]
pub struct BundleVerdict {
    /// Whether what policy asks for holds.
    pub ok: bool,
    /// The algorithms that were checked.
    pub checked: Vec<String>,
    /// `or`, `and` or `pq_only`: what was asked for, where it holds.
    pub satisfied_mode: Option<String>,
}

#[napi]
impl NativeKms {
    /// Signs with every track that policy asks for. `context` is FIPS 204's, at most 255 bytes. Where `produceHybrid` is
    /// true both tracks of a hybrid key sign in any case.
    #[napi]
    pub fn sign_bundle(
        &self,
        kid: String,
        produce_hybrid: bool,
        message: Uint8ArraySlice<'_>,
        context: Uint8ArraySlice<'_>,
    ) -> napi::Result<Bundle> {
        guard("signBundle", || {
            // The message is read more than once: it must be the same each time.
            let wish = Wish {
                kid,
                produce_hybrid,
                message: bytes::owned(&message),
                context: bytes::owned(&context),
            };
            self.engine.check_need_not_wait()?;
            self.engine.check_at_hand(&wish.kid)?;
            let signed = wish.sign(&self.engine, &self.library)?;
            Ok(bundle(signed, self.engine.log()))
        })
    }

    /// As `signBundle`, on the service's threads; the inputs are copied before this returns.
    #[napi(ts_return_type = "Promise<Bundle>")]
    pub fn sign_bundle_async<'env>(
        &self,
        env: &'env Env,
        kid: String,
        produce_hybrid: bool,
        message: Uint8ArraySlice<'_>,
        context: Uint8ArraySlice<'_>,
    ) -> napi::Result<Object<'env>> {
        guard("signBundleAsync", || Ok(()))?;
        let (message, context) = (bytes::owned(&message), bytes::owned(&context));
        let wish = Arc::new(Wish { kid, produce_hybrid, message, context });
        let again = Arc::clone(&wish);
        let signing = Signing {
            context: self.library.clone(),
            needs: move |engine: &Engine, caller: &Context| -> Result<_> {
                Ok(engine.needs(caller, &again.request()))
            },
            work: move |engine: &Engine, caller: &Context| -> Result<_> {
                wish.sign(engine, caller)
            },
            is_short: true,
            times: None,
        };
        let named = Arc::clone(&self.engine);
        spawn_signing(env, &self.engine, "signBundleAsync.task", signing, move |_, signed| {
            Ok(bundle(signed, named.log()))
        })
    }

    /// The verdict on the signatures of one key over one message. `mode` may ask for more than policy does.
    ///
    /// The signatures must be arrays and objects that only the caller in TypeScript holds: their buffers are read after
    /// all of them were converted.
    #[napi]
    pub fn verify_bundle(
        &self,
        kid: String,
        sigs: Vec<BundleSignature>,
        mode: Option<String>,
        message: Uint8ArraySlice<'_>,
        context: Uint8ArraySlice<'_>,
    ) -> napi::Result<BundleVerdict> {
        guard("verifyBundle", || {
            let sigs = sigs.into_iter().enumerate().map(|(i, sig)| {
                let alg = Algorithm::parse(&sig.alg)
                    .map_err(|error| error.within(&format!("sigs[{i}]")))?;
                Ok(SignatureEntry { alg, signature: sig.signature.as_ref().into(), kid: None })
            });
            let message = bytes::owned(&message);
            let wish = VerifyRequest {
                kid: Some(kid.into()),
                payload: Payload::Local(&message),
                context: bytes::owned(&context),
                sigs: sigs.collect::<Result<_>>()?,
                mode: mode.map(|mode| Mode::parse(&mode)).transpose()?,
            };
            let verified = self.engine.verify(&self.library, &wish)?;
            let halves = wish.sigs.iter().map(|sig| &sig.signature[..]);
            let input: Vec<&[u8]> = std::iter::once(&message[..]).chain(halves).collect();
            self.engine.audit_verified(&self.library, verified.ok, &input);
            Ok(BundleVerdict {
                ok: verified.ok,
                checked: verified.checked.iter().map(|alg| alg.name().to_owned()).collect(),
                satisfied_mode: verified.satisfied_mode.map(|mode| mode.name().to_owned()),
            })
        })
    }
}

/// What is asked of `signBundle`.
struct Wish {
    kid: String,
    produce_hybrid: bool,
    message: Vec<u8>,
    context: Vec<u8>,
}

impl Wish {
    fn request(&self) -> SignRequest<'_> {
        SignRequest {
            target: Target::Kid(self.kid.clone()),
            payload: Payload::Local(&self.message),
            context: self.context.clone(),
            produce_hybrid: self.produce_hybrid.then_some(true),
        }
    }

    fn sign(&self, engine: &Engine, library: &Context) -> Result<Vec<Signed>> {
        engine.sign(library, &self.request())
    }
}

fn bundle(signed: Vec<Signed>, log: Option<&str>) -> Bundle {
    let index = signed.first().and_then(|it| it.audit);
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let audit =
        log.zip(index).map(|(log, index)| AuditPosition { log: log.into(), index: index as f64 });
    let kid = signed.first().map_or_else(String::new, |it| it.kid.to_string());
    let attestation = signed.first().and_then(|it| it.attestation.as_ref());
    let attestation = attestation.map(|it| BundleAttestation {
        class: it.class.clone(),
        complete: it.complete,
        b3: it.b3(),
    });
    let sigs = signed.into_iter().map(|it| BundleSignature {
        alg: it.alg.name().to_owned(),
        signature: Cow::Borrowed(it.signature.as_bytes()).into_owned().into(),
    });
    Bundle { kid, sigs: sigs.collect(), attestation, audit }
}
