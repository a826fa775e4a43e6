//! X25519 (RFC 7748, section 5), in two lanes.
//!
//! Encodings are taken as the RFC says: the top bit of a public key is ignored, and values from 2^255 - 19 on stand for
//! their residue. So a point has several encodings; protocols that compare keys or bind them (HPKE and X-Wing do) bind
//! the bytes. What is refused is a point of small order, in every encoding, because a secret made with it is zero.

use kms_core::{Entropy, KmsError, Result, Secret};
use x25519_dalek::{PublicKey, SharedSecret, StaticSecret};

use crate::lane;
use crate::stack::{LIGHT, scrubbed};

/// Length of a public key in bytes.
pub const PUBLIC_KEY_LEN: usize = 32;
/// Length of a private key in bytes; every string of this length is one.
pub const PRIVATE_KEY_LEN: usize = 32;

// x25519-dalek wipes its keys only with its feature `zeroize`: without it this does not compile.
const _: fn() = || {
    fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    wiped::<StaticSecret>();
    wiped::<SharedSecret>();
};

/// Who computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lane {
    /// The fastest lane of this build: AWS-LC where it is built, x25519-dalek elsewhere.
    #[default]
    Auto,
    /// x25519-dalek; the reference.
    Dalek,
    /// AWS-LC.
    #[cfg(feature = "aws-lc")]
    AwsLc,
}

impl Lane {
    /// Every lane of this build.
    pub const ALL: &[Lane] = &[
        Lane::Auto,
        Lane::Dalek,
        #[cfg(feature = "aws-lc")]
        Lane::AwsLc,
    ];

    /// The lane that `auto` stands for.
    const fn resolved(self) -> Lane {
        match self {
            #[cfg(feature = "aws-lc")]
            Lane::Auto => Lane::AwsLc,
            #[cfg(not(feature = "aws-lc"))]
            Lane::Auto => Lane::Dalek,
            named => named,
        }
    }

    /// The name users choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            Lane::Auto => "auto",
            Lane::Dalek => "dalek",
            #[cfg(feature = "aws-lc")]
            Lane::AwsLc => "aws-lc",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// `BadRequest`, field `lane`.
    pub fn parse(name: &str) -> Result<Lane> {
        Lane::ALL
            .iter()
            .copied()
            .find(|lane| lane.name() == name)
            .ok_or_else(|| KmsError::bad_request("no such lane in this build").field("lane"))
    }
}

/// The lane beside one of ML-KEM, where the two work together.
impl From<lane::Lane> for Lane {
    fn from(lane: lane::Lane) -> Lane {
        match lane {
            lane::Lane::Auto => Lane::Auto,
            lane::Lane::RustCrypto => Lane::Dalek,
            #[cfg(feature = "aws-lc")]
            lane::Lane::AwsLc => Lane::AwsLc,
        }
    }
}

/// A fresh private key (RFC 7748, section 6.1).
///
/// # Errors
/// `Internal` when there is no randomness.
pub fn generate(entropy: &dyn Entropy) -> Result<Secret<PRIVATE_KEY_LEN>> {
    Secret::random(entropy)
}

/// The public half of a private key (section 6.1).
pub fn public_key(lane: Lane, private: &Secret<PRIVATE_KEY_LEN>) -> [u8; PUBLIC_KEY_LEN] {
    match lane.resolved() {
        // dalek takes the key by value: that copy is on the stack.
        Lane::Auto | Lane::Dalek => scrubbed::<LIGHT, _>(|| {
            PublicKey::from(&StaticSecret::from(*private.expose())).to_bytes()
        }),
        #[cfg(feature = "aws-lc")]
        Lane::AwsLc => scrubbed::<LIGHT, _>(|| kms_aws_lc::x25519::public_key(private.expose())),
    }
}

/// The shared secret of a private key and someone's public key (section 6.1), in time that depends on neither.
///
/// # Errors
/// `BadRequest`, field `publicKey`, if the secret is all zero, which it is for the points that [`check_public_key`]
/// refuses and no others.
pub fn diffie_hellman(
    lane: Lane,
    private: &Secret<PRIVATE_KEY_LEN>,
    public: &[u8; PUBLIC_KEY_LEN],
) -> Result<Secret<32>> {
    let mut contributory = false;
    let shared = scrubbed::<LIGHT, _>(|| {
        Secret::fill(|out| {
            contributory = match lane.resolved() {
                Lane::Auto | Lane::Dalek => {
                    let private = StaticSecret::from(*private.expose());
                    let shared = private.diffie_hellman(&PublicKey::from(*public));
                    out.copy_from_slice(shared.as_bytes());
                    shared.was_contributory()
                }
                #[cfg(feature = "aws-lc")]
                Lane::AwsLc => kms_aws_lc::x25519::diffie_hellman(private.expose(), public, out),
            }
        })
    });
    if !contributory {
        return Err(small_order());
    }
    Ok(shared)
}

