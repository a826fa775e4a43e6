//! What every use case is told about its caller.

use std::sync::Arc;

use uuid::Uuid;

use crate::error::{ErrorCode, KmsError, Result};
use crate::key_id::KidRef;
use crate::rights::Rights;
use crate::signer::Presigned;

/// The caller of a use case, the same for the library, HTTP and any later transport.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The one tenant this caller may touch; `None` for a caller that may touch all.
    pub tenant: Option<Box<str>>,
    /// Who calls, for the audit record: a capability's identifier, or `library`.
    pub actor: Box<str>,
    /// Joins logs, answers and audit records.
    pub request_id: Box<str>,
    /// Makes a mutation idempotent.
    pub op_id: Option<Uuid>,
    /// BLAKE3-256 of the request that the op_id stands for, once it is known.
    pub fingerprint: Option<[u8; 32]>,
    /// What the caller's capability allows; `None` for a caller that needs none.
    pub rights: Option<Arc<Rights>>,
    /// After this, on the engine's monotonic clock in milliseconds, work is not begun.
    pub deadline_ms: Option<u64>,
    /// Signatures that a signer made for this call beforehand; where there are some, no thread waits for others.
    pub presigned: Option<Arc<Presigned>>,
}

impl Context {
    /// The context of a call made in process.
    pub fn library() -> Self {
        Context { actor: "library".into(), ..Context::default() }
    }

    /// Refuses keys that the caller's capability does not cover, whether or not they exist, and then those of
    /// other tenants.
    ///
    /// # Errors
    /// `NoCapability`; `NotFound`.
    pub fn permit_kid(&self, kid: &KidRef<'_>) -> Result<()> {
        if let Some(rights) = &self.rights {
            rights.permit_kid(kid)?;
        }
        self.permit(kid.tenant)
    }

    /// Refuses keys of other tenants, in the words used for keys that do not exist.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn permit(&self, tenant: &str) -> Result<()> {
        match &self.tenant {
            Some(own) if &**own != tenant => Err(KmsError::not_found()),
            _ => Ok(()),
        }
    }

    /// Whether these two callers may use the same keys, as far as can be told without reading their rights: where
    /// one is permitted a key, so is the other.
    pub fn permits_as(&self, other: &Context) -> bool {
        let rights = |context: &Context| context.rights.as_ref().map(Arc::as_ptr);
        rights(self) == rights(other) && self.tenant == other.tenant
    }

    /// Refuses to begin work after the deadline.
    ///
    /// # Errors
    /// `Timeout`.
    pub fn check_deadline(&self, now_ms: u64) -> Result<()> {
        match self.deadline_ms {
            Some(deadline) if now_ms > deadline => {
                Err(KmsError::new(ErrorCode::Timeout, "the deadline passed before work began"))
            }
            _ => Ok(()),
        }
    }
}
