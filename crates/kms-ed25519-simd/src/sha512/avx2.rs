//! Four SHA-512 computations side by side.

use std::arch::x86_64::*;

use super::{BLOCK, INITIAL, Input, ROUND, blocks, blocks_together, hash_each, write_block};
use crate::field::avx2::{load, splat, transpose4};

/// Hashes four inputs.
#[inline(always)]
pub(crate) fn hash4(inputs: &[Input<'_>], out: &mut [[u8; 64]]) {
    let Some(longest) = blocks_together(inputs, 4) else {
        hash_each(inputs, out);
        return;
    };
    // SAFETY: only the AVX2 tier calls this, inside a function with its target features.
    unsafe { hash_together(inputs, longest, out) }
}

#[target_feature(enable = "avx2")]
fn hash_together(inputs: &[Input<'_>], longest: usize, out: &mut [[u8; 64]]) {
    let mut state = INITIAL.map(splat);
    let mut buffers = [[0_u8; BLOCK]; 4];
    for index in 0..longest {
        let mut live = [0_i64; 4];
        for (lane, (buffer, input)) in buffers.iter_mut().zip(inputs).enumerate() {
            if index < blocks(input.message.len()) {
                write_block(buffer, &input.prefix, input.message, index);
                live[lane] = -1;
            }
        }
        let live = _mm256_setr_epi64x(live[0], live[1], live[2], live[3]);
        let next = compress(&state, &buffers);
        for (word, next) in state.iter_mut().zip(next) {
            *word = _mm256_blendv_epi8(*word, next, live);
        }
    }
    // Words are big-endian: swapped, the hash reads as bytes in order.
    let [a, b, c, d, e, f, g, h] = state;
    for (half, words) in [[a, b, c, d], [e, f, g, h]].into_iter().enumerate() {
        for (out, lane) in out.iter_mut().zip(transpose4(words)) {
            // SAFETY: 32 bytes are written into half of 64.
            unsafe { _mm256_storeu_si256(out[32 * half..].as_mut_ptr().cast(), swap(lane)) };
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn swap(x: __m256i) -> __m256i {
    let bytes = _mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(bytes))
}

/// The rotations and shifts of a word that a function of the standard takes, added without carry.
macro_rules! sigma {
    ($x:expr, $($right:literal)* $(, $shift:literal)?) => {{
        let x = $x;
        let sum = _mm256_setzero_si256();
        $(
            let rotated = _mm256_or_si256(_mm256_srli_epi64::<$right>(x), _mm256_slli_epi64::<{ 64 - $right }>(x));
            let sum = _mm256_xor_si256(sum, rotated);
        )*
        $( let sum = _mm256_xor_si256(sum, _mm256_srli_epi64::<$shift>(x)); )?
        sum
    }};
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(a: __m256i, b: __m256i) -> __m256i {
    _mm256_add_epi64(a, b)
}

#[target_feature(enable = "avx2")]
fn compress(state: &[__m256i; 8], buffers: &[[u8; BLOCK]; 4]) -> [__m256i; 8] {
    let mut w = [_mm256_setzero_si256(); 16];
    for quarter in 0..4 {
        let rows = [0, 1, 2, 3]
            .map(|lane: usize| load(buffers[lane][32 * quarter..][..32].as_ptr().cast()));
        for (i, column) in transpose4(rows).into_iter().enumerate() {
            w[4 * quarter + i] = swap(column);
        }
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for round in 0..5 {
        if round > 0 {
            for i in 0..16 {
                let s0 = sigma!(w[(i + 1) % 16], 1 8, 7);
                let s1 = sigma!(w[(i + 14) % 16], 19 61, 6);
                w[i] = add(add(w[i], s0), add(w[(i + 9) % 16], s1));
            }
        }
        for i in 0..16 {
            let k = splat(ROUND[16 * round + i]);
            let choose = _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)));
            let t1 = add(add(h, sigma!(e, 14 18 41)), add(choose, add(k, w[i])));
            let both = _mm256_and_si256(a, b);
            let majority = _mm256_or_si256(both, _mm256_and_si256(c, _mm256_or_si256(a, b)));
            let t2 = add(sigma!(a, 28 34 39), majority);
            (h, g, f, e, d, c, b, a) = (g, f, e, add(d, t1), c, b, a, add(t1, t2));
        }
    }
    let end = [a, b, c, d, e, f, g, h];
    let mut out = *state;
    for (word, end) in out.iter_mut().zip(end) {
        *word = add(*word, end);
    }
    out
}
