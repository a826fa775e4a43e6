//! Key pairs on Curve25519: what they are made with, and how their public halves are read.

use crate::calls::Function;
use crate::codes::Class;
use crate::error::{Error, Result};
use crate::object_id::Names;
use crate::session::Live;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};

/// Length of a public key in bytes, of both kinds of keys.
pub const PUBLIC_KEY_LEN: usize = 32;

/// What a pair is for, and the words in which the token is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ed25519 (PKCS#11 v3.0, section 2.3.5).
    Ed25519,
    /// X25519 as PKCS#11 v3.0 has it: CKM_EC_MONTGOMERY_KEY_PAIR_GEN and CKK_EC_MONTGOMERY.
    X25519,
    /// X25519 as SoftHSM 2.6 has it: CKM_EC_EDWARDS_KEY_PAIR_GEN and CKK_EC_EDWARDS, told by the curve alone.
    X25519AsEdwards,
}

impl Kind {
    /// The standard's words first.
    pub(crate) const AGREE: [Kind; 2] = [Kind::X25519, Kind::X25519AsEdwards];

    /// What makes the pair.
    pub(crate) fn generator(self) -> MechanismType {
        match self {
            Kind::X25519 => MechanismType::ECC_MONTGOMERY_KEY_PAIR_GEN,
            Kind::Ed25519 | Kind::X25519AsEdwards => MechanismType::ECC_EDWARDS_KEY_PAIR_GEN,
        }
    }

    fn mechanism(self) -> Mechanism<'static> {
        match self {
            Kind::X25519 => Mechanism::EccMontgomeryKeyPairGen,
            Kind::Ed25519 | Kind::X25519AsEdwards => Mechanism::EccEdwardsKeyPairGen,
        }
    }

    fn key_type(self) -> KeyType {
        match self {
            Kind::X25519 => KeyType::EC_MONTGOMERY,
            Kind::Ed25519 | Kind::X25519AsEdwards => KeyType::EC_EDWARDS,
        }
    }

    /// CKA_EC_PARAMS: the object identifier of RFC 8410, and the name of PKCS#11 v3.0 (sections 2.3.5 and 2.3.6). Tokens take
    /// the one or the other.
    fn params(self) -> [&'static [u8]; 2] {
        match self {
            Kind::Ed25519 => [&[6, 3, 43, 101, 112], b"\x13\x0cedwards25519"],
            Kind::X25519 | Kind::X25519AsEdwards => [&[6, 3, 43, 101, 110], b"\x13\x0acurve25519"],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Ed25519 => "Ed25519",
            Kind::X25519 | Kind::X25519AsEdwards => "X25519",
        }
    }
}

/// The two objects of a pair.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) public: ObjectHandle,
    pub(crate) private: ObjectHandle,
}

/// Makes a pair, private, sensitive and not extractable: under these names and for good, or, without them, for as long as the
/// session lives.
pub(crate) fn generate(live: &Live, kind: Kind, names: Option<&Names>) -> Result<Pair> {
    let stays = Attribute::Token(names.is_some());
    let names = names.map(|it| [Attribute::Id(it.id.clone()), Attribute::Label(it.label.clone())]);
    let names = names.as_ref().map_or(&[][..], |names| &names[..]);
    let signs = kind == Kind::Ed25519;
    let mut private = vec![
        stays.clone(),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(signs),
        Attribute::Derive(!signs),
    ];
    private.extend_from_slice(names);
    let mut refused = None;
    for params in kind.params() {
        let mut public = vec![
            stays.clone(),
            Attribute::Private(false),
            Attribute::KeyType(kind.key_type()),
            Attribute::EcParams(params.to_vec()),
        ];
        if signs {
            public.push(Attribute::Verify(true));
        }
        public.extend_from_slice(names);
        let mechanism = kind.mechanism();
        let made = live.call(Function::GenerateKeyPair, |session| {
            session.generate_key_pair(&mechanism, &public, &private)
        });
        match made {
            Ok((public, private)) => return Ok(Pair { public, private }),
            Err(error) if error.class() == Some(Class::Unsupported) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or(Error::Unsupported { what: kind.name() }))
}

/// CKA_EC_POINT of a public key: DER of an octet string (PKCS#11 v2.40), of a bit string, or the bare bytes (v3.0
/// section 2.3.5).
pub(crate) fn public_half(live: &Live, public: ObjectHandle) -> Result<[u8; PUBLIC_KEY_LEN]> {
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
