//! Showing keys: their public side, and where their private side is held.

use std::sync::Arc;

use kms_core::{Context, ErrorCode, KeyState, Kid, KidRef, KmsError, Result, Signs, Version};

use crate::create::PublicHalves;
use crate::engine::Engine;
use crate::evidence::Evidence;
use crate::op::Op;

/// The public side of a key.
#[derive(Clone, Debug)]
pub struct Described {
    /// The version that was asked for, or the head.
    pub kid: Kid,
    /// Its public keys.
    pub public: PublicHalves,
    /// What the key's signatures cover.
    pub signs: Signs,
    /// The version that signs.
    pub head: Version,
    /// The newest version: the head, the pending one after it, or one whose activation was called off.
    pub newest: Version,
    /// The version that becomes the head next, and when, in Unix milliseconds.
    pub pending: Option<(Kid, u64)>,
    /// The key's own state.
    pub state: KeyState,
    /// The state of each published version, in order: the stricter of the key's and its own.
    pub version_states: Vec<KeyState>,
    /// When the key was made, in Unix milliseconds.
    pub created_unix_ms: u64,
    /// The JSON object it was made with.
    pub policy_hints: Option<Box<str>>,
    /// The class of custody of this version, where a service with a token made it.
    pub class: Option<String>,
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
    /// The class of custody, of the weakest half: `software-memory`; `software-file` where keys are kept in sealed files;
    /// `pkcs11-<model>` in a token, and with `-sealed` after it what is sealed under a key of the token.
    pub class: String,
    /// What a token says of the version that was asked for, or of the head.
    pub evidence: Option<Evidence>,
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
            let head = self.settled_head(&key)?;
            trace.alg = key.published(head.active)?.suite.label();
            let shown = parsed.version.unwrap_or(head.active);
            let version = key.version(&head, shown).ok_or_else(KmsError::not_found)?;
            Ok(Described {
                kid: key.id().at(shown),
                public: PublicHalves::of(version),
                signs: key.facts.signs,
                head: head.active,
                newest: head.newest,
                pending: head
                    .pending
                    .map(|pending| (key.id().at(pending.version), pending.active_at_unix_ms)),
                state: head.life.key(),
                version_states: (1..=head.newest.get())
                    .filter_map(Version::new)
                    .map(|version| head.life.effective(version))
                    .collect(),
                created_unix_ms: key.facts.created_unix_ms,
                policy_hints: key.facts.policy_hints.clone(),
                class: version.maker.has_token().then(|| self.class_of(version)),
            })
        })
    }

    /// Says where a key is held. A token is asked for its evidence; elsewhere there is no device, and none.
    ///
    /// # Errors
    /// `NotFound`, `BadRequest`; those of the token.
    pub fn attest(&self, context: &Context, kid: &str) -> Result<Attested> {
        self.run(Op::Attest, context, |trace| {
            let parsed = KidRef::parse(kid)?;
            let key = self.find(&parsed, context)?;
            let head = self.head_of(&key)?;
            trace.alg = key.published(head.active)?.suite.label();
            let shown = parsed.version.unwrap_or(head.active);
            let held = key.version(&head, shown).ok_or_else(KmsError::not_found)?;
            let gone = head.life.effective(shown) == KeyState::Destroyed;
            let evidence = match &self.config.remote {
                Some(remote) if held.is_remote() && !gone => {
                    let within = self.within(remote, context)?;
                    let evidence = self.ask_evidence(remote, &key.id().at(shown), within)?;
                    held.evidence.store(Some(Arc::new(evidence.clone())));
                    Some(evidence)
                }
                _ => None,
            };
            Ok(Attested {
                kid: key.id().at(head.active),
                head: head.active,
                newest: head.newest,
                created_unix_ms: key.facts.created_unix_ms,
                class: self.class_of(held),
                evidence,
            })
        })
    }

    /// Refuses: there is no export, of any key, for anyone.
    ///
    /// # Errors
    /// Always; `ExportForbidden` for everything that is a kid.
    pub fn export(&self, context: &Context, kid: &str) -> Result<std::convert::Infallible> {
        self.run(Op::Export, context, |trace| {
            // The same answer for every kid: it says nothing about the key. Only the record does.
            if let Ok(key) = self.find(&KidRef::parse(kid)?, context) {
                trace.alg = key.published(self.head_of(&key)?.active)?.suite.label();
                trace.key = Some(key);
            }
            Err(KmsError::new(ErrorCode::ExportForbidden, "private keys never leave the service"))
        })
    }
}
