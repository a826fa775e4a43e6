//! What is known of where a private half is, and what policy asks for of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kms_core::signer::KeyEvidence;
use kms_core::{ErrorCode, KeyState, Kid, KmsError, Result, Version};
use kms_crypto::digest;

use crate::engine::Engine;
use crate::key::{Key, KeyVersion};
use crate::remote::Remote;

/// Whether evidence of where keys are is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttestPolicy {
    /// Only by who asks for it.
    Never,
    /// When a version is made, and kept if it is given.
    #[default]
    IfAvailable,
    /// Nothing signs without it.
    Required,
}

impl AttestPolicy {
    /// Parses a name of the configuration.
    ///
    /// # Errors
    /// `BadRequest`, field `attest_require`.
    pub fn parse(name: &str) -> Result<AttestPolicy> {
        match name {
            "never" => Ok(AttestPolicy::Never),
            "if-available" => Ok(AttestPolicy::IfAvailable),
            "required" => Ok(AttestPolicy::Required),
            _ => {
                let why = "must be never, if-available or required";
                Err(KmsError::bad_request(why).field("attest_require"))
            }
        }
    }
}

/// What a token says of a version, and when it said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Of which version.
    pub kid: Kid,
    /// The attestation class.
    pub class: String,
    /// Whether it says that the key was made there and cannot leave.
    pub complete: bool,
    /// The facts by name.
    pub facts: Vec<(&'static str, String)>,
    /// BLAKE3-256 of the kid, the class and the facts, a line each, as `name=value`.
    pub hash: [u8; 32],
    /// On the engine's clock.
    pub(crate) at_ms: u64,
}

/// What is said of it with each signature: [`Engine::attest`] has it in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// The attestation class of the version, of its weakest half.
    pub class: String,
    /// As in [`Evidence`].
    pub complete: bool,
    /// As in [`Evidence`].
    pub hash: [u8; 32],
}

impl Attestation {
    /// The hash in hex, as answers have it.
    pub fn b3(&self) -> String {
        base16ct::lower::encode_string(&self.hash)
    }
}

impl Evidence {
    fn of(kid: &Kid, said: KeyEvidence, at_ms: u64) -> Evidence {
        let KeyEvidence { class, complete, facts } = said;
        let lines = facts.iter().map(|(name, value)| format!("{name}={value}\n"));
        let first = format!("kid={kid}\nclass={class}\n");
        let text: String = std::iter::once(first).chain(lines).collect();
        let hash = digest::blake3(text.as_bytes());
        Evidence { kid: kid.clone(), class, complete, facts, hash, at_ms }
    }
}

/// Evidence that is older is asked for again.
const FRESH_MS: u64 = 300_000;

/// Policy asks for evidence that is not there.
pub(crate) fn missing() -> KmsError {
    let why = "policy asks for evidence that this key was made in a token and cannot leave it";
    KmsError::new(ErrorCode::AttestationMissing, why).field("kid")
}

impl Engine {
    /// Asks the token.
    pub(crate) fn ask_evidence(
        &self,
        remote: &Remote,
        kid: &Kid,
        within: Duration,
    ) -> Result<Evidence> {
        let attester = remote.signer.attester().ok_or_else(missing)?;
        let said = attester.attest(kid, kid.key.alg, within)?;
        Ok(Evidence::of(kid, said, self.now_ms()))
    }

    /// The attestation class of a version: of its weakest half.
    pub(crate) fn class_of(&self, held: &KeyVersion) -> String {
        if held.is_remote() && !held.suite.is_hybrid() {
            return self.remote().map_or_else(|_| "pkcs11".to_owned(), |it| it.signer.class());
        }
        match &self.config.remote {
            // What is sealed under a key of the token is used outside of it.
            Some(remote) if remote.seals && held.maker.has_token() => {
                format!("{}-sealed", remote.signer.class())
            }
            _ if self.is_durable() => "software-file".to_owned(),
            _ => "software-memory".to_owned(),
        }
    }

