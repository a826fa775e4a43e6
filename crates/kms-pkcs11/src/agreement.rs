//! X25519 keys in the token: the private half agrees there, and the shared secret is taken out.
//!
//! The secret is not the key. C_DeriveKey makes it an object of the session: `CKA_TOKEN` false, so that it ends with the
//! session at the latest; `CKA_SENSITIVE` false and `CKA_EXTRACTABLE` true, without which it could not be read; the key's
//! own attributes stay as they are. It is read once, by the module into secret memory, and destroyed at once. Where it
//! cannot be destroyed nothing is given, and the session is closed.
//!
//! What a token says that it offers is tried before it is believed, with keys of a session: agreeing with the base point must
//! give the public half (RFC 7748, section 6.1), which nothing else than X25519 does.

use std::time::Duration;

use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use kms_core::{Kid, Secret};

use crate::calls::Function;
use crate::codes::Class;
use crate::error::{Error, Result};
use crate::object_id::ObjectId;
use crate::pair::{Kind, PUBLIC_KEY_LEN, generate, public_half};
use crate::session::Live;
use crate::token::Token;

/// u = 9.
const BASE_POINT: [u8; PUBLIC_KEY_LEN] = {
    let mut point = [0; PUBLIC_KEY_LEN];
    point[0] = 9;
    point
};

impl Token {
    /// Makes an X25519 key for this version, private, sensitive and not extractable, and gives its public half, as
    /// [`Token::generate_ed25519`] does.
    ///
    /// # Errors
    /// As there; `Unsupported` where [`Token::makes_x25519`] says no.
    pub fn generate_x25519(&self, kid: &Kid, within: Duration) -> Result<[u8; PUBLIC_KEY_LEN]> {
        let started = std::time::Instant::now();
        let kind = self.x25519_kind(within)?.ok_or(Error::Unsupported { what: "X25519" })?;
        self.generate(kid, kind, within.saturating_sub(started.elapsed()))
    }

    /// Whether X25519 keys are made in this token and agree there, as it was tried: when it was opened, and now if that did
    /// not tell.
    ///
    /// # Errors
    /// Those of every call, where it could not be found out.
    pub fn makes_x25519(&self, within: Duration) -> Result<bool> {
        Ok(self.capabilities().writable && self.x25519_kind(within)?.is_some())
    }

    /// The shared secret of the private half of this version and `public` (RFC 7748, section 6.1). The caller has refused
    /// points of small order; a token that gives zeros all the same is not believed.
    ///
    /// # Errors
    /// [`Error::NoSuchKey`], and those of every call.
    pub fn agree(
        &self,
        kid: &Kid,
        public: &[u8; PUBLIC_KEY_LEN],
        within: Duration,
    ) -> Result<Secret<32>> {
        let (id, public) = (ObjectId::private(kid), *public);
        self.run(within, true, move |live| {
            let key = live.object(&id).map_err(Error::of_proven_key)?;
            derive(live, key, &public).map_err(Error::of_proven_key)
        })
    }
}

/// Which words the token understands; `None` for none.
///
/// # Errors
/// What may pass: then nothing is known.
pub(crate) fn find_kind(live: &mut Live) -> Result<Option<Kind>> {
    let offered = live.mechanisms()?;
    if !offered.contains(&MechanismType::ECDH1_DERIVE) {
        return Ok(None);
    }
    for kind in Kind::AGREE.into_iter().filter(|kind| offered.contains(&kind.generator())) {
        match holds(live, kind) {
            Ok(true) => return Ok(Some(kind)),
            Ok(false) => {}
            Err(error) if error.class().is_some_and(Class::may_pass) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(None)
}

/// Makes a pair for the session, agrees with it, and destroys it.
fn holds(live: &Live, kind: Kind) -> Result<bool> {
    let pair = generate(live, kind, None)?;
    let tried = public_half(live, pair.public)
        .and_then(|public| Ok(*derive(live, pair.private, &BASE_POINT)?.expose() == public));
    for made in [pair.private, pair.public] {
        live.call(Function::DestroyObject, |session| session.destroy_object(made))?;
    }
    tried
}

/// CKM_ECDH1_DERIVE without a KDF (PKCS#11 v3.2, section 6.3.18), and what came out of it.
fn derive(live: &Live, key: ObjectHandle, public: &[u8; PUBLIC_KEY_LEN]) -> Result<Secret<32>> {
    // RFC 7748, section 5: the top bit means nothing, and not every library knows.
    let mut point = *public;
    point[PUBLIC_KEY_LEN - 1] &= 0x7f;
    let mechanism = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), &point));
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::ValueLen(32.into()),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ];
    let made =
        live.call(Function::DeriveKey, |session| session.derive_key(&mechanism, key, &template))?;
    let read = live.secret_value(made);
    live.call(Function::DestroyObject, |session| session.destroy_object(made))?;
    let shared = read?;
    // Zeros are of a point of small order, or a buffer that the module said it filled.
    if shared.expose().iter().fold(0, |all, byte| all | byte) == 0 {
        return Err(Error::Malformed { what: "a shared secret" });
    }
    Ok(shared)
}
