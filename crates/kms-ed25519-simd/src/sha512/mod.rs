//! SHA-512 (FIPS 180-4, section 6.4) of R ‖ A ‖ M.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;

use sha2::{Digest, Sha512};

/// R, A and M of one signature.
pub(crate) struct Input<'a> {
    /// R ‖ A.
    pub(crate) prefix: [u8; 64],
    pub(crate) message: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn new(r: &[u8; 32], a: &[u8; 32], message: &'a [u8]) -> Input<'a> {
        let mut prefix = [0; 64];
        prefix[..32].copy_from_slice(r);
        prefix[32..].copy_from_slice(a);
        Input { prefix, message }
    }
}

/// Hashes one after the other. Not inlined into vector code, where the compiler would change it.
#[inline(never)]
pub(crate) fn hash_each(inputs: &[Input<'_>], out: &mut [[u8; 64]]) {
    for (input, out) in inputs.iter().zip(out) {
        *out =
            Sha512::new().chain_update(input.prefix).chain_update(input.message).finalize().into();
    }
}

/// The first block of every message here is R, A and up to 64 bytes of the message itself.
const BLOCK: usize = 128;

/// Blocks that `64 + len` bytes take with their padding.
fn blocks(len: usize) -> usize {
    (64 + len + 17).div_ceil(BLOCK)
}

/// Writes block `index` of R ‖ A ‖ M with its padding.
#[inline(always)]
fn write_block(out: &mut [u8; BLOCK], prefix: &[u8; 64], message: &[u8], index: usize) {
    let start = index * BLOCK;
    let end = start + BLOCK;
    let total = 64 + message.len();
    if start >= 64 && end <= total {
        out.copy_from_slice(&message[start - 64..end - 64]);
        return;
    }
    *out = [0; BLOCK];
    if index == 0 {
        out[..64].copy_from_slice(prefix);
        let n = message.len().min(64);
        out[64..64 + n].copy_from_slice(&message[..n]);
    } else if start < total {
        let rest = &message[start - 64..];
        let n = rest.len().min(BLOCK);
        out[..n].copy_from_slice(&rest[..n]);
    }
    if (start..end).contains(&total) {
        out[total - start] = 0x80;
    }
    if index + 1 == blocks(message.len()) {
        out[112..].copy_from_slice(&((total as u128) * 8).to_be_bytes());
    }
}

/// The initial state.
#[rustfmt::skip]
const INITIAL: [u64; 8] = [
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
];
/// A constant a round.
#[rustfmt::skip]
const ROUND: [u64; 80] = [
    0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc,
    0x3956c25bf348b538, 0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118,
    0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2,
    0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694,
    0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
    0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5,
    0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4,
    0xc6e00bf33da88fc2, 0xd5a79147930aa725, 0x06ca6351e003826f, 0x142929670a0e6e70,
    0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df,
    0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
    0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30,
    0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8,
    0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8,
    0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3,
    0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
    0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b,
    0xca273eceea26619c, 0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178,
    0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b,
    0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c,
    0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817,
];

/// The blocks of the longest of these inputs, if hashing them in so many lanes pays: not where a lane is without an
/// input, nor where lengths differ so much that most lanes would idle.
fn blocks_together(inputs: &[Input<'_>], lanes: usize) -> Option<usize> {
    let lengths = inputs.iter().map(|input| blocks(input.message.len()));
    let (longest, sum) = lengths.fold((0, 0), |(max, sum), n| (n.max(max), sum + n));
    // Taken as the break-even: a block in all lanes for two blocks in one. An estimate, not tuned.
    (inputs.len() == lanes && sum > 2 * longest).then_some(longest)
}
