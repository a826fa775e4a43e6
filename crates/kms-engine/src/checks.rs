//! Single signatures to check, with everything about them resolved.

use std::borrow::Cow;
use std::sync::Arc;

use kms_core::{Algorithm, KmsError, Result, Version};
use kms_crypto::context::Context;
use kms_crypto::ed25519::{self, Item, KeyHandle, KeyRef, SIGNATURE_LEN, VerifyLane};
use kms_crypto::hybrid::HybridContext;
use kms_crypto::lane::Lane;
use kms_crypto::ml_dsa;
#[cfg(feature = "slh-dsa")]
use kms_crypto::slh_dsa;

use crate::key::Key;
use crate::material::PublicHalf;

/// A signature that no key verifies: its S is not below the order. Stands for one of another length.
pub(crate) const NEVER_VALID: [u8; SIGNATURE_LEN] = [0xff; SIGNATURE_LEN];

/// Who verifies.
#[derive(Clone, Copy)]
pub(crate) struct VerifyLanes {
    pub(crate) ed25519: VerifyLane,
    pub(crate) pq: Lane,
}

/// One signature, with the key of its track and the bytes that it covers.
pub(crate) struct Check<'a> {
    key: CheckKey<'a>,
    covered: Cow<'a, [u8]>,
    signature: &'a [u8],
}

enum CheckKey<'a> {
    Ed25519(Arc<KeyHandle>),
    MlDsa(Arc<ml_dsa::PublicKey>, Bound<'a>),
    #[cfg(feature = "slh-dsa")]
    SlhDsa(Arc<slh_dsa::PublicKey>, Context<'a>),
}

/// The context of an ML-DSA signature: the caller's, or what binds a half of a hybrid one.
enum Bound<'a> {
    Alone(Context<'a>),
    Hybrid(HybridContext),
}

impl Bound<'_> {
    fn as_context(&self) -> Context<'_> {
        match self {
            Bound::Alone(context) => *context,
            Bound::Hybrid(context) => context.as_context(),
        }
    }
}

impl<'a> Check<'a> {
    /// A check of one track of a version.
    ///
    /// # Errors
    /// `BadRequest`, field `alg`, if the version has no such track; `Unsupported`, field `context`, for a context
    /// where the algorithm has none.
    pub(crate) fn new(
        key: &Key,
        version: Version,
        alg: Algorithm,
        covered: Cow<'a, [u8]>,
        context: Context<'a>,
        signature: &'a [u8],
    ) -> Result<Check<'a>> {
        let public = &key.published(version)?.public;
        let key = match (public, alg) {
            (PublicHalf::Ed25519(key), Algorithm::Ed25519) => {
                refuse_context(context)?;
                CheckKey::Ed25519(Arc::clone(key))
            }
            (PublicHalf::Hybrid { ed25519, .. }, Algorithm::Ed25519) => {
                CheckKey::Ed25519(Arc::clone(ed25519))
            }
            (PublicHalf::Hybrid { ml_dsa, .. }, Algorithm::MlDsa65) => {
                let kid = key.id().at(version);
                let bound = public.hybrid_context(&kid, context).ok_or_else(no_such_track)?;
                CheckKey::MlDsa(Arc::clone(ml_dsa), Bound::Hybrid(bound))
            }
            (PublicHalf::MlDsa(key), alg) if alg.family() == "ml-dsa" => {
                CheckKey::MlDsa(Arc::clone(key), Bound::Alone(context))
            }
            #[cfg(feature = "slh-dsa")]
            (PublicHalf::SlhDsa(key), alg) if alg.family() == "slh-dsa" => {
                CheckKey::SlhDsa(Arc::clone(key), context)
            }
            _ => return Err(no_such_track()),
        };
        Ok(Check { key, covered, signature })
    }

    /// The verdict on this signature alone.
    pub(crate) fn verdict(&self, lanes: VerifyLanes) -> bool {
        match &self.key {
            CheckKey::Ed25519(_) => self.item().is_some_and(|item| {
                ed25519::verify(lanes.ed25519, item.key, item.message, item.signature)
            }),
            CheckKey::MlDsa(key, context) => {
                let context = context.as_context();
                ml_dsa::verify(lanes.pq, key, &self.covered, context, self.signature)
            }
            #[cfg(feature = "slh-dsa")]
            CheckKey::SlhDsa(key, context) => {
                slh_dsa::verify(key, &self.covered, *context, self.signature)
            }
        }
    }

    fn item(&self) -> Option<Item<'_>> {
        let CheckKey::Ed25519(key) = &self.key else { return None };
        let signature = self.signature.try_into().unwrap_or(&NEVER_VALID);
        Some(Item { key: KeyRef::Handle(key), message: &self.covered, signature })
    }
}

/// The verdict on each signature; Ed25519's side by side.
pub(crate) fn verdicts(lanes: VerifyLanes, checks: &[Check<'_>]) -> Vec<bool> {
    if let [check] = checks {
        return vec![check.verdict(lanes)];
    }
    let items: Vec<Item<'_>> = checks.iter().filter_map(Check::item).collect();
    let mut side_by_side = vec![0; items.len()];
    ed25519::verify_batch(lanes.ed25519, &items, &mut side_by_side);
    let mut next = side_by_side.into_iter();
    let verdict = |check: &Check<'_>| match check.key {
        CheckKey::Ed25519(_) => next.next() == Some(1),
        _ => check.verdict(lanes),
    };
    checks.iter().map(verdict).collect()
}

/// Refuses a context where the algorithm has none.
///
/// # Errors
/// `Unsupported`, field `context`.
pub(crate) fn refuse_context(context: Context<'_>) -> Result<()> {
    if context.as_bytes().is_empty() {
        return Ok(());
    }
    Err(KmsError::unsupported("an Ed25519 key has no context").field("context"))
}

fn no_such_track() -> KmsError {
    KmsError::bad_request("this version has no key of this algorithm").field("alg")
}
