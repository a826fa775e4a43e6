//! Signatures good and bad, made cheaply: a nonce's point is the one before plus B, and most bad ones are a
//! good one with a change.

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION};
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha512};

use crate::{Item, KeyTable};

/// L, little-endian.
pub(super) const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// SplitMix64: the same cases for the same seed, everywhere.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.fill_with(|| self.next() as u8);
        bytes
    }
}

pub(super) struct Signer {
    secret: Scalar,
    pub(super) public: [u8; 32],
}

/// Keys without and with torsion (whoever makes a key may put it there), all eight points of it.
pub(super) fn signers() -> Vec<Signer> {
    (0..12_u64)
        .map(|i| {
            let secret = Scalar::from(0x0123_4567_89ab_cdef_u64.wrapping_mul(2 * i + 3));
            let torsion =
                if i < 4 { EdwardsPoint::default() } else { EIGHT_TORSION[i as usize - 4] };
            Signer { secret, public: (secret * B + torsion).compress().to_bytes() }
        })
        .collect()
}

#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) public: [u8; 32],
    pub(super) message: Vec<u8>,
    pub(super) signature: [u8; 64],
}

impl Sample {
    pub(super) fn item<'a>(&'a self, table: Option<&'a KeyTable>) -> Item<'a> {
        let Sample { public, message, signature } = self;
        Item { public_key: public, table, message, signature }
    }

    pub(super) fn k(&self) -> Scalar {
        let hash = Sha512::new()
            .chain_update(&self.signature[..32])
            .chain_update(self.public)
            .chain_update(&self.message);
        Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
    }

    fn set_r(&mut self, encoded: [u8; 32]) {
        self.signature[..32].copy_from_slice(&encoded);
    }

    fn set_s(&mut self, s: Scalar) {
        self.signature[32..].copy_from_slice(s.as_bytes());
    }

    /// ed25519-dalek's verdict: strict, and with the test of A that it lacks.
    pub(super) fn expected(&self) -> bool {
        let signature = Signature::from_bytes(&self.signature);
        let strict = VerifyingKey::from_bytes(&self.public)
            .is_ok_and(|key| key.verify_strict(&self.message, &signature).is_ok());
        let encoded = || CompressedEdwardsY(self.public).decompress().map(|a| a.compress().0);
        strict && encoded() == Some(self.public)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Case {
    Valid,
    FlipSignature(usize),
    FlipMessage(usize),
    FlipKey(usize),
    OtherKey,
    NextS,
    /// R + T: valid where the torsion of A makes up for it.
    TorsionInR(usize),
    /// R small, and S such that the equation holds but for the torsion.
    SmallR(usize),
    /// A small, and R and S such that the equation holds.
    SmallKey(usize),
    HighS(usize),
    NearOrder(usize),
    NearPInR(usize),
    NearPInKey(usize),
    RandomR,
    RandomS,
    RandomKey,
}

/// Number of encodings in `small`.
pub(super) const SMALL: usize = 14;

/// The eight points of small order in every encoding that 32 bytes have for them.
pub(super) fn small(i: usize) -> [u8; 32] {
    let point = |i: usize| EIGHT_TORSION[i].compress().to_bytes();
    let signed = |mut bytes: [u8; 32]| {
        bytes[31] ^= 0x80;
        bytes
    };
    // y + p for y = 0 and 1.
    let above = |y: u8| {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xed + y;
        bytes[31] = 0x7f;
        bytes
    };
    match i {
        0..8 => point(i),
        // Points 0 and 4 have x = 0, and so no sign.
        8 => signed(point(0)),
        9 => signed(point(4)),
        10 => above(0),
        11 => signed(above(0)),
        12 => above(1),
        _ => signed(above(1)),
    }
}

/// p - 19 to p + 18 in either sign, for n below 76: canonical below p.
fn near_p(n: usize) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xda + (n % 38) as u8;
    bytes[31] = if n < 38 { 0x7f } else { 0xff };
    bytes
}

impl Case {
    pub(super) fn any(rng: &mut Rng) -> Case {
        match rng.below(24) {
            0..6 => Case::Valid,
            6 | 7 => Case::FlipSignature(rng.below(512)),
            8 => Case::FlipMessage(rng.below(4096)),
            9 => Case::FlipKey(rng.below(256)),
            10 => Case::OtherKey,
            11 => Case::NextS,
            12..15 => Case::TorsionInR(rng.below(8)),
            15 => Case::SmallR(rng.below(SMALL)),
            16 => Case::SmallKey(rng.below(SMALL)),
            17 => Case::HighS(1 + rng.below(14)),
            18 => Case::NearOrder(rng.below(5)),
            19 => Case::NearPInR(rng.below(76)),
            20 => Case::NearPInKey(rng.below(76)),
            21 => Case::RandomR,
            22 => Case::RandomS,
            _ => Case::RandomKey,
        }
    }
}

pub(super) struct Generator {
    pub(super) signers: Vec<Signer>,
    pub(super) rng: Rng,
    nonce: Scalar,
    point: EdwardsPoint,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Generator {
        let mut rng = Rng(seed);
        let nonce = Scalar::from_bytes_mod_order(rng.bytes());
        Generator { signers: signers(), rng, nonce, point: EdwardsPoint::mul_base(&nonce) }
    }

