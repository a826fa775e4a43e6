//! Capabilities: who is let in, and what they may do then.

mod grants;
mod tokens;

use std::cell::RefCell;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kms_capability::verifier::bearer;
use kms_capability::{Admission, Ceilings, Refusal, RootKeys, Verifier, VerifierConfig, mint};
use kms_core::{Entropy, KmsError, OsEntropy, Result, Scopes, SecretBytes, SystemClock};
use napi_derive::napi;
use zeroize::Zeroize;

pub use self::grants::NativeGrant;
pub(crate) use self::grants::find;
use crate::kms::NativeKms;
use crate::shared::Offers;
use crate::store::{read_secret, read_variable};
use crate::task::guard;

/// How capabilities are verified and minted.
#[napi(object)]
#[derive(Clone)]
pub struct CapabilityOptions {
    /// The file of the root keys; without it and without `rootKeyEnv` there is a fresh one in memory.
    pub root_key_file: Option<String>,
    /// The environment variable that holds them instead.
    pub root_key_env: Option<String>,
    /// The list of revoked capabilities.
    pub revocation_file: Option<String>,
    /// How far a clock may be off, in milliseconds.
    pub skew_ms: u32,
    /// Requests a second of one capability, with all that was attenuated from it; no ceiling by default.
    pub max_rps: Option<u32>,
    /// Whether `kms:read` also verifies.
    pub read_may_verify: Option<bool>,
    /// Capabilities that may be minted on line in a minute, for each tenant.
    pub mint_per_minute: Option<u32>,
    /// Capabilities minted on line that may be active, for each tenant.
    pub max_active: Option<u32>,
    /// The longest life of one that is minted on line, in seconds.
    pub max_life_s: Option<u32>,
}

/// A capability that was minted. The token is a secret.
#[napi(object)]
pub struct MintedToken {
    /// What its holder sends.
    pub token: String,
    /// What the list of revoked capabilities names it by.
    pub id: String,
    /// Who it is, in audit records.
    pub identifier: String,
    /// Until when, in Unix seconds.
    pub exp: f64,
}

/// What all threads share of a verifier of capabilities.
struct Shared {
    verifier: Arc<Verifier>,
    root_key_file: Option<PathBuf>,
    root_key_env: Option<String>,
    /// For `mint`, which an operator calls.
    roots: Mutex<RootKeys>,
}

impl Shared {
    fn roots(&self) -> MutexGuard<'_, RootKeys> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static OFFERS: Offers<Shared> = Offers::new();

/// Verifies capabilities. The root keys stay in native memory.
#[napi]
pub struct NativeCapabilities {
    shared: Arc<Shared>,
    /// Whom `authenticate` let in last. Used on the JS thread only.
    last: RefCell<Option<Admission>>,
}

/// The verifier of another thread, by a handle of `NativeCapabilities.share`. Throws `NotFound` for a handle that was used,
/// or whose verifier is gone.
#[napi]
pub fn attach_capabilities(handle: String) -> napi::Result<NativeCapabilities> {
    guard("attachCapabilities", || {
        Ok(NativeCapabilities { shared: OFFERS.take(&handle)?, last: RefCell::default() })
    })
}

#[napi]
impl NativeCapabilities {
    /// Reads the root keys and the list of revoked capabilities.
    #[napi(constructor)]
    pub fn new(options: CapabilityOptions) -> napi::Result<Self> {
        guard("NativeCapabilities", || {
            let (file, env) = (options.root_key_file.map(PathBuf::from), options.root_key_env);
            let content = read_roots(file.as_deref(), env.as_deref())?;
            let defaults = Ceilings::default();
            let config = VerifierConfig {
                skew_ms: options.skew_ms.into(),
                max_rps: options.max_rps,
                read_may_verify: options.read_may_verify.unwrap_or(false),
                revocations: options.revocation_file.map(PathBuf::from),
                ceilings: Ceilings {
                    per_minute: options.mint_per_minute.unwrap_or(defaults.per_minute),
                    active: options.max_active.unwrap_or(defaults.active),
                    max_life_s: options.max_life_s.map_or(defaults.max_life_s, u64::from),
                },
                clock: Arc::new(SystemClock::new()),
                entropy: Arc::new(OsEntropy),
            };
            let verifier = Arc::new(Verifier::new(RootKeys::parse(&content)?, config)?);
            let shared = Shared {
                verifier,
                root_key_file: file,
                root_key_env: env,
                roots: Mutex::new(RootKeys::parse(&content)?),
            };
            Ok(NativeCapabilities { shared: Arc::new(shared), last: RefCell::default() })
        })
    }