/// Refuses the points of small order: 0, 1, -1 and the two of order 8, in every encoding.
///
/// # Errors
/// `BadRequest`, field `publicKey`, for those and for a wrong length.
pub fn check_public_key(bytes: &[u8]) -> Result<[u8; PUBLIC_KEY_LEN]> {
    let public: [u8; PUBLIC_KEY_LEN] = bytes
        .try_into()
        .map_err(|_| KmsError::bad_request("must be 32 bytes").field("publicKey"))?;
    let mut masked = public;
    masked[31] &= 0x7f;
    if SMALL_ORDER.contains(&masked) { Err(small_order()) } else { Ok(public) }
}

fn small_order() -> KmsError {
    KmsError::bad_request("an X25519 public key of small order").field("publicKey")
}

/// The u coordinates of small order below 2^255, little-endian: 0, 1, the two of order 8, p - 1, and p and p + 1, which
/// stand for 0 and 1.
const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    low(1),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    high(0xec),
    high(0xed),
    high(0xee),
];

/// `first`, then zeros.
const fn low(first: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = first;
    bytes
}

/// `first`, then the bytes of 2^255 - 1.
const fn high(first: u8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = first;
    bytes[31] = 0x7f;
    bytes
}

#[cfg(test)]
mod tests {
    use kms_core::OsEntropy;
    use kms_testkit::{cases, vectors};

    use super::*;

    fn array(bytes: Vec<u8>) -> [u8; 32] {
        bytes.try_into().expect("32 bytes")
    }

    #[test]
    fn wycheproof() {
        let file = vectors::json("wycheproof/x25519_test.json.gz");
        let mut refused = 0;
        for case in vectors::cases(&file) {
            let field = |name| array(vectors::hex_field(case, name));
            let (public, expected) = (field("public"), field("shared"));
            let small = check_public_key(&public).is_err();
            assert_eq!(small, expected == [0; 32], "tcId {}", case["tcId"]);
            refused += usize::from(small);
            for &lane in Lane::ALL {
                let shared = diffie_hellman(lane, &Secret::take(&mut field("private")), &public);
                match shared {
                    Ok(shared) => assert_eq!(*shared.expose(), expected, "tcId {}", case["tcId"]),
                    Err(error) => {
                        assert!(small, "tcId {}", case["tcId"]);
                        assert_eq!(error.field.as_deref(), Some("publicKey"));
                    }
                }
            }
        }
        assert!(refused > 30);
    }

    /// RFC 7748, section 6.1.
    #[test]
    fn rfc7748_section_6_1() {
        let hex = |text| array(vectors::hex(text));
        let alice = hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let bob = hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let alice_public = hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        let bob_public = hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        let shared = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        for &lane in Lane::ALL {
            let [alice, bob] = [alice, bob].map(|mut key| Secret::take(&mut key));
            assert_eq!(public_key(lane, &alice), alice_public);
            assert_eq!(public_key(lane, &bob), bob_public);
            assert_eq!(*diffie_hellman(lane, &alice, &bob_public).unwrap().expose(), shared);
            assert_eq!(*diffie_hellman(lane, &bob, &alice_public).unwrap().expose(), shared);
        }
    }

    #[test]
    fn small_order_is_found_in_every_encoding() {
        for point in SMALL_ORDER {
            for top in [0, 0x80] {
                let mut encoded = point;
                encoded[31] |= top;
                assert!(check_public_key(&encoded).is_err());
                for &lane in Lane::ALL {
                    let private = generate(&OsEntropy).unwrap();
                    assert!(diffie_hellman(lane, &private, &encoded).is_err());
                }
            }
        }
        assert!(check_public_key(&low(9)).is_ok());
        assert!(check_public_key(&[9; 31]).is_err());
    }

    #[test]
    fn lanes_agree() {
        cases::run("x25519", |random| {
            let private: [u8; 32] = array(random.bytes(32));
            let public = array(random.bytes(32));
            let lanes = [Lane::Dalek, Lane::Auto];
            let [a, b] = lanes.map(|lane| public_key(lane, &Secret::take(&mut { private })));
            assert_eq!(a, b);
            let [a, b] =
                lanes.map(|lane| diffie_hellman(lane, &Secret::take(&mut { private }), &public));
            assert_eq!(a.map(|shared| *shared.expose()), b.map(|shared| *shared.expose()));
        });
    }
}
