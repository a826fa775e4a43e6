//! A root key that is in the token.

use std::time::Duration;

use kms_core::custody::RootKey;
use kms_core::{Entropy, ErrorCode, KmsError, Result, Secret, SecretBytes};
use uuid::Uuid;

use crate::error::Error;
use crate::token::Token;

/// The wrapping key of the stores of this service, whose UUID nobody has to remember: several stores may share it, since
/// nothing that it seals repeats.
pub const STORE_ROOT: Uuid = Uuid::from_u128(0x726f_6e2d_6b6d_8001_8000_7374_6f72_6501);

/// Seals the keys of a store under a wrapping key of the token, which the first seal makes if it is not there.
pub struct HsmRootKey {
    token: Token,
    key: Uuid,
    within: Duration,
}

impl HsmRootKey {
    /// Uses the wrapping key with this UUID; each use takes that long at most.
    pub fn new(token: Token, key: Uuid, within: Duration) -> HsmRootKey {
        HsmRootKey { token, key, within }
    }
}

impl RootKey for HsmRootKey {
    fn kind(&self) -> &'static str {
        "hsm"
    }

    fn seal(&self, key: &Secret<32>, context: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>> {
        let key = SecretBytes::copy_of(key.expose());
        let seal = || self.token.wrap(&self.key, &key, context, entropy, self.within);
        match seal() {
            Err(Error::NoSuchKey) => {
                match self.token.generate_wrapping_key(&self.key, self.within) {
                    // Another store did at the same time.
                    Err(Error::KeyExists) => {}
                    made => made?,
                }
                Ok(seal()?)
            }
            sealed => Ok(sealed?),
        }
    }

    fn unseal(&self, sealed: &[u8], context: &[u8]) -> Result<Secret<32>> {
        let key = self.token.unwrap(sealed, context, self.within)?;
        match <&[u8; 32]>::try_from(key.expose()) {
            Ok(key) => Ok(Secret::fill(|out| out.copy_from_slice(key))),
            Err(_) => {
                let message = "the token's key opens something that is no key of a store";
                Err(KmsError::new(ErrorCode::StoreUnavailable, message).retryable(false))
            }
        }
    }
}
