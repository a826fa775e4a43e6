//! How keys are found again on a token after a restart.
//!
//! | attribute | of a key version | of a wrapping key | of a device key |
//! | --- | --- | --- | --- |
//! | CKA_ID | UUID of the key, 16 bytes, then the version, 4 bytes, most significant first | `ron-kms-wrap`, 12 bytes, then UUID, 16 bytes | `ron-kms-seal`, 12 bytes, then UUID, 16 bytes |
//! | CKA_LABEL | the kid without `#vN`: `<tenant>/<purpose>/<alg>/<uuid>` | `ron-kms/wrapping-key/<uuid>` | `ron-kms/device-key/<uuid>` |
//! | CKA_CLASS | private key, and public key beside it | secret key | private key, and public key beside it |
//!
//! CKA_ID decides; the label is for people, and finds all versions of a key at once. A label whose UUID is not that of
//! the id is not ours.

use cryptoki::object::{Attribute, ObjectClass};
use kms_core::{KeyId, Kid, KidRef, Name, Version};
use uuid::Uuid;

const WRAPPING_PREFIX: &[u8; 12] = b"ron-kms-wrap";
const DEVICE_PREFIX: &[u8; 12] = b"ron-kms-seal";
/// Length of the id of a key version in bytes.
pub const KEY_ID_LEN: usize = 16 + 4;
/// Length of the id of a wrapping key in bytes.
pub const WRAPPING_ID_LEN: usize = 12 + 16;

/// Names one object of the token: class and CKA_ID.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ObjectId {
    class: Class,
    id: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Class {
    Private,
    Public,
    Secret,
}

impl ObjectId {
    pub(crate) fn private(kid: &Kid) -> ObjectId {
        ObjectId { class: Class::Private, id: key_id(kid).to_vec() }
    }

    pub(crate) fn public(kid: &Kid) -> ObjectId {
        ObjectId { class: Class::Public, id: key_id(kid).to_vec() }
    }

    pub(crate) fn wrapping(uuid: &Uuid) -> ObjectId {
        ObjectId { class: Class::Secret, id: wrapping_id(uuid).to_vec() }
    }

    pub(crate) fn device(uuid: &Uuid) -> ObjectId {
        ObjectId { class: Class::Private, id: prefixed(DEVICE_PREFIX, uuid).to_vec() }
    }

    pub(crate) fn device_public(uuid: &Uuid) -> ObjectId {
        ObjectId { class: Class::Public, id: prefixed(DEVICE_PREFIX, uuid).to_vec() }
    }

    /// What finds it.
    pub(crate) fn template(&self) -> [Attribute; 3] {
        let class = match self.class {
            Class::Private => ObjectClass::PRIVATE_KEY,
            Class::Public => ObjectClass::PUBLIC_KEY,
            Class::Secret => ObjectClass::SECRET_KEY,
        };
        [Attribute::Class(class), Attribute::Token(true), Attribute::Id(self.id.clone())]
    }
}

/// CKA_ID of a key version.
pub(crate) fn key_id(kid: &Kid) -> [u8; KEY_ID_LEN] {
    let mut id = [0; KEY_ID_LEN];
    id[..16].copy_from_slice(kid.key.uuid.as_bytes());
    id[16..].copy_from_slice(&kid.version.get().to_be_bytes());
    id
}

/// CKA_ID of a wrapping key.
pub(crate) fn wrapping_id(uuid: &Uuid) -> [u8; WRAPPING_ID_LEN] {
    prefixed(WRAPPING_PREFIX, uuid)
}

fn prefixed(prefix: &[u8; 12], uuid: &Uuid) -> [u8; WRAPPING_ID_LEN] {
    let mut id = [0; WRAPPING_ID_LEN];
    id[..12].copy_from_slice(prefix);
    id[12..].copy_from_slice(uuid.as_bytes());
    id
}

