//! Eight SHA-512 computations side by side.

use std::arch::x86_64::*;

use super::{BLOCK, INITIAL, Input, ROUND, blocks, blocks_together, hash_each, write_block};
use crate::field::ifma::transpose8;

/// Hashes eight inputs: together, unless their lengths differ so much that most lanes would idle.
#[inline(always)]
pub(crate) fn hash8(inputs: &[Input<'_>], out: &mut [[u8; 64]]) {
    let Some(longest) = blocks_together(inputs, 8) else {
        hash_each(inputs, out);
        return;
    };
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
