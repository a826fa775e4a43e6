//! Who signs the checkpoints of an audit log, and who checks them.

use std::sync::Arc;

use kms_audit::checkpoint::Origin;
use kms_audit::note::{self, NoteKey, NoteSigner, NoteVerifier};
use kms_core::{KidRef, KmsError, OsEntropy, Result, Secret, Track};
use kms_crypto::context::Context;
use kms_crypto::ed25519::{self, KeyRef, SignLane, VerifyLane};
use kms_crypto::lane::Lane;
use kms_crypto::ml_dsa::{self, Set};

use super::continuity;

/// Checks by the service's own strict verifiers.
pub(crate) struct Verifier;

impl NoteVerifier for Verifier {
    fn ed25519(&self, public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        ed25519::verify(VerifyLane::Auto, KeyRef::Bytes(public), message, signature)
    }

    fn ml_dsa_44(&self, public: &[u8; 1312], message: &[u8], signature: &[u8; 2420]) -> bool {
        ml_dsa::PublicKey::from_bytes(Set::MlDsa44, public).is_ok_and(|public| {
            ml_dsa::verify(Lane::Auto, &public, message, Context::EMPTY, signature)
        })
    }

    fn continuity(
        &self,
        from: KidRef<'_>,
        public: &[Track<'_>],
        statement: &[u8],
        signatures: &[Track<'_>],
    ) -> Option<bool> {
        continuity::verify(from, public, statement, signatures)
    }
}

/// Two subkeys of a store's root that nothing else uses: no API signs with them, so that nobody can have them sign
/// what reads as a checkpoint.
pub(crate) fn signers(
    origin: &Origin,
    ed25519: &Secret<32>,
    ml_dsa_44: Option<&Secret<32>>,
) -> Result<Vec<Arc<dyn NoteSigner>>> {
    let mut signers: Vec<Arc<dyn NoteSigner>> = vec![Arc::new(Ed25519::new(origin, ed25519)?)];
    if let Some(seed) = ml_dsa_44 {
        signers.push(Arc::new(MlDsa44::new(origin, seed)?));
    }
    Ok(signers)
}

fn note_key(origin: &Origin, algorithm: u8, public: &[u8]) -> Result<NoteKey> {
    NoteKey::new(origin.as_str(), algorithm, public)
        .map_err(|_| KmsError::internal("an audit key does not fit its log"))
}

struct Ed25519 {
    key: NoteKey,
    secret: ed25519::SigningKey,
}

impl Ed25519 {
    fn new(origin: &Origin, seed: &Secret<32>) -> Result<Ed25519> {
        let secret = ed25519::SigningKey::from_seed(SignLane::Auto, seed)?;
        Ok(Ed25519 { key: note_key(origin, note::ED25519, secret.public().as_bytes())?, secret })
    }
}

impl NoteSigner for Ed25519 {
    fn key(&self) -> &NoteKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.secret.sign(message).map(Vec::from)
    }
}

struct MlDsa44 {
    key: NoteKey,
    secret: ml_dsa::SigningKey,
}

impl MlDsa44 {
    fn new(origin: &Origin, seed: &Secret<32>) -> Result<MlDsa44> {
        let secret = ml_dsa::SigningKey::from_seed(Set::MlDsa44, Lane::Auto, seed)?;
        Ok(MlDsa44 { key: note_key(origin, note::ML_DSA_44, secret.public().as_bytes())?, secret })
    }
}

impl NoteSigner for MlDsa44 {
    fn key(&self) -> &NoteKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.secret.sign(message, Context::EMPTY, &OsEntropy)
    }
}
