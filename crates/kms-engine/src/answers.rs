//! Answers as a store keeps them for their op_ids: what cannot be found again, as JSON. No secret is ever in one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kms_core::{Algorithm, DestroyAt, KeyState, Kid, KidRef, KmsError, Result, Version};
use serde::{Deserialize, Serialize};

use crate::create::{Created, PublicHalves};
use crate::dispatch::{Response, SetOrOne};
use crate::engine::Engine;
use crate::evidence::Attestation;
use crate::life_cycle::{StateChanged, own_state};
use crate::material::Signature;
use crate::rotate::Rotated;
use crate::sign::Signed;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Kept {
    Created {
        kid: String,
        audit: Option<u64>,
    },
    Rotated {
        kid: String,
        previous: String,
        active_at_unix_ms: Option<u64>,
        audit: Option<u64>,
        continuity: Option<u64>,
    },
    State {
        kid: String,
        state: String,
        at_unix_ms: Option<u64>,
        audit: Option<u64>,
    },
    Signed {
        set: bool,
        sigs: Vec<KeptSignature>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptSignature {
    kid: String,
    alg: String,
    signature: String,
    audit: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attestation: Option<KeptAttestation>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptAttestation {
    class: String,
    complete: bool,
    b3: String,
}

/// The bytes of an answer to a mutation.
///
/// # Errors
/// `Internal` for any other.
pub(crate) fn encode(response: &Response) -> Result<Vec<u8>> {
    let kept = match response {
        Response::Created(created) => {
            Kept::Created { kid: created.kid.to_string(), audit: created.audit }
        }
        Response::Rotated(rotated) => Kept::Rotated {
            kid: rotated.kid.to_string(),
            previous: rotated.previous.to_string(),
            active_at_unix_ms: rotated.active_at_unix_ms,
            audit: rotated.audit,
            continuity: rotated.continuity,
        },
        Response::StateChanged(changed) => Kept::State {
            kid: changed.kid(),
            state: changed.state.name().to_owned(),
            at_unix_ms: changed.state.destroy_at().map(|at| at.unix_ms),
            audit: changed.audit,
        },
        Response::Signed(signed, shape) => Kept::Signed {
            set: *shape == SetOrOne::Set,
            sigs: signed
                .iter()
                .map(|it| KeptSignature {
                    kid: it.kid.to_string(),
                    alg: it.alg.name().to_owned(),
                    signature: STANDARD.encode(it.signature.as_bytes()),
                    audit: it.audit,
                    attestation: it.attestation.as_ref().map(|it| KeptAttestation {
                        class: it.class.clone(),
                        complete: it.complete,
                        b3: it.b3(),
                    }),
                })
                .collect(),
        },
        _ => return Err(KmsError::internal("an answer that is not kept")),
    };
    serde_json::to_vec(&kept).map_err(|_| KmsError::internal("an answer could not be written"))
}

/// The answer of bytes that [`encode`] gave.
///
/// # Errors
/// `Internal` for other bytes.
pub(crate) fn decode(engine: &Engine, bytes: &[u8]) -> Result<Response> {
    let kept: Kept = serde_json::from_slice(bytes).map_err(|_| damaged())?;
    let kid = |text: &str| kid_of(engine, text);
    Ok(match kept {
        Kept::Created { kid: text, audit } => {
            let kid = kid(&text)?;
            let key = engine.keys.get(&kid.key.uuid).ok_or_else(damaged)?;
            let public = PublicHalves::of(key.published(kid.version)?);
            Response::Created(Created { kid, public, audit })
        }
        Kept::Rotated { kid: text, previous, active_at_unix_ms, audit, continuity } => {
            let (kid, previous) = (kid(&text)?, kid(&previous)?);
            Response::Rotated(Rotated { kid, previous, active_at_unix_ms, audit, continuity })
        }
        Kept::State { kid: text, state, at_unix_ms, audit } => {
            let parsed = KidRef::parse(&text).map_err(|_| damaged())?;
            let key = engine.keys.get(&parsed.uuid).ok_or_else(damaged)?;
            let now = own_state(&key.load(), parsed.version);
            let state = match (state.as_str(), at_unix_ms) {
                ("enabled", None) => KeyState::Enabled,
                ("disabled", None) => KeyState::Disabled,
                // The same moment on this process's clock, if it still stands.
                ("destroy_scheduled", Some(unix_ms)) => match now.destroy_at() {
                    Some(at) if at.unix_ms == unix_ms => now,
                    _ => KeyState::DestroyScheduled(DestroyAt { due_ms: 0, unix_ms }),
                },
                ("destroyed", None) => KeyState::Destroyed,
                _ => return Err(damaged()),
            };
            let (key, version) = (key.id().clone(), parsed.version);
            Response::StateChanged(StateChanged { key, version, state, audit })
        }
        Kept::Signed { set, sigs } => {
            let sigs = sigs.into_iter().map(|it| {
                let alg = Algorithm::parse(&it.alg).map_err(|_| damaged())?;
                let bytes = STANDARD.decode(&it.signature).map_err(|_| damaged())?;
                let signature = match alg {
                    Algorithm::Ed25519 => {
                        Signature::Ed25519(bytes.try_into().map_err(|_| damaged())?)
                    }
                    _ => Signature::Long(bytes),
                };
                let attestation = it.attestation.map(|it| {
                    let mut hash = [0; 32];
                    let decoded = base16ct::lower::decode(&it.b3, &mut hash).map(<[u8]>::len);
                    match decoded {
                        Ok(32) => Ok(Attestation { class: it.class, complete: it.complete, hash }),
                        _ => Err(damaged()),
                    }
                });
                let attestation = attestation.transpose()?;
                Ok(Signed { kid: kid(&it.kid)?, alg, signature, attestation, audit: it.audit })
            });
            let shape = if set { SetOrOne::Set } else { SetOrOne::One };
            Response::Signed(sigs.collect::<Result<_>>()?, shape)
        }
    })
}

fn kid_of(engine: &Engine, text: &str) -> Result<Kid> {
    let parsed = KidRef::parse(text).map_err(|_| damaged())?;
    let key = engine.keys.get(&parsed.uuid).ok_or_else(damaged)?;
    Ok(key.id().at(parsed.version.unwrap_or(Version::MIN)))
}

fn damaged() -> KmsError {
    KmsError::internal("a recorded answer is damaged")
}
