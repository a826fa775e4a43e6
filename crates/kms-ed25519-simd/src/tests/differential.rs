//! Every tier against ed25519-dalek's strict verification, on structured cases in every place of batches
//! of every length. `SIMD_ROUNDS` is the number of batches of about 24 cases each; the nightly run of ten
//! million cases is `SIMD_ROUNDS=420000 cargo test --release -p kms-ed25519-simd strict_verdict`.

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION};
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_dalek::{Signature, VerifyingKey};
use proptest::prelude::*;
use sha2::{Digest, Sha512};

use crate::strict::{point_is_canonical, signature_is_canonical};
use crate::{Item, KeyTable, TableSize, Tier, verify, verify_batch};

/// L, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

struct Signer {
    secret: Scalar,
    public: [u8; 32],
}

/// Keys without and with torsion: whoever makes a key may put it there.
fn signers() -> Vec<Signer> {
    (0..12_u64)
        .map(|i| {
            let secret = Scalar::from(0x0123_4567_89ab_cdef_u64.wrapping_mul(2 * i + 3));
            let torsion =
                if i < 4 { EdwardsPoint::default() } else { EIGHT_TORSION[i as usize - 4] };
            Signer { secret, public: (secret * B + torsion).compress().to_bytes() }
        })
        .collect()
}

impl Sample {
    fn item<'a>(&'a self, table: Option<&'a KeyTable>) -> Item<'a> {
        let Sample { public, message, signature } = self;
        Item { public_key: public, table, message, signature }
    }
}

#[derive(Clone, Copy, Debug)]
enum Case {
    Valid,
    FlipSignature(u16),
    FlipMessage(u16),
    FlipKey(u8),
    TorsionInR(u8),
    SmallR(u8),
    SmallKey(u8),
    HighS(u8),
    NonCanonicalR(u8),
    NonCanonicalKey(u8),
    NearOrder(u8),
    Random(u64),
}

fn case() -> impl Strategy<Value = Case> {
    prop_oneof![
        4 => Just(Case::Valid),
        2 => (0..512_u16).prop_map(Case::FlipSignature),
        1 => any::<u16>().prop_map(Case::FlipMessage),
        1 => any::<u8>().prop_map(Case::FlipKey),
        2 => (0..8_u8).prop_map(Case::TorsionInR),
        1 => (0..16_u8).prop_map(Case::SmallR),
        1 => (0..16_u8).prop_map(Case::SmallKey),
        1 => (1..15_u8).prop_map(Case::HighS),
        1 => any::<u8>().prop_map(Case::NonCanonicalR),
        1 => any::<u8>().prop_map(Case::NonCanonicalKey),
        1 => any::<u8>().prop_map(Case::NearOrder),
        1 => any::<u64>().prop_map(Case::Random),
    ]
}

#[derive(Clone, Debug)]
struct Sample {
    public: [u8; 32],
    message: Vec<u8>,
    signature: [u8; 64],
}

fn sign(signer: &Signer, message: &[u8], nonce: u64, torsion: EdwardsPoint) -> [u8; 64] {
    let r = Scalar::from(nonce | 1);
    let encoded = (r * B + torsion).compress().to_bytes();
    let hash =
        Sha512::new().chain_update(encoded).chain_update(signer.public).chain_update(message);
    let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&encoded);
    signature[32..].copy_from_slice((r + k * signer.secret).as_bytes());
    signature
}

fn sample(signer: &Signer, case: Case, message: Vec<u8>, nonce: u64) -> Sample {
    let torsion = match case {
        Case::TorsionInR(i) => EIGHT_TORSION[usize::from(i)],
        _ => EdwardsPoint::default(),
    };
    let signature = sign(signer, &message, nonce, torsion);
    let mut sample = Sample { public: signer.public, message, signature };
    let small = |i: u8| {
        let mut bytes = EIGHT_TORSION[usize::from(i % 8)].compress().to_bytes();
        bytes[31] ^= (i / 8) << 7;
        bytes
    };
    // p - 19 + n in a sign of choice: canonical below 19, not from there on.
    let near_p = |n: u8| {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xed_u8.wrapping_sub(19).saturating_add(n % 38);
        bytes[31] = 0x7f | n & 0x80;
        bytes
    };
    match case {
        Case::Valid | Case::TorsionInR(_) => {}
        Case::FlipSignature(bit) => sample.signature[usize::from(bit / 8)] ^= 1 << (bit % 8),
        Case::FlipMessage(bit) => match sample.message.len() {
            0 => sample.message.push(1),
            len => sample.message[usize::from(bit / 8) % len] ^= 1 << (bit % 8),
        },
        Case::FlipKey(bit) => sample.public[usize::from(bit / 8)] ^= 1 << (bit % 8),
        Case::SmallR(i) => sample.signature[..32].copy_from_slice(&small(i)),
        Case::SmallKey(i) => sample.public = small(i),
        Case::HighS(times) => {
            for _ in 0..times {
                let mut carry = 0;
                for (byte, order) in sample.signature[32..].iter_mut().zip(ORDER) {
                    let sum = u16::from(*byte) + u16::from(order) + carry;
                    *byte = sum as u8;
                    carry = sum >> 8;
                }
            }
        }
        Case::NonCanonicalR(n) => sample.signature[..32].copy_from_slice(&near_p(n)),
        Case::NonCanonicalKey(n) => sample.public = near_p(n),
        Case::NearOrder(n) => {
            sample.signature[32..].copy_from_slice(&ORDER);
            sample.signature[32] = ORDER[0].wrapping_add(n % 5).wrapping_sub(2);
        }
        Case::Random(seed) => {
            let hash: [u8; 64] = Sha512::digest(seed.to_le_bytes()).into();
            sample.signature = hash;
        }
    }
    sample
}

