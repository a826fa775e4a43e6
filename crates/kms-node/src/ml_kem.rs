//! ML-KEM with other people's public keys.

use kms_core::{OsEntropy, Result};
use kms_crypto::ml_kem::{self, PreparedKey, PublicKey, Set};
use napi::bindgen_prelude::Uint8ArraySlice;
use napi_derive::napi;

use crate::bytes;
use crate::lane;
use crate::task::guard;

/// Throws `BadRequest` for a wrong length and for a coefficient that is not below the modulus.
#[napi]
pub fn ml_kem_check_public_key(set: String, public_key: Uint8ArraySlice<'_>) -> napi::Result<()> {
    guard("mlKemCheckPublicKey", || import(&set, &public_key).map(drop))
}

/// Makes a shared secret of 32 bytes, and the ciphertext that carries it to the owner of the key. The secret is the
/// caller's from here on: what this library holds of it is wiped.
#[napi]
pub fn ml_kem_encapsulate(
    set: String,
    lane_number: u32,
    public_key: Uint8ArraySlice<'_>,
    mut ciphertext: Uint8ArraySlice<'_>,
    mut shared_secret: Uint8ArraySlice<'_>,
) -> napi::Result<()> {
    guard("mlKemEncapsulate", || {
        let key = import(&set, &public_key)?;
        let lane = lane::numbered(lane_number)?;
        let (made, secret) = ml_kem::encapsulate(lane, &key, &OsEntropy)?;
        bytes::write(&mut ciphertext, &made)?;
        bytes::write(&mut shared_secret, secret.expose())
    })
}

/// A checked public key that was expanded once, for many encapsulations.
#[napi]
pub struct MlKemPublicKey {
    key: PreparedKey,
}

#[napi]
impl MlKemPublicKey {
    /// Throws as `mlKemCheckPublicKey`.
    #[napi(constructor)]
    pub fn new(set: String, public_key: Uint8ArraySlice<'_>) -> napi::Result<Self> {
        guard("MlKemPublicKey", || {
            Ok(MlKemPublicKey { key: PreparedKey::new(import(&set, &public_key)?) })
        })
    }

    /// As `mlKemEncapsulate`.
    #[napi]
    pub fn encapsulate(
        &self,
        lane_number: u32,
        mut ciphertext: Uint8ArraySlice<'_>,
        mut shared_secret: Uint8ArraySlice<'_>,
    ) -> napi::Result<()> {
        guard("MlKemPublicKey.encapsulate", || {
            let lane = lane::numbered(lane_number)?;
            let (made, secret) = self.key.encapsulate(lane, &OsEntropy)?;
            bytes::write(&mut ciphertext, &made)?;
            bytes::write(&mut shared_secret, secret.expose())
        })
    }
}

fn import(set: &str, public_key: &Uint8ArraySlice<'_>) -> Result<PublicKey> {
    let set = Set::parse(set)?;
    PublicKey::from_bytes(set, &bytes::at_most(public_key, set.public_key_len()))
}
