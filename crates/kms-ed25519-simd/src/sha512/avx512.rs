//! Eight SHA-512 computations side by side.

use std::arch::x86_64::*;

use super::{Input, hash_each};
use crate::field::ifma::transpose8;

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

/// Hashes eight inputs: together, unless their lengths differ so much that most lanes would idle.
#[inline(always)]
pub(crate) fn hash8(inputs: &[Input<'_>], out: &mut [[u8; 64]]) {
    let lengths = inputs.iter().map(|input| blocks(input.message.len()));
    let (longest, sum) = lengths.fold((0, 0), |(max, sum), n| (n.max(max), sum + n));
    // Taken as the break-even: a block in eight lanes for two blocks in one. An estimate, not tuned.
    if inputs.len() != 8 || sum <= 2 * longest {
        hash_each(inputs, out);
        return;
    }
    // SAFETY: only the AVX-512 tier calls this, inside a function with its target features.
    unsafe { hash_together(inputs, longest, out) }
}

#[inline(always)]
unsafe fn hash_together(inputs: &[Input<'_>], longest: usize, out: &mut [[u8; 64]]) {
    // SAFETY: the caller's.
    unsafe {
        let mut state = [_mm512_setzero_si512(); 8];
        for (word, initial) in state.iter_mut().zip(INITIAL) {
            *word = _mm512_set1_epi64(initial as i64);
        }
        let mut buffers = [[0u8; BLOCK]; 8];
        for index in 0..longest {
            let mut live: __mmask8 = 0;
            for (lane, (buffer, input)) in buffers.iter_mut().zip(inputs).enumerate() {
                if index < blocks(input.message.len()) {
                    write_block(buffer, &input.prefix, input.message, index);
                    live |= 1 << lane;
                }
            }
            let next = compress(state, &buffers);
            for i in 0..8 {
                state[i] = _mm512_mask_blend_epi64(live, state[i], next[i]);
            }
        }
        // Words are big-endian: swapped, the hash reads as bytes in order.
        let lanes = transpose8(state);
        for (out, lane) in out.iter_mut().zip(lanes) {
            _mm512_storeu_si512(out.as_mut_ptr().cast(), swap(lane));
        }
    }
}

#[inline(always)]
unsafe fn swap(x: __m512i) -> __m512i {
    // SAFETY: the caller's: the target features are on.
    unsafe {
        let bytes = _mm512_broadcast_i32x4(_mm_set_epi8(
            8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7,
        ));
        _mm512_shuffle_epi8(x, bytes)
    }
}

macro_rules! xor3 {
    ($a:expr, $b:expr, $c:expr) => {
        _mm512_ternarylogic_epi64::<0x96>($a, $b, $c)
    };
}

#[inline(always)]
unsafe fn compress(state: [__m512i; 8], buffers: &[[u8; BLOCK]; 8]) -> [__m512i; 8] {
    // SAFETY: the caller's: the target features are on.
    unsafe {
        let mut w = [_mm512_setzero_si512(); 16];
        for half in 0..2 {
            let mut rows = [_mm512_setzero_si512(); 8];
            for lane in 0..8 {
                rows[lane] = swap(_mm512_loadu_si512(buffers[lane].as_ptr().add(64 * half).cast()));
            }
            let columns = transpose8(rows);
            for i in 0..8 {
                w[8 * half + i] = columns[i];
            }
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
        for round in 0..5 {
            if round > 0 {
                for i in 0..16 {
                    let w1 = w[(i + 1) % 16];
                    let w14 = w[(i + 14) % 16];
                    let s0 = xor3!(
                        _mm512_ror_epi64::<1>(w1),
                        _mm512_ror_epi64::<8>(w1),
                        _mm512_srli_epi64::<7>(w1)
                    );
                    let s1 = xor3!(
                        _mm512_ror_epi64::<19>(w14),
                        _mm512_ror_epi64::<61>(w14),
                        _mm512_srli_epi64::<6>(w14)
                    );
                    w[i] = _mm512_add_epi64(
                        _mm512_add_epi64(w[i], s0),
                        _mm512_add_epi64(w[(i + 9) % 16], s1),
                    );
                }
            }
            for i in 0..16 {
                let k = _mm512_set1_epi64(ROUND[16 * round + i] as i64);
                let s1 = xor3!(
                    _mm512_ror_epi64::<14>(e),
                    _mm512_ror_epi64::<18>(e),
                    _mm512_ror_epi64::<41>(e)
                );
                let choose = _mm512_ternarylogic_epi64::<0xca>(e, f, g);
                let t1 = _mm512_add_epi64(
                    _mm512_add_epi64(h, s1),
                    _mm512_add_epi64(choose, _mm512_add_epi64(k, w[i])),
                );
                let s0 = xor3!(
                    _mm512_ror_epi64::<28>(a),
                    _mm512_ror_epi64::<34>(a),
                    _mm512_ror_epi64::<39>(a)
                );
                let majority = _mm512_ternarylogic_epi64::<0xe8>(a, b, c);
                let t2 = _mm512_add_epi64(s0, majority);
                (h, g, f, e, d, c, b, a) =
                    (g, f, e, _mm512_add_epi64(d, t1), c, b, a, _mm512_add_epi64(t1, t2));
            }
        }
        let end = [a, b, c, d, e, f, g, h];
        let mut out = [_mm512_setzero_si512(); 8];
        for i in 0..8 {
            out[i] = _mm512_add_epi64(state[i], end[i]);
        }
        out
    }
}