    /// A message of a length that is mostly short.
    fn message(&mut self) -> Vec<u8> {
        let most = if self.rng.below(8) == 0 { 700 } else { 150 };
        let len = self.rng.below(most);
        let fill = self.rng.bytes::<32>();
        (0..len).map(|i| fill[i % 32]).collect()
    }

    /// A valid signature, under a key without torsion.
    pub(super) fn signed(&mut self, who: usize, message: Vec<u8>) -> Sample {
        let signer = &self.signers[who];
        let mut sample = Sample { public: signer.public, message, signature: [0; 64] };
        sample.set_r(self.point.compress().to_bytes());
        sample.set_s(self.nonce + sample.k() * signer.secret);
        sample
    }

    /// A case under the key of a signer.
    pub(super) fn sample(&mut self, who: usize, case: Case) -> Sample {
        self.nonce += Scalar::ONE;
        self.point += B;
        let torsion = match case {
            Case::TorsionInR(i) => EIGHT_TORSION[i],
            _ => EdwardsPoint::default(),
        };
        let (secret, public) = (self.signers[who].secret, self.signers[who].public);
        let mut sample = Sample { public, message: self.message(), signature: [0; 64] };
        sample.set_r((self.point + torsion).compress().to_bytes());
        sample.set_s(self.nonce + sample.k() * secret);
        match case {
            Case::Valid | Case::TorsionInR(_) => {}
            Case::FlipSignature(bit) => sample.signature[bit / 8] ^= 1 << (bit % 8),
            Case::FlipMessage(bit) => match sample.message.len() {
                0 => sample.message.push(1),
                len => sample.message[bit / 8 % len] ^= 1 << (bit % 8),
            },
            Case::FlipKey(bit) => sample.public[bit / 8] ^= 1 << (bit % 8),
            Case::OtherKey => sample.public = self.signers[(who + 1) % self.signers.len()].public,
            Case::NextS => sample.set_s(self.nonce + sample.k() * secret + Scalar::ONE),
            Case::SmallR(i) => {
                sample.set_r(small(i));
                sample.set_s(sample.k() * secret);
            }
            Case::SmallKey(i) => {
                sample.public = small(i);
                // R = rB - jA: the equation holds with S = r once k is j on A.
                let a = CompressedEdwardsY(small(i)).decompress().unwrap_or_default();
                for j in 0..8_u8 {
                    let minus_ja = -(Scalar::from(j) * a);
                    sample.set_r((self.point + minus_ja).compress().to_bytes());
                    if sample.k() * a == -minus_ja {
                        break;
                    }
                }
                sample.set_s(self.nonce);
            }
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
            Case::NearOrder(n) => {
                sample.signature[32..].copy_from_slice(&ORDER);
                sample.signature[32] = ORDER[0] - 2 + n as u8;
            }
            Case::NearPInR(n) => sample.set_r(near_p(n)),
            Case::NearPInKey(n) => sample.public = near_p(n),
            Case::RandomR => sample.set_r(self.rng.bytes()),
            Case::RandomS => sample.set_s(Scalar::from_bytes_mod_order(self.rng.bytes())),
            Case::RandomKey => sample.public = self.rng.bytes(),
        }
        sample
    }
}
