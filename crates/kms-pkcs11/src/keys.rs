//! Ed25519 keys that are made in the token and never leave it.

use std::time::Duration;

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use kms_core::{Algorithm, KeyId, Kid, Version};

use crate::calls::Function;
use crate::codes::Class;
use crate::error::{Error, Result};
use crate::object_id::{ObjectId, key_id, key_label, kid_of, version_of};
use crate::session::Live;
use crate::token::Token;

/// Length of a public key in bytes.
pub const PUBLIC_KEY_LEN: usize = 32;
/// Length of a signature in bytes.
pub const SIGNATURE_LEN: usize = 64;
/// Most versions of one key that are looked at.
const MAX_VERSIONS: usize = 4096;

/// CKA_EC_PARAMS of edwards25519: the object identifier of RFC 8410, and the name of PKCS#11 v3.0 (section 2.3.5).
/// Tokens take the one or the other.
const EC_PARAMS: [&[u8]; 2] = [&[6, 3, 43, 101, 112], b"\x13\x0cedwards25519"];

/// A version of a key as it is on the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundVersion {
    /// Which.
    pub version: Version,
    /// Its public key.
    pub public: [u8; PUBLIC_KEY_LEN],
}

impl Token {
    /// Makes an Ed25519 key for this version, private, sensitive and not extractable, and gives its public half.
    ///
    /// It is not tried twice: after an error or a timeout the key may be there, which [`Token::find_versions`] tells.
    ///
    /// # Errors
    /// [`Error::KeyExists`], [`Error::Unsupported`], and those of every call.
    pub fn generate_ed25519(&self, kid: &Kid, within: Duration) -> Result<[u8; PUBLIC_KEY_LEN]> {
        if kid.key.alg != Algorithm::Ed25519 {
            return Err(Error::Unsupported { what: "keys of this algorithm" });
        }
        if !self.capabilities().ed25519 {
            return Err(Error::Unsupported { what: "Ed25519" });
        }
        if !self.capabilities().writable {
            return Err(Error::Unsupported { what: "new keys: it is write-protected" });
        }
        // Looked for in a call of its own, which may be tried twice, and which finds a dead session before the key is
        // made in it.
        let (started, private, public) = (std::time::Instant::now(), kid.clone(), kid.clone());
        self.run(within, true, move |live| match live.object(&ObjectId::private(&private)) {
            Err(Error::NoSuchKey) => Ok(()),
            Ok(_) | Err(Error::Malformed { .. }) => Err(Error::KeyExists),
            Err(error) => Err(error),
        })?;
        let left = within.saturating_sub(started.elapsed());
        self.run(left, false, move |live| {
            let pair = generate(live, &public)?;
            read_back(live, &public, pair)?;
            public_half(live, pair[0])
        })
    }

    /// The versions of a key that are on the token, in order.
    ///
    /// # Errors
    /// [`Error::Malformed`] where a private key has no public half, or two; and those of every call.
    pub fn find_versions(&self, key: &KeyId, within: Duration) -> Result<Vec<FoundVersion>> {
        let key = key.clone();
        self.run(within, true, move |live| {
            let template = [
                Attribute::Class(ObjectClass::PRIVATE_KEY),
                Attribute::Token(true),
                Attribute::Label(key_label(&key)),
            ];
            let mut found = Vec::new();
            for handle in live.find(&template)?.into_iter().take(MAX_VERSIONS) {
                let attributes = [AttributeType::Label, AttributeType::Id];
                let call = Function::GetAttributeValue;
                let got = live.call(call, |session| session.get_attributes(handle, &attributes))?;
                // The token found it by this label: another one, or none, is an answer that is not to be trusted.
                let (label, id) = match &got[..] {
                    [Attribute::Label(label), Attribute::Id(id)] if *label == key_label(&key) => {
                        (label, id)
                    }
                    _ => return Err(Error::Malformed { what: "a label" }),
                };
                // An id of another form is another program's object.
                let Some(version) = version_of(&key, label, id) else { continue };
                let object = match live.object(&ObjectId::public(&key.at(version))) {
                    Err(Error::NoSuchKey) => {
                        return Err(Error::Malformed {
                            what: "a private key without its public half",
                        });
                    }
                    object => object?,
                };
                found.push(FoundVersion { version, public: public_half(live, object)? });
            }
            found.sort_by_key(|it| it.version);
            if found.windows(2).any(|pair| pair[0].version == pair[1].version) {
                return Err(Error::Malformed { what: "two keys with one id" });
            }
            Ok(found)
        })
    }

    /// Signs with Ed25519 (RFC 8032, pure). The message is copied; the signature is not verified here.
    ///
    /// # Errors
    /// [`Error::NoSuchKey`], and those of every call.
    pub fn sign(&self, kid: &Kid, message: &[u8], within: Duration) -> Result<[u8; SIGNATURE_LEN]> {
        self.run(within, true, signing(kid, message))
    }

    /// As [`Token::sign`] without a thread that waits: `then` is called once, by that time, on a thread of the token's or
    /// on this one.
    pub fn sign_then(
        &self,
        kid: &Kid,
        message: &[u8],
        within: Duration,
        then: impl FnOnce(Result<[u8; SIGNATURE_LEN]>) + Send + 'static,
    ) {
        self.run_then(within, true, signing(kid, message), Box::new(then));
    }

