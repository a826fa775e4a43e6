//! Bytes become a batch of signatures; every tier has to give ed25519-dalek's strict verdict, together and
//! alone.
//!
//! An item is five bytes, `[key, nonce, mutation, operand, operand]`, and, for the mutations that say so, 32
//! raw bytes more.

#![no_main]

use std::sync::OnceLock;

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION};
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_dalek::{Signature, VerifyingKey};
use kms_ed25519_simd::{Item, KeyTable, TableSize, Tier, verify, verify_batch};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha512};

/// More than two groups of the widest tier.
const MOST_ITEMS: usize = 140;
/// L, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Keys with every torsion, and their tables: by tier, then full and small.
struct Pool {
    secrets: Vec<Scalar>,
    keys: Vec<[u8; 32]>,
    nonces: Vec<(Scalar, EdwardsPoint)>,
    tables: Vec<(Tier, Vec<[Option<KeyTable>; 2]>)>,
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        let scalar = |n: u64| {
            let hash: [u8; 64] = Sha512::digest(n.to_le_bytes()).into();
            Scalar::from_bytes_mod_order_wide(&hash)
        };
        let secrets: Vec<Scalar> = (0..8).map(scalar).collect();
        let keys: Vec<[u8; 32]> = secrets
            .iter()
            .zip(EIGHT_TORSION)
            .map(|(secret, torsion)| (secret * B + torsion).compress().0)
            .collect();
        let nonces = (100..356).map(scalar).map(|nonce| (nonce, nonce * B)).collect();
        let tables = Tier::available()
            .into_iter()
            .map(|tier| {
                let sizes = [TableSize::Full, TableSize::Small];
                let of_key = |key| sizes.map(|size| KeyTable::build(tier, key, size));
                (tier, keys.iter().map(of_key).collect())
            })
            .collect();
        Pool { secrets, keys, nonces, tables }
    })
}

struct Sample {
    public: [u8; 32],
    signature: [u8; 64],
    message: Vec<u8>,
    /// 0 full, 1 small, else none.
    table: usize,
    who: usize,
}

impl Sample {
    fn k(&self) -> Scalar {
        let hash = Sha512::new()
            .chain_update(&self.signature[..32])
            .chain_update(self.public)
            .chain_update(&self.message);
        Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
    }

    fn expected(&self) -> bool {
        let signature = Signature::from_bytes(&self.signature);
        let strict = VerifyingKey::from_bytes(&self.public)
            .is_ok_and(|key| key.verify_strict(&self.message, &signature).is_ok());
        let encoded = || CompressedEdwardsY(self.public).decompress().map(|a| a.compress().0);
        strict && encoded() == Some(self.public)
    }

    fn table(&self, tables: &'static [[Option<KeyTable>; 2]]) -> Option<&'static KeyTable> {
        if self.public != pool().keys[self.who] {
            return None;
        }
        tables[self.who].get(self.table)?.as_ref()
    }
}

/// The points of small order, with a sign that may not be theirs, and y + p where that fits.
fn small(n: u8) -> [u8; 32] {
    let mut bytes = match n % 10 {
        i @ 0..8 => EIGHT_TORSION[usize::from(i)].compress().0,
        i => {
            let mut bytes = [0xff; 32];
            bytes[0] = 0xed + (i - 8);
            bytes[31] = 0x7f;
            bytes
        }
    };
    bytes[31] ^= n & 0x80;
    bytes
}

/// p - 19 and up.
fn near_p(n: u8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xda + n % 38;
    bytes[31] = 0x7f | n & 0x80;
    bytes
}

/// The next item, or `None` where the bytes end.
fn sample(data: &mut &[u8]) -> Option<Sample> {
    let [key, nonce, mutation, x, y] = *data.split_off(..5)?.as_array()?;
    let pool = pool();
    let who = usize::from(key % 8);
    let (r, point) = &pool.nonces[usize::from(nonce)];
    let torsion =
        if mutation % 16 == 1 { EIGHT_TORSION[usize::from(x % 8)] } else { EIGHT_TORSION[0] };
    let message = vec![y; if y < 250 { usize::from(y) } else { 10 * usize::from(y) }];
    let public = pool.keys[who];
    let mut sample =
        Sample { public, signature: [0; 64], message, table: usize::from(key / 8 % 3), who };
    sample.signature[..32].copy_from_slice(&(point + torsion).compress().0);
    let s = r + sample.k() * pool.secrets[who];
    sample.signature[32..].copy_from_slice(s.as_bytes());
    let mut raw = || -> Option<[u8; 32]> { data.split_off(..32)?.as_array().copied() };
    match mutation % 16 {
        2 => sample.signature[usize::from(x % 64)] ^= 1 << (y % 8),
        3 => sample.public[usize::from(x % 32)] ^= 1 << (y % 8),
        4 => sample.message.push(x),
        5 => sample.signature[..32].copy_from_slice(&small(x)),
        6 => {
            sample.signature[..32].copy_from_slice(&small(x));
            let s = sample.k() * pool.secrets[who];
            sample.signature[32..].copy_from_slice(s.as_bytes());
        }
        7 => {
            sample.public = small(x);
            sample.signature[32..].copy_from_slice(r.as_bytes());
        }
        8 => sample.signature[..32].copy_from_slice(&near_p(x)),
        9 => sample.public = near_p(x),
        10 => {
            sample.signature[32..].copy_from_slice(&ORDER);
            sample.signature[32] = ORDER[0].wrapping_add(x).wrapping_sub(128);
        }
        11 => {
            for _ in 0..=x % 15 {
                let mut carry = 0;
                for (byte, order) in sample.signature[32..].iter_mut().zip(ORDER) {
                    let sum = u16::from(*byte) + u16::from(order) + carry;
                    *byte = sum as u8;
                    carry = sum >> 8;
                }
            }
        }
        12 => sample.public = raw()?,
        13 => sample.signature[..32].copy_from_slice(&raw()?),
        14 => sample.signature[32..].copy_from_slice(&raw()?),
        15 => sample.public = pool.keys[usize::from(x % 8)],
        _ => {}
    }
    Some(sample)
}

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let samples: Vec<Sample> = std::iter::from_fn(|| sample(&mut data)).take(MOST_ITEMS).collect();
    let expected: Vec<u8> = samples.iter().map(|sample| u8::from(sample.expected())).collect();
    for (tier, tables) in &pool().tables {
        let items: Vec<Item<'_>> = samples
            .iter()
            .map(|sample| Item {
                public_key: &sample.public,
                table: sample.table(tables),
                message: &sample.message,
                signature: &sample.signature,
            })
            .collect();
        let mut out = vec![9; items.len()];
        verify_batch(*tier, &items, &mut out);
        assert_eq!(out, expected, "{} in a batch", tier.name());
        for (item, expected) in items.iter().zip(&expected) {
            assert_eq!(u8::from(verify(*tier, item)), *expected, "{} alone", tier.name());
        }
    }
});