/// CKA_ID and CKA_LABEL of a pair that stays on the token.
#[derive(Clone)]
pub(crate) struct Names {
    pub(crate) id: Vec<u8>,
    pub(crate) label: Vec<u8>,
}

impl Names {
    pub(crate) fn of_version(kid: &Kid) -> Names {
        Names { id: key_id(kid).to_vec(), label: key_label(&kid.key) }
    }

    pub(crate) fn of_device(uuid: &Uuid) -> Names {
        let label = format!("ron-kms/device-key/{}", uuid.as_hyphenated());
        Names { id: prefixed(DEVICE_PREFIX, uuid).to_vec(), label: label.into_bytes() }
    }
}

/// CKA_LABEL of all versions of a key.
pub(crate) fn key_label(key: &KeyId) -> Vec<u8> {
    key.to_string().into_bytes()
}

/// CKA_LABEL of a wrapping key.
pub(crate) fn wrapping_label(uuid: &Uuid) -> Vec<u8> {
    format!("ron-kms/wrapping-key/{}", uuid.as_hyphenated()).into_bytes()
}

/// The version that an object is of; `None` where it is not of this key.
pub(crate) fn version_of(key: &KeyId, label: &[u8], id: &[u8]) -> Option<Version> {
    let label = KidRef::parse(std::str::from_utf8(label).ok()?).ok()?;
    let (uuid, version) = id.split_first_chunk::<16>()?;
    let ours = label.version.is_none() && label.names(key) && uuid == key.uuid.as_bytes();
    let version = u32::from_be_bytes(version.try_into().ok()?);
    if ours { Version::new(version) } else { None }
}

/// The version that an object is of, whatever key it is; `None` for what does not have the form of ours.
pub(crate) fn kid_of(label: &[u8], id: &[u8]) -> Option<Kid> {
    let named = KidRef::parse(std::str::from_utf8(label).ok()?).ok()?;
    let key = KeyId {
        tenant: Name::parse(named.tenant, "tenant").ok()?,
        purpose: Name::parse(named.purpose, "purpose").ok()?,
        alg: named.alg,
        uuid: named.uuid,
    };
    version_of(&key, label, id).map(|version| key.at(version))
}

#[cfg(test)]
mod tests {
    use kms_core::Algorithm;

    use super::*;

    fn key() -> KeyId {
        KeyId {
            tenant: Name::parse("t1", "tenant").unwrap(),
            purpose: Name::parse("auth", "purpose").unwrap(),
            alg: Algorithm::Ed25519,
            uuid: Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
        }
    }

    #[test]
    fn id_and_label_give_the_version_back_and_nothing_else_does() {
        let version = Version::new(0x0102).unwrap();
        let (label, id) = (key_label(&key()), key_id(&key().at(version)));
        assert_eq!(version_of(&key(), &label, &id), Some(version));
        assert_eq!(kid_of(&label, &id), Some(key().at(version)));
        assert_eq!(kid_of(b"another program's", &id), None);
        let mut other = key();
        other.uuid = Uuid::nil();
        assert_eq!(version_of(&other, &label, &id), None);
        assert_eq!(version_of(&key(), &key_label(&other), &id), None);
        assert_eq!(version_of(&key(), &[&label[..], b"#v1"].concat(), &id), None);
        for len in 0..id.len() {
            assert_eq!(version_of(&key(), &label, &id[..len]), None);
        }
        for len in 0..label.len() {
            assert_eq!(version_of(&key(), &label[..len], &id), None);
        }
        assert_eq!(version_of(&key(), &label, &[&id[..], &[0]].concat()), None);
        let zero = [&id[..16], &[0; 4]].concat();
        assert_eq!(version_of(&key(), &label, &zero), None);
        assert_eq!(version_of(&key(), &[0xff; 8], &id), None);
        let Names { id, label } = Names::of_device(&key().uuid);
        assert_eq!((kid_of(&label, &id), id.len()), (None, WRAPPING_ID_LEN));
    }
}