    /// A handle by which one other thread of this process can verify with this, once: with the same root keys, revocations,
    /// rates and ceilings.
    #[napi]
    pub fn share(&self) -> napi::Result<String> {
        guard("NativeCapabilities.share", || OFFERS.offer(&self.shared))
    }

    /// Reads the root keys again. What was minted with one that is gone is refused from now on; a file that cannot be read
    /// leaves the keys that were in force.
    #[napi]
    pub fn reload(&self) -> napi::Result<()> {
        guard("NativeCapabilities.reload", || {
            let Shared { root_key_file: file, root_key_env: env, .. } = &*self.shared;
            if file.is_none() && env.is_none() {
                return Ok(());
            }
            let content = read_roots(file.as_deref(), env.as_deref())?;
            let roots = RootKeys::parse(&content)?;
            *self.shared.roots() = RootKeys::parse(&content)?;
            self.shared.verifier.set_roots(roots);
            Ok(())
        })
    }

    /// Lets the bearer of an `Authorization` header in, for what needs all of some scopes (bits, in the order of
    /// `capabilityScopes`), from the address of the peer where there is one. A number from 1 up, the same for the same
    /// token as long as it is remembered; or, below 0, why not: -1 is the first reason of `capabilityRefusals`.
    ///
    /// A refusal is no exception, which would cost more than the check.
    #[napi]
    pub fn authenticate(
        &self,
        authorization: Option<String>,
        peer: Option<String>,
        scopes: u32,
    ) -> napi::Result<f64> {
        guard("NativeCapabilities.authenticate", || {
            let needed = u16::try_from(scopes).ok().and_then(Scopes::from_bits);
            let needed =
                needed.ok_or_else(|| KmsError::bad_request("no scopes").field("scopes"))?;
            let admitted = match authorization.as_deref().map(bearer) {
                None => Err(Refusal::Missing),
                Some(None) => Err(Refusal::Invalid),
                Some(Some(token)) => {
                    let peer = peer.and_then(|peer| peer.parse::<IpAddr>().ok());
                    self.shared.verifier.admit(token, peer, needed)
                }
            };
            Ok(match admitted {
                Ok(admission) => {
                    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
                    let number = admission.number as f64;
                    self.last.replace(Some(admission));
                    number
                }
                Err(refusal) => -1.0 - f64::from(refusal as u8),
            })
        })
    }

    /// What was granted to whom `authenticate` let in last.
    #[napi]
    pub fn granted(&self) -> napi::Result<NativeGrant> {
        guard("NativeCapabilities.granted", || {
            let last = self.last.borrow();
            let admission = last.as_ref().ok_or_else(|| KmsError::internal("nobody was let in"))?;
            Ok(grants::keep(&admission.grant, &self.shared.verifier))
        })
    }

    /// Mints a capability with the newest root key.
    #[napi]
    pub fn mint(&self, name: String, caveats: Vec<String>) -> napi::Result<MintedToken> {
        guard("NativeCapabilities.mint", || {
            let (clock, roots) = (SystemClock::new(), self.shared.roots());
            let minted = mint::mint(&roots, &name, &caveats, &clock, &OsEntropy)?;
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let exp = minted.grant.exp() as f64;
            let id = minted.grant.rights.ids.first().map(ToString::to_string).unwrap_or_default();
            let identifier = minted.grant.identifier.clone().into();
            Ok(MintedToken { token: minted.token, id, identifier, exp })
        })
    }
}

#[napi]
impl NativeKms {
    /// Mints capabilities on line with these root keys from now on.
    #[napi]
    pub fn mint_with(&self, capabilities: &NativeCapabilities) -> napi::Result<()> {
        guard("mintWith", || {
            self.engine.mint_with(Arc::clone(&capabilities.shared.verifier));
            Ok(())
        })
    }
}

fn read_roots(file: Option<&Path>, env: Option<&str>) -> Result<SecretBytes> {
    match (file, env) {
        (Some(file), None) => {
            read_secret(file).map_err(|error| error.field("capability.root_key_file"))
        }
        (None, Some(name)) => {
            read_variable(name).map_err(|error| error.field("capability.root_key_env"))
        }
        (Some(_), Some(_)) => {
            let why = "excludes capability.root_key_file";
            Err(KmsError::bad_request(why).field("capability.root_key_env"))
        }
        (None, None) => fresh_root(),
    }
}

/// A key that is never written, in the form of a file.
fn fresh_root() -> Result<SecretBytes> {
    let mut key = [0u8; 32];
    OsEntropy.fill(&mut key)?;
    let digits = SecretBytes::fill(64, |out| {
        for (pair, byte) in out.chunks_exact_mut(2).zip(key) {
            let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
    });
    key.zeroize();
    Ok(digits)
}
