//! Ed25519 keys that are no key versions: the service signs with them for itself, such as the checkpoints of its audit log.
//!
//! They are named by a UUID that the caller can make again, and are in the token like all: private, sensitive, not
//! extractable. Their ids have a form of their own, so no kid ever names one.

use std::time::Duration;

use kms_core::signer::KeyEvidence;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::keys::{SIGNATURE_LEN, read_back, signing};
use crate::object_id::{Names, ObjectId};
use crate::pair::{self, Kind, PUBLIC_KEY_LEN, public_half};
use crate::token::Token;

impl Token {
    /// The public half of a device key; `None` where the token has none of this name.
    ///
    /// # Errors
    /// [`Error::Malformed`] where its public half is missing, and those of every call.
    pub fn find_device_key(
        &self,
        key: &Uuid,
        within: Duration,
    ) -> Result<Option<[u8; PUBLIC_KEY_LEN]>> {
        let (private, public) = (ObjectId::device(key), ObjectId::device_public(key));
        self.run(within, true, move |live| {
            match live.object(&private) {
                Err(Error::NoSuchKey) => return Ok(None),
                found => found?,
            };
            match live.object(&public) {
                Err(Error::NoSuchKey) => {
                    Err(Error::Malformed { what: "a private key without its public half" })
                }
                found => public_half(live, found?).map(Some),
            }
        })
    }

    /// Makes a device key, and gives its public half. Not tried twice, as [`Token::generate_ed25519`].
    ///
    /// # Errors
    /// As there.
    pub fn generate_device_key(
        &self,
        key: &Uuid,
        within: Duration,
    ) -> Result<[u8; PUBLIC_KEY_LEN]> {
        if !self.capabilities().ed25519 {
            return Err(Error::Unsupported { what: "Ed25519" });
        }
        if !self.capabilities().writable {
            return Err(Error::Unsupported { what: "new keys: it is write-protected" });
        }
        let started = std::time::Instant::now();
        if self.find_device_key(key, within)?.is_some() {
            return Err(Error::KeyExists);
        }
        let names = Names::of_device(key);
        self.run(within.saturating_sub(started.elapsed()), false, move |live| {
            let pair = pair::generate(live, Kind::Ed25519, Some(&names))?;
            read_back(live, &names, pair)?;
            public_half(live, pair.public)
        })
    }

    /// Signs with a device key (RFC 8032, pure). The message is copied; the signature is not verified here.
    ///
    /// # Errors
    /// [`Error::NoSuchKey`], and those of every call.
    pub fn sign_by_device_key(
        &self,
        key: &Uuid,
        message: &[u8],
        within: Duration,
    ) -> Result<[u8; SIGNATURE_LEN]> {
        self.run(within, true, signing(ObjectId::device(key), message))
    }

    /// What the token says of a device key now.
    ///
    /// # Errors
    /// [`Error::NoSuchKey`], and those of every call.
    pub fn device_key_evidence(&self, key: &Uuid, within: Duration) -> Result<KeyEvidence> {
        Ok(self.evidence_of(ObjectId::device(key), within)?.into())
    }

    /// Destroys a device key. What is not there counts as destroyed.
    ///
    /// # Errors
    /// Those of every call; the private key may be gone after one.
    pub fn destroy_device_key(&self, key: &Uuid, within: Duration) -> Result<()> {
        self.destroy_objects([ObjectId::device(key), ObjectId::device_public(key)], within)
    }
}
