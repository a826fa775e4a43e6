//! Checks the signatures with which old versions of keys vouch for new ones, whatever the algorithms.

use kms_core::{Algorithm, KidRef, Track};
use kms_crypto::context::Context;
use kms_crypto::ed25519::{self, KeyRef, VerifyLane};
use kms_crypto::hybrid::HybridContext;
use kms_crypto::lane::Lane;
use kms_crypto::{ml_dsa, slh_dsa};

/// Whether every track of `from` signed the statement; `None` for tracks that this build does not know.
pub(super) fn verify(
    from: KidRef<'_>,
    public: &[Track<'_>],
    statement: &[u8],
    signatures: &[Track<'_>],
) -> Option<bool> {
    let algs = |tracks: &[Track<'_>]| {
        tracks.iter().map(|track| Algorithm::parse(track.alg).ok()).collect::<Option<Vec<_>>>()
    };
    let (keys, signers) = (algs(public)?, algs(signatures)?);
    // The kid names the first track, and nobody is left out.
    if keys != signers || keys.first() != Some(&from.alg) {
        return Some(false);
    }
    match (&keys[..], public, signatures) {
        ([Algorithm::Ed25519], [key], [signature]) => Some(ed25519(key, statement, signature)),
        ([Algorithm::Ed25519, Algorithm::MlDsa65], [classical, pq], [first, second]) => {
            let bound = classical.bytes.try_into().ok().and_then(|ed25519| {
                let pq = ml_dsa::PublicKey::from_bytes(ml_dsa::Set::MlDsa65, pq.bytes).ok()?;
                Some(HybridContext::new(&from.to_string(), ed25519, &pq, Context::EMPTY))
            });
            Some(bound.is_some_and(|bound| {
                ed25519(classical, statement, first)
                    && ml_dsa(Algorithm::MlDsa65, pq, statement, bound.as_context(), second)
            }))
        }
        ([alg], [key], [signature]) => match alg.family() {
            "ml-dsa" => Some(ml_dsa(*alg, key, statement, Context::EMPTY, signature)),
            "slh-dsa" => Some(slh_dsa(*alg, key, statement, signature)),
            // Keys that wrap sign nothing.
            _ => Some(false),
        },
        _ => None,
    }
}

fn ed25519(key: &Track<'_>, message: &[u8], signature: &Track<'_>) -> bool {
    match (key.bytes.try_into(), signature.bytes.try_into()) {
        (Ok(key), Ok(signature)) => {
            ed25519::verify(VerifyLane::Auto, KeyRef::Bytes(key), message, signature)
        }
        _ => false,
    }
}

fn ml_dsa(
    alg: Algorithm,
    key: &Track<'_>,
    message: &[u8],
    context: Context<'_>,
    signature: &Track<'_>,
) -> bool {
    let set = match alg {
        Algorithm::MlDsa44 => ml_dsa::Set::MlDsa44,
        Algorithm::MlDsa87 => ml_dsa::Set::MlDsa87,
        _ => ml_dsa::Set::MlDsa65,
    };
    ml_dsa::PublicKey::from_bytes(set, key.bytes)
        .is_ok_and(|key| ml_dsa::verify(Lane::Auto, &key, message, context, signature.bytes))
}

fn slh_dsa(alg: Algorithm, key: &Track<'_>, message: &[u8], signature: &Track<'_>) -> bool {
    // The default set goes by the name of the family.
    let set = match alg {
        Algorithm::SlhDsaSha2_128s => Ok(slh_dsa::Set::Sha2_128s),
        alg => slh_dsa::Set::parse(alg.name()),
    };
    set.and_then(|set| slh_dsa::PublicKey::from_bytes(set, key.bytes))
        .is_ok_and(|key| slh_dsa::verify(&key, message, Context::EMPTY, signature.bytes))
}