    /// What is said with a signature of where its key is; nothing where nothing is known. After a restart that is so until
    /// the token has said it again, which the first signature has it asked for, and does not wait.
    pub(crate) fn attestation_of(&self, key: &Arc<Key>, version: Version) -> Option<Attestation> {
        let held = key.published(version).ok().filter(|held| held.is_remote())?;
        let known = held.evidence.load();
        let Some(evidence) = known.as_ref() else {
            let asks = |it: &Remote| it.attest != AttestPolicy::Never;
            if self.config.remote.as_ref().is_some_and(asks)
                && !held.evidence_asked.swap(true, Ordering::Relaxed)
            {
                self.refresh_evidence(key, version);
            }
            return None;
        };
        let Evidence { complete, hash, .. } = **evidence;
        Some(Attestation { class: self.class_of(held), complete, hash })
    }

    /// Refuses to sign with what policy wants evidence for, and has none.
    ///
    /// # Errors
    /// `AttestationMissing`, field `kid`.
    pub(crate) fn check_attested(&self, key: &Arc<Key>, version: Version) -> Result<()> {
        let required = |it: &&Remote| it.attest == AttestPolicy::Required;
        if self.config.remote.as_ref().filter(required).is_none() {
            return Ok(());
        }
        let held = key.published(version)?;
        if !held.is_remote() {
            return Err(missing());
        }
        let known = held.evidence.load();
        let Some(evidence) = known.as_ref() else {
            self.refresh_evidence(key, version);
            return Err(missing());
        };
        if self.now_ms().saturating_sub(evidence.at_ms) > FRESH_MS {
            self.refresh_evidence(key, version);
        }
        if evidence.complete { Ok(()) } else { Err(missing()) }
    }

    /// Asks again on another thread. What was known holds until there is an answer.
    fn refresh_evidence(&self, key: &Arc<Key>, version: Version) {
        let Ok(remote) = self.remote() else { return };
        let (signer, key) = (Arc::clone(&remote.signer), Arc::clone(key));
        let (within, now_ms) = (remote.deadline, self.now_ms());
        let Ok(held) = key.published(version) else { return };
        // Not by each of the signatures that come meanwhile.
        if let Some(known) = held.evidence.load_full() {
            held.evidence.store(Some(Arc::new(Evidence { at_ms: now_ms, ..(*known).clone() })));
        }
        let ask = move || {
            let kid = key.id().at(version);
            let (Some(attester), Ok(held)) = (signer.attester(), key.published(version)) else {
                return;
            };
            match attester.attest(&kid, kid.key.alg, within) {
                Ok(said) => held.evidence.store(Some(Arc::new(Evidence::of(&kid, said, now_ms)))),
                // Asked again with the next signature.
                Err(_) => held.evidence_asked.store(false, Ordering::Relaxed),
            }
        };
        let _ = self.slow.spawn(ask);
    }

    /// Whether every version that signs has the evidence that policy requires.
    pub fn is_attested(&self) -> bool {
        let required = |it: &Remote| it.attest == AttestPolicy::Required;
        !self.config.remote.as_ref().is_some_and(required)
            || self.keys.all().iter().all(|key| {
                let active = key.load().active;
                key.published(active).is_ok_and(|held| {
                    let known = held.evidence.load();
                    !held.is_remote() || known.as_ref().is_some_and(|it| it.complete)
                })
            })
    }

    /// Asks for the evidence of every version that signs, or will. For a start under a policy that requires it.
    ///
    /// # Errors
    /// `AttestationMissing` where there are some, and none has it: the token cannot attest. Those of the token.
    pub fn attest_heads(&self) -> Result<()> {
        let remote = self.remote()?;
        let (mut asked, mut complete) = (0, 0);
        for key in self.keys.all() {
            let head = key.load();
            let pending = head.pending.map(|pending| pending.version);
            for version in std::iter::once(head.active).chain(pending) {
                let held = key.published(version)?;
                let gone = head.life.effective(version) == KeyState::Destroyed;
                if held.is_remote() && !gone {
                    let kid = key.id().at(version);
                    let evidence = self.ask_evidence(remote, &kid, remote.deadline)?;
                    (asked, complete) = (asked + 1, complete + usize::from(evidence.complete));
                    held.evidence.store(Some(Arc::new(evidence)));
                }
            }
        }
        if asked > 0 && complete == 0 { Err(missing()) } else { Ok(()) }
    }
}
