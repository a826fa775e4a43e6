//! Minting capabilities on line.

use std::fmt;

use kms_capability::mint::{Minted, Wish};
use kms_core::{AuditEvent, Context, ErrorCode, KmsError, Result, Tenants};
use zeroize::Zeroizing;

use crate::engine::Engine;
use crate::op::Op;

/// A capability that was minted.
pub struct MintedCapability {
    /// What its holder sends. A secret: it leaves in the answer, and is kept nowhere.
    pub token: Zeroizing<String>,
    /// Who it is, in audit records.
    pub identifier: Box<str>,
    /// What the list of revoked capabilities names it by.
    pub id: String,
    /// Until when, in Unix seconds.
    pub exp: u64,
    /// All its caveats.
    pub caveats: Vec<Box<str>>,
    /// The index of its record in the audit log, where there is one.
    pub audit: Option<u64>,
}

impl fmt::Debug for MintedCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MintedCapability").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Engine {
    /// Mints a capability within the caller's own. Its record has the BLAKE3-256 of its identifier as the hash of the
    /// input, one record for each tenant that it is for.
    ///
    /// # Errors
    /// `NoCapability` for a caller without one, or whose own does not cover the wish; `BadRequest`, `TooLarge`;
    /// `Backpressure` over a ceiling of a tenant; `Unsupported` where capabilities are not verified here.
    pub fn mint_capability(&self, context: &Context, wish: &Wish) -> Result<MintedCapability> {
        self.run(Op::MintCapability, context, |_| {
            let Some(verifier) = self.capabilities.get() else {
                return Err(KmsError::unsupported("capabilities are not minted here"));
            };
            let rights = context.rights.as_ref().ok_or_else(|| {
                let why = "a capability is minted within the caller's own, and there is none";
                KmsError::new(ErrorCode::NoCapability, why)
            })?;
            let Minted { token, grant } = verifier.mint_within(rights, wish)?;
            let audit = self.audit_minted(context, &grant.rights.tenants, &grant.identifier)?;
            Ok(MintedCapability {
                token: Zeroizing::new(token),
                id: grant.rights.ids.first().map(|id| id.to_string()).unwrap_or_default(),
                exp: grant.exp(),
                caveats: grant.rights.caveats.to_vec(),
                identifier: grant.identifier,
                audit,
            })
        })
    }

    fn audit_minted(
        &self,
        context: &Context,
        tenants: &Tenants,
        identifier: &str,
    ) -> Result<Option<u64>> {
        let Some(sink) = self.sink() else { return Ok(None) };
        let input_hash = kms_crypto::digest::blake3(identifier.as_bytes());
        let names = match tenants {
            Tenants::All => vec![None],
            Tenants::Only(names) => names.iter().cloned().map(Some).collect(),
        };
        let mut first = None;
        for tenant in names {
            let context = &Context { tenant, ..context.clone() };
            let (op, input_hash) = (Op::MintCapability.name(), Some(&input_hash));
            let event =
                AuditEvent { op, context, kid: None, input_hash, refusal: None, attestation: None };
            let index = sink.append(&event)?;
            first = first.or(index);
        }
        Ok(first)
    }
}
