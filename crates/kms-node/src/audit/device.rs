//! The token of a service as the device that seals its audit log.

use std::sync::Arc;
use std::time::Duration;

use kms_audit::checkpoint::{Origin, device_name};
use kms_audit::note::{self, NoteKey, NoteSigner};
use kms_audit::{Device, Sealer};
use kms_core::signer::KeyEvidence;
use kms_core::{ErrorCode, KmsError, Result, Secret};
use kms_crypto::digest::blake3;
use kms_pkcs11::Token;
use uuid::Uuid;

/// What `audit.sealing = "attested"` needs.
pub(crate) const SETTING: &str = "audit.sealing";
/// Longest that the start looks for the key, or makes it.
const OPENING: Duration = Duration::from_secs(10);

/// A key for the checkpoints of one log, in a token.
pub(crate) struct TokenDevice {
    token: Token,
    origin: Origin,
    key: Uuid,
    /// Longest that a signature takes.
    within: Duration,
}

impl TokenDevice {
    /// Of the log of this origin. `name` is a secret of its store that is nothing but this: so two stores that share a
    /// token, and the name of a log by mistake, do not share the key.
    pub(crate) fn new(
        token: Token,
        within: Duration,
        origin: &Origin,
        name: &Secret<32>,
    ) -> TokenDevice {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&blake3(name.expose())[..16]);
        let key = uuid::Builder::from_custom_bytes(bytes).into_uuid();
        TokenDevice { token, origin: origin.clone(), key, within }
    }

    fn signer(&self, public: &[u8; 32]) -> Result<Arc<dyn NoteSigner>> {
        let key = NoteKey::new(&device_name(self.origin.as_str()), note::ED25519, public).map_err(
            |_| KmsError::bad_request("the log's name is too long for a device").field("audit.log"),
        )?;
        let (token, name, within) = (self.token.clone(), self.key, self.within);
        Ok(Arc::new(Signer { key, token, name, within }))
    }

    /// The key, where the token says that it was made there and cannot leave.
    fn sealer(&self, public: &[u8; 32]) -> Result<Sealer> {
        let KeyEvidence { class, complete, facts } =
            self.token.device_key_evidence(&self.key, OPENING)?;
        if !complete {
            let why = "the token does not say that the key which seals the audit log was made in it and cannot leave";
            return Err(KmsError::new(ErrorCode::AttestationMissing, why).field(SETTING));
        }
        let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Sealer { signer: self.signer(public)?, class, facts })
    }
}

impl Device for TokenDevice {
    fn find(&self) -> Result<Option<Sealer>> {
        let found = self.token.find_device_key(&self.key, OPENING)?;
        found.map(|public| self.sealer(&public)).transpose()
    }

    fn find_signer(&self) -> Result<Option<Arc<dyn NoteSigner>>> {
        let found = self.token.find_device_key(&self.key, OPENING)?;
        found.map(|public| self.signer(&public)).transpose()
    }

    fn make(&self) -> Result<Sealer> {
        let offers = self.token.capabilities();
        if !offers.ed25519 || !offers.writable {
            let why = "needs a token that makes Ed25519 keys, and this one does not (a TPM is not in this version)";
            return Err(KmsError::bad_request(why).field(SETTING));
        }
        let public = self.token.generate_device_key(&self.key, OPENING)?;
        self.sealer(&public).inspect_err(|_| {
            // It would only be in the way; where it stays, the next start finds it.
            let _ = self.token.destroy_device_key(&self.key, OPENING);
        })
    }
}

struct Signer {
    key: NoteKey,
    token: Token,
    name: Uuid,
    within: Duration,
}

impl NoteSigner for Signer {
    fn key(&self) -> &NoteKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        Ok(self.token.sign_by_device_key(&self.name, message, self.within)?.to_vec())
    }
}
