//! Showing keys: their public side, and where their private side is held.

use kms_core::{Context, ErrorCode, Kid, KidRef, KmsError, Result, Signs, Version};
use kms_crypto::ed25519::PublicKey;

use crate::engine::Engine;
use crate::op::Op;

/// The public side of a key.
#[derive(Clone, Debug)]
pub struct Described {
    /// The version that was asked for, or the head.
    pub kid: Kid,
    /// Its public key.
    pub public: PublicKey,
    /// What the key's signatures cover.
    pub signs: Signs,
    /// The version that signs.
    pub head: Version,
    /// The newest version: the head, or the pending one after it.
    pub newest: Version,
    /// When the pending version becomes the head, in Unix milliseconds.
    pub active_at_unix_ms: Option<u64>,
    /// When the key was made, in Unix milliseconds.
    pub created_unix_ms: u64,
    /// The JSON object it was made with.
    pub policy_hints: Option<Box<str>>,
}

/// Where the private side of a key is held.
#[derive(Clone, Debug)]
pub struct Attested {
    /// The head's kid.
    pub kid: Kid,
    /// The version that signs.
    pub head: Version,
    /// The newest version.
    pub newest: Version,
    /// When the key was made, in Unix milliseconds.
    pub created_unix_ms: u64,
    /// The class of custody: `software-memory` here.
    pub class: &'static str,
}

impl Engine {
    /// Shows a key, or one of its versions.
    ///
    /// # Errors
    /// `NotFound`, `BadRequest`.
    pub fn describe(&self, context: &Context, kid: &str) -> Result<Described> {
        self.run(Op::Describe, context, |trace| {
            let parsed = KidRef::parse(kid)?;
            let key = self.find(&parsed, context)?;
            trace.alg = Some(key.id.alg);
            let head = self.head_of(&key)?;
            let shown = parsed.version.unwrap_or(head.active);
            let version = key.version(&head, shown).ok_or_else(KmsError::not_found)?;
            Ok(Described {
                kid: key.id.at(shown),
                public: *version.public.public(),
                signs: key.signs,
                head: head.active,
                newest: head.newest(),
                active_at_unix_ms: head.pending.map(|pending| pending.active_at_unix_ms),
                created_unix_ms: key.created_unix_ms,
                policy_hints: key.policy_hints.clone(),
            })
        })
    }

    /// Says where a key is held. In memory there is no device, so there is no evidence either.
    ///
    /// # Errors
    /// `NotFound`, `BadRequest`.
    pub fn attest(&self, context: &Context, kid: &str) -> Result<Attested> {
        self.run(Op::Attest, context, |trace| {
            let parsed = KidRef::parse(kid)?;
            let key = self.find(&parsed, context)?;
            trace.alg = Some(key.id.alg);
            let head = self.head_of(&key)?;
            if let Some(version) = parsed.version {
                key.version(&head, version).ok_or_else(KmsError::not_found)?;
            }
            Ok(Attested {
                kid: key.id.at(head.active),
                head: head.active,
                newest: head.newest(),
                created_unix_ms: key.created_unix_ms,
                class: "software-memory",
            })
        })
    }

    /// Refuses: there is no export, of any key, for anyone.
    ///
    /// # Errors
    /// Always; `ExportForbidden` for a key that the caller may know of.
    pub fn export(&self, context: &Context, kid: &str) -> Result<std::convert::Infallible> {
        self.run(Op::Export, context, |trace| {
            let key = self.find(&KidRef::parse(kid)?, context)?;
            trace.alg = Some(key.id.alg);
            Err(KmsError::new(ErrorCode::ExportForbidden, "private keys never leave the service"))
        })
    }
}
