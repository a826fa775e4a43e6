//! Signers and a verifier for tests, by ed25519-dalek and ml-dsa directly.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use ml_dsa::{B32, MlDsa44};

use crate::note::{ED25519, ML_DSA_44, NoteKey, NoteSigner, NoteVerifier};

pub(crate) struct Ed25519(SigningKey, NoteKey);

impl Ed25519 {
    pub(crate) fn new(name: &str, seed: u8) -> Ed25519 {
        Self::of_type(name, seed, ED25519)
    }

    pub(crate) fn of_type(name: &str, seed: u8, algorithm: u8) -> Ed25519 {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let key = NoteKey::new(name, algorithm, secret.verifying_key().as_bytes()).unwrap();
        Ed25519(secret, key)
    }
}

impl NoteSigner for Ed25519 {
    fn key(&self) -> &NoteKey {
        &self.1
    }

    fn sign(&self, message: &[u8]) -> kms_core::Result<Vec<u8>> {
        Ok(self.0.sign(message).to_bytes().to_vec())
    }
}

pub(crate) struct MlDsa(ml_dsa::SigningKey<MlDsa44>, NoteKey);

impl MlDsa {
    pub(crate) fn new(name: &str, seed: u8) -> MlDsa {
        use ml_dsa::signature::Keypair;
        let secret = ml_dsa::SigningKey::<MlDsa44>::from_seed(&B32::from([seed; 32]));
        let public = secret.verifying_key().encode();
        MlDsa(secret, NoteKey::new(name, ML_DSA_44, &public).unwrap())
    }
}

impl NoteSigner for MlDsa {
    fn key(&self) -> &NoteKey {
        &self.1
    }

    fn sign(&self, message: &[u8]) -> kms_core::Result<Vec<u8>> {
        use ml_dsa::signature::Signer;
        Ok(self.0.sign(message).encode().to_vec())
    }
}

pub(crate) struct Crates;

impl NoteVerifier for Crates {
    fn ed25519(&self, public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(public)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }

    fn ml_dsa_44(&self, public: &[u8; 1312], message: &[u8], signature: &[u8; 2420]) -> bool {
        use ml_dsa::signature::Verifier;
        let key = ml_dsa::VerifyingKey::<MlDsa44>::decode(&(*public).into());
        ml_dsa::Signature::<MlDsa44>::decode(&(*signature).into())
            .is_some_and(|signature| key.verify(message, &signature).is_ok())
    }
}
