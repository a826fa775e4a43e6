//! Keys that are made in the token and never leave it: how they are made, found and destroyed, and how Ed25519 signs.

use std::time::Duration;

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use kms_core::{Algorithm, KeyId, Kid, Version};

use crate::calls::Function;
use crate::error::{Error, Result};
use crate::object_id::{Names, ObjectId, key_label, kid_of, version_of};
use crate::pair::{self, Kind, PUBLIC_KEY_LEN, Pair, public_half};
use crate::session::Live;
use crate::token::Token;

/// Length of a signature in bytes.
pub const SIGNATURE_LEN: usize = 64;
/// Most versions of one key that are looked at.
const MAX_VERSIONS: usize = 4096;

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
        if !self.capabilities().ed25519 {
            return Err(Error::Unsupported { what: "Ed25519" });
        }
        self.generate(kid, Kind::Ed25519, within)
    }

    /// Makes a pair for this version.
    pub(crate) fn generate(
        &self,
        kid: &Kid,
        kind: Kind,
        within: Duration,
    ) -> Result<[u8; PUBLIC_KEY_LEN]> {
        let named = match kid.key.alg {
            Algorithm::Ed25519 => kind == Kind::Ed25519,
            Algorithm::X25519 => kind != Kind::Ed25519,
            _ => false,
        };
        if !named {
            return Err(Error::Unsupported { what: "keys of this algorithm" });
        }
        if !self.capabilities().writable {
            return Err(Error::Unsupported { what: "new keys: it is write-protected" });
        }
        // Looked for in a call of its own, which may be tried twice, and which finds a dead session before the key is
        // made in it.
        let (started, private) = (std::time::Instant::now(), kid.clone());
        let names = Names::of_version(kid);
        self.run(within, true, move |live| match live.object(&ObjectId::private(&private)) {
            Err(Error::NoSuchKey) => Ok(()),
            Ok(_) | Err(Error::TwoKeys) => Err(Error::KeyExists),
            Err(error) => Err(error),
        })?;
        let left = within.saturating_sub(started.elapsed());
        self.run(left, false, move |live| {
            let pair = pair::generate(live, kind, Some(&names))?;
            read_back(live, &names, pair)?;
            public_half(live, pair.public)
        })
    }

    /// The versions of a key that are on the token, in order.
    ///
    /// # Errors
    /// [`Error::Malformed`] where a private key has no public half; [`Error::TwoKeys`]; and those of every call.
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
                return Err(Error::TwoKeys);
            }
            Ok(found)
        })
    }

    /// Signs with Ed25519 (RFC 8032, pure). The message is copied; the signature is not verified here.
    ///
    /// # Errors
    /// [`Error::NoSuchKey`], and those of every call.
    pub fn sign(&self, kid: &Kid, message: &[u8], within: Duration) -> Result<[u8; SIGNATURE_LEN]> {
        self.run(within, true, signing(ObjectId::private(kid), message))
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
        self.run_then(within, true, signing(ObjectId::private(kid), message), Box::new(then));
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
        self.destroy_objects([ObjectId::private(kid), ObjectId::public(kid)], within)
    }

    pub(crate) fn destroy_objects(&self, ids: [ObjectId; 2], within: Duration) -> Result<()> {
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

pub(crate) fn signing(
    id: ObjectId,
    message: &[u8],
) -> impl FnMut(&mut Live) -> Result<[u8; SIGNATURE_LEN]> + Send + use<> {
    let message = message.to_vec();
    move |live| {
        let key = live.object(&id).map_err(Error::of_proven_key)?;
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
        let signed = live.call(Function::Sign, |session| session.sign(&mechanism, key, &message));
        let signature = signed.map_err(Error::of_proven_key)?;
        let wrong = |_| Error::Malformed { what: "a signature of another length" };
        signature.as_slice().try_into().map_err(wrong)
    }
}

/// Whether the token kept id and label whole. A pair that would not be found again is destroyed.
pub(crate) fn read_back(live: &Live, names: &Names, pair: Pair) -> Result<()> {
    let wanted = [Attribute::Label(names.label.clone()), Attribute::Id(names.id.clone())];
    let attributes = [AttributeType::Label, AttributeType::Id];
    for handle in [pair.public, pair.private] {
        let call = Function::GetAttributeValue;
        if live.call(call, |session| session.get_attributes(handle, &attributes))? != wanted {
            for made in [pair.public, pair.private] {
                live.call(Function::DestroyObject, |session| session.destroy_object(made))?;
            }
            return Err(Error::Unsupported { what: "ids and labels of this length" });
        }
    }
    Ok(())
}