/// ed25519-dalek's verdict: strict, and with the test of A that it lacks.
fn expected(sample: &Sample) -> bool {
    let canonical = signature_is_canonical(&sample.signature) && point_is_canonical(&sample.public);
    let strict = VerifyingKey::from_bytes(&sample.public).is_ok_and(|key| {
        key.verify_strict(&sample.message, &Signature::from_bytes(&sample.signature)).is_ok()
    });
    assert!(
        canonical || !strict || !point_is_canonical(&sample.public),
        "the filters refuse too much"
    );
    strict && canonical
}

/// Which table the key of an item has.
fn table(tier: Tier, sample: &Sample, choice: u8) -> Option<KeyTable> {
    let size = match choice % 3 {
        0 => TableSize::Full,
        1 => TableSize::Small,
        _ => return None,
    };
    KeyTable::build(tier, &sample.public, size)
}

fn rounds() -> u32 {
    std::env::var("SIMD_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: rounds(), failure_persistence: None, ..ProptestConfig::default() })]

    /// Any mixture of cases, keys, tables and lengths: batch, single and dalek agree in every tier.
    #[test]
    fn every_tier_gives_the_strict_verdict(
        recipes in prop::collection::vec(
            (0..12_usize, case(), prop::collection::vec(any::<u8>(), 0..300), any::<u64>(), any::<u8>()), 0..48
        )
    ) {
        let signers = signers();
        let samples: Vec<(Sample, u8)> = recipes
            .into_iter()
            .map(|(who, case, message, nonce, choice)| (sample(&signers[who], case, message, nonce), choice))
            .collect();
        let verdicts: Vec<bool> = samples.iter().map(|(sample, _)| expected(sample)).collect();
        for tier in Tier::available() {
            let tables: Vec<Option<KeyTable>> =
                samples.iter().map(|(sample, choice)| table(tier, sample, *choice)).collect();
            let items: Vec<Item<'_>> = samples
                .iter()
                .zip(&tables)
                .map(|((sample, _), table)| sample.item(table.as_ref()))
                .collect();
            let mut out = vec![9; items.len()];
            verify_batch(tier, &items, &mut out);
            for (i, item) in items.iter().enumerate() {
                prop_assert_eq!(out[i], u8::from(verdicts[i]), "{} batch, item {}", tier.name(), i);
                prop_assert_eq!(verify(tier, item), verdicts[i], "{} single, item {}", tier.name(), i);
            }
        }
    }
}

/// A bad item at every place of batches of every length up to three vectors, in company of good ones.
#[test]
fn every_place_of_every_length_is_judged_alone() {
    let signers = signers();
    let good = sample(&signers[0], Case::Valid, vec![7; 100], 5);
    let bad: Vec<Sample> =
        [Case::FlipSignature(300), Case::TorsionInR(4), Case::HighS(1), Case::FlipMessage(3)]
            .into_iter()
            .map(|case| sample(&signers[0], case, vec![7; 100], 5))
            .collect();
    for tier in Tier::available() {
        for size in [Some(TableSize::Full), Some(TableSize::Small), None] {
            let table = size.and_then(|size| KeyTable::build(tier, &good.public, size));
            for length in 1..=25 {
                for place in 0..length {
                    let mut items = vec![good.item(table.as_ref()); length];
                    items[place] = bad[(place + length) % bad.len()].item(table.as_ref());
                    let mut out = vec![9; length];
                    verify_batch(tier, &items, &mut out);
                    let expected: Vec<u8> = (0..length).map(|i| u8::from(i != place)).collect();
                    assert_eq!(out, expected, "{} {size:?} {place} of {length}", tier.name());
                }
            }
        }
    }
}

/// Messages of every length around the borders of hash blocks, mixed lengths in one vector.
#[test]
fn every_message_length_hashes_right() {
    let signer = &signers()[1];
    let samples: Vec<Sample> = (0..700)
        .map(|i| sample(signer, Case::Valid, vec![i as u8; (i * 37) % 700], i as u64))
        .chain((0..64).map(|i| sample(signer, Case::Valid, vec![1; 40 + i], 3)))
        .chain([sample(signer, Case::Valid, vec![2; 100_000], 9)])
        .collect();
    for tier in Tier::available() {
        let table = KeyTable::build(tier, &signer.public, TableSize::Full);
        let items: Vec<Item<'_>> =
            samples.iter().map(|sample| sample.item(table.as_ref())).collect();
        let mut out = vec![9; items.len()];
        verify_batch(tier, &items, &mut out);
        assert!(out.iter().all(|verdict| *verdict == 1), "{}", tier.name());
    }
}