    /// Every version that is on the token in the form of ours, of any key, in no order. Others are left out.
    ///
    /// # Errors
    /// Those of every call.
    pub fn list_versions(&self, within: Duration) -> Result<Vec<Kid>> {
        self.run(within, true, move |live| {
            let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Token(true)];
            let mut listed = Vec::new();
            for handle in live.find(&template)? {
                let attributes = [AttributeType::Label, AttributeType::Id];
                let call = Function::GetAttributeValue;
                let got = live.call(call, |session| session.get_attributes(handle, &attributes))?;
                if let [Attribute::Label(label), Attribute::Id(id)] = &got[..] {
                    listed.extend(kid_of(label, id));
                }
            }
            Ok(listed)
        })
    }

    /// Destroys the version: its private key, then the public half. What is not there counts as destroyed.
    ///
    /// # Errors
    /// Those of every call; the private key may be gone after one.
    pub fn destroy(&self, kid: &Kid, within: Duration) -> Result<()> {
        let ids = [ObjectId::private(kid), ObjectId::public(kid)];
        self.run(within, true, move |live| {
            for id in &ids {
                let handle = match live.object(id) {
                    Err(Error::NoSuchKey) => continue,
                    handle => handle?,
                };
                live.call(Function::DestroyObject, |session| session.destroy_object(handle))?;
                live.forget(id);
            }
            Ok(())
        })
    }
}

fn signing(
    kid: &Kid,
    message: &[u8],
) -> impl FnMut(&mut Live) -> Result<[u8; SIGNATURE_LEN]> + Send + use<> {
    let (id, message) = (ObjectId::private(kid), message.to_vec());
    move |live| {
        let key = live.object(&id)?;
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
        let signature =
            live.call(Function::Sign, |session| session.sign(&mechanism, key, &message))?;
        let wrong = |_| Error::Malformed { what: "a signature of another length" };
        signature.as_slice().try_into().map_err(wrong)
    }
}

/// Whether the token kept id and label whole. A pair that would not be found again is destroyed.
fn read_back(live: &Live, kid: &Kid, pair: [ObjectHandle; 2]) -> Result<()> {
    let wanted = [Attribute::Label(key_label(&kid.key)), Attribute::Id(key_id(kid).to_vec())];
    let attributes = [AttributeType::Label, AttributeType::Id];
    for handle in pair {
        let call = Function::GetAttributeValue;
        if live.call(call, |session| session.get_attributes(handle, &attributes))? != wanted {
            for made in pair {
                live.call(Function::DestroyObject, |session| session.destroy_object(made))?;
            }
            return Err(Error::Unsupported { what: "ids and labels of this length" });
        }
    }
    Ok(())
}

/// Makes the pair; gives the handles of the public and the private half.
fn generate(live: &mut Live, kid: &Kid) -> Result<[ObjectHandle; 2]> {
    let (id, label) = (key_id(kid).to_vec(), key_label(&kid.key));
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Derive(false),
        Attribute::Id(id.clone()),
        Attribute::Label(label.clone()),
    ];
    let mut refused = None;
    for params in EC_PARAMS {
        let public = [
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::KeyType(KeyType::EC_EDWARDS),
            Attribute::EcParams(params.to_vec()),
            Attribute::Id(id.clone()),
            Attribute::Label(label.clone()),
        ];
        let mechanism = Mechanism::EccEdwardsKeyPairGen;
        let made = live.call(Function::GenerateKeyPair, |session| {
            session.generate_key_pair(&mechanism, &public, &private)
        });
        match made {
            Ok((public, private)) => return Ok([public, private]),
            Err(error) if error.class() == Some(Class::Unsupported) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or(Error::Unsupported { what: "Ed25519" }))
}

/// CKA_EC_POINT of a public key: DER of an octet string (PKCS#11 v2.40), of a bit string, or the bare bytes (v3.0
/// section 2.3.5).
fn public_half(live: &Live, public: ObjectHandle) -> Result<[u8; PUBLIC_KEY_LEN]> {
    let call = Function::GetAttributeValue;
    let got =
        live.call(call, |session| session.get_attributes(public, &[AttributeType::EcPoint]))?;
    let point = match &got[..] {
        [Attribute::EcPoint(point)] => point.as_slice(),
        _ => &[],
    };
    // Zeros are what a buffer holds that the module said it filled, and did not.
    let key = point_of(point).filter(|key| *key != [0; PUBLIC_KEY_LEN]);
    key.ok_or(Error::Malformed { what: "a public key" })
}

fn point_of(point: &[u8]) -> Option<[u8; PUBLIC_KEY_LEN]> {
    match point {
        [0x04, 0x20, bytes @ ..] | [0x03, 0x21, 0x00, bytes @ ..] if bytes.len() == 32 => {
            bytes.try_into().ok()
        }
        bytes => bytes.try_into().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_read_in_its_three_forms_and_in_no_other() {
        let key: [u8; 32] = std::array::from_fn(|i| i as u8);
        let octets = [&[0x04, 0x20], &key[..]].concat();
        let bits = [&[0x03, 0x21, 0x00], &key[..]].concat();
        for good in [&key[..], &octets, &bits] {
            assert_eq!(point_of(good), Some(key));
            for len in (0..good.len()).filter(|len| *len != 32) {
                assert_eq!(point_of(&good[..len]), None);
            }
            assert_eq!(point_of(&[good, &[0]].concat()), None);
        }
        assert_eq!(point_of(&[&[0x04, 0x21], &key[..]].concat()), None);
    }
}
