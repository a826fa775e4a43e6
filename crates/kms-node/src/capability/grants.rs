//! Grants by number: a context names its grant by number, since an object a call would cost more than the look-up.
//!
//! A number is never used again, so one that outlived its grant finds nothing.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use kms_capability::{Grant, Refusal, Verifier};
use kms_core::{ErrorCode, KidRef, KmsError, Result};
use napi_derive::napi;

use crate::task::guard;

#[derive(Default)]
struct Kept {
    grants: HashMap<u64, (Arc<Grant>, Arc<Verifier>)>,
    given: u64,
}

static KEPT: RwLock<Option<Kept>> = RwLock::new(None);

/// What a capability grants. Its number is good for as long as this object is there.
#[napi]
pub struct NativeGrant {
    number: u64,
    grant: Arc<Grant>,
}

#[napi]
impl NativeGrant {
    /// What contexts name it by.
    #[napi(getter)]
    pub fn number(&self) -> napi::Result<f64> {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        guard("NativeGrant.number", || Ok(self.number as f64))
    }

    /// Who it is, for the audit record.
    #[napi(getter)]
    pub fn actor(&self) -> napi::Result<String> {
        guard("NativeGrant.actor", || Ok(self.grant.identifier.to_string()))
    }

    /// The one tenant that it is for, if there is one only.
    #[napi(getter)]
    pub fn tenant(&self) -> napi::Result<Option<String>> {
        guard("NativeGrant.tenant", || Ok(self.grant.rights.tenants.only().map(str::to_owned)))
    }

    /// Whether it covers a key with all of its versions; false for what is no kid, and where it is for named payloads
    /// only.
    #[napi]
    pub fn covers_key(&self, kid: String) -> napi::Result<bool> {
        guard("NativeGrant.coversKey", || {
            let rights = &self.grant.rights;
            let covers = KidRef::parse(&kid).and_then(|kid| rights.permit_key(&kid));
            Ok(covers.is_ok() && rights.permit_without_payload().is_ok())
        })
    }
}

impl Drop for NativeGrant {
    fn drop(&mut self) {
        let mut kept = KEPT.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &mut *kept {
            kept.grants.remove(&self.number);
        }
    }
}

/// Gives a grant a number.
pub(super) fn keep(grant: &Arc<Grant>, verifier: &Arc<Verifier>) -> NativeGrant {
    let mut kept = KEPT.write().unwrap_or_else(PoisonError::into_inner);
    let kept = kept.get_or_insert_default();
    kept.given += 1;
    kept.grants.insert(kept.given, (Arc::clone(grant), Arc::clone(verifier)));
    NativeGrant { number: kept.given, grant: Arc::clone(grant) }
}

/// The grant of a number, if it still holds.
///
/// # Errors
/// `NoCapability` for one that was revoked or has expired meanwhile; `StoreUnavailable` where nobody knows.
pub(crate) fn find(number: f64) -> Result<Arc<Grant>> {
    let gone = || KmsError::new(ErrorCode::NoCapability, "the capability does not hold any more");
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number given here"
    )]
    let number = number as u64;
    let kept = KEPT.read().unwrap_or_else(PoisonError::into_inner);
    let (grant, verifier) =
        kept.as_ref().and_then(|kept| kept.grants.get(&number)).ok_or_else(gone)?;
    match verifier.check_still(grant) {
        Ok(()) => Ok(Arc::clone(grant)),
        Err(Refusal::Unavailable) => {
            let why = "the list of revoked capabilities cannot be read";
            Err(KmsError::new(ErrorCode::StoreUnavailable, why))
        }
        Err(_) => Err(gone()),
    }
}
