//! Four elements: ten limbs of 26 and 25 bits in turn, multiplied 32 by 32 bits (AVX2).
//!
//! **Reduced** means limbs below 2^26 + 2^15 (even) and 2^25 + 2^15 (odd).
//!
//! - `add`, `sub`, `double_sum`, `double_difference`: 4p and at most three reduced limbs are below 2^29, carry at
//!   most 2^4, 19 times that below 2^9. A limb of 4p is at least 2^28 - 76 (even) or 2^27 - 4 (odd), so no
//!   difference is negative.
//! - `mul`, `square`: every factor is below 2^32: 19 · (2^26 + 2^15) is below 2^31, and so is twice 19 times
//!   an odd limb. Products are below 2^58, columns of ten below 2^62.
//! - Carrying columns below 2^62: what leaves limb 9 is below 2^37, 19 times that below 2^42, and what then
//!   leaves limb 0 for limb 1 is below 2^16 / 2: limbs end reduced.

use std::arch::x86_64::*;

use super::{Fe, Field, LIMBS, MAX_LANES, always_carried};
use crate::equation::{self, Known, Unknown};
use crate::point::{Niels, Projective};
use crate::table::{Entry, Lanes};
use crate::tier::own_functions;

const M26: u64 = (1 << 26) - 1;
const M25: u64 = (1 << 25) - 1;
/// 4p, limb by limb.
const P4: [u64; 10] = [
    4 * (M26 - 18),
    4 * M25,
    4 * M26,
    4 * M25,
    4 * M26,
    4 * M25,
    4 * M26,
    4 * M25,
    4 * M26,
    4 * M25,
];

/// Four elements, limb by limb.
#[derive(Clone, Copy)]
pub(crate) struct Fe4([__m256i; 10]);

/// An array from an expression of its index; see `ifma`.
macro_rules! each {
    (4, $i:ident => $e:expr) => { each!(@ $i $e; 0 1 2 3) };
    (10, $i:ident => $e:expr) => { each!(@ $i $e; 0 1 2 3 4 5 6 7 8 9) };
    (@ $i:ident $e:expr; $($n:literal)*) => { [$({ let $i: usize = $n; $e }),*] };
}

/// Wraps intrinsics that are safe but for their target features.
macro_rules! instructions {
    ($($name:ident $(<const $n:ident: $t:ty>)? ($($arg:ident),*) = $intrinsic:expr;)*) => { $(
        #[inline(always)]
        fn $name $(<const $n: $t>)? ($($arg: __m256i),*) -> __m256i {
            // SAFETY: `Fe4` is used only inside functions with the target features (see `tier.rs`).
            unsafe { $intrinsic }
        }
    )* };
}

instructions! {
    add(a, b) = _mm256_add_epi64(a, b);
    sub(a, b) = _mm256_sub_epi64(a, b);
    and(a, b) = _mm256_and_si256(a, b);
    or(a, b) = _mm256_or_si256(a, b);
    shl<const N: i32>(a) = _mm256_slli_epi64::<N>(a);
    shr<const N: i32>(a) = _mm256_srli_epi64::<N>(a);
    // The product of the low 32 bits.
    mul32(a, b) = _mm256_mul_epu32(a, b);
    low_words(a, b) = _mm256_unpacklo_epi64(a, b);
    high_words(a, b) = _mm256_unpackhi_epi64(a, b);
    low_halves(a, b) = _mm256_permute2x128_si256::<0x20>(a, b);
    high_halves(a, b) = _mm256_permute2x128_si256::<0x31>(a, b);
}

#[inline(always)]
fn splat(x: u64) -> __m256i {
    // SAFETY: see `instructions!`.
    unsafe { _mm256_set1_epi64x(x as i64) }
}

#[inline(always)]
fn load(p: *const u64) -> __m256i {
    // SAFETY: the callers point at four words.
    unsafe { _mm256_loadu_si256(p.cast()) }
}

#[inline(always)]
fn double(a: __m256i) -> __m256i {
    add(a, a)
}

#[inline(always)]
fn times19(a: __m256i) -> __m256i {
    add(add(a, double(a)), shl::<4>(a))
}

/// Limbs from words; bit 255 is ignored.
#[inline(always)]
fn unpack(w: [__m256i; 4]) -> Fe4 {
    let (m26, m25) = (splat(M26), splat(M25));
    Fe4([
        and(w[0], m26),
        and(shr::<26>(w[0]), m25),
        and(or(shr::<51>(w[0]), shl::<13>(w[1])), m26),
        and(shr::<13>(w[1]), m25),
        shr::<38>(w[1]),
        and(w[2], m25),
        and(shr::<25>(w[2]), m26),
        and(or(shr::<51>(w[2]), shl::<13>(w[3])), m25),
        and(shr::<12>(w[3]), m26),
        and(shr::<38>(w[3]), m25),
    ])
}

/// Word k of each lane, from the four words of each lane.
#[inline(always)]
fn transpose4(r: [__m256i; 4]) -> [__m256i; 4] {
    let (a, b) = (low_words(r[0], r[1]), high_words(r[0], r[1]));
    let (c, d) = (low_words(r[2], r[3]), high_words(r[2], r[3]));
    [low_halves(a, c), low_halves(b, d), high_halves(a, c), high_halves(b, d)]
}

impl Fe4 {
    /// One carry pass over limbs below 2^29.
    #[inline(always)]
    fn carry(l: [__m256i; 10]) -> Fe4 {
        let c = each!(10, i => if i % 2 == 1 { shr::<25>(l[i]) } else { shr::<26>(l[i]) });
        let l = each!(10, i => and(l[i], splat(if i % 2 == 1 { M25 } else { M26 })));
        Fe4(each!(10, i => if i == 0 { add(l[0], times19(c[9])) } else { add(l[i], c[(i + 9) % 10]) }))
            .checked()
    }

    /// Carries columns below 2^62, in two chains at once.
    #[inline(always)]
    fn carry_wide(mut h: [__m256i; 10]) -> Fe4 {
        macro_rules! even {
            ($i:literal) => {
                h[$i + 1] = add(h[$i + 1], shr::<26>(h[$i]));
                h[$i] = and(h[$i], splat(M26));
            };
        }
        macro_rules! odd {
            ($i:literal) => {
                h[$i + 1] = add(h[$i + 1], shr::<25>(h[$i]));
                h[$i] = and(h[$i], splat(M25));
            };
        }
        even!(0);
        even!(4);
        odd!(1);
        odd!(5);
        even!(2);
        even!(6);
        odd!(3);
        odd!(7);
        even!(4);
        even!(8);
        h[0] = add(h[0], times19(shr::<25>(h[9])));
        h[9] = and(h[9], splat(M25));
        even!(0);
        Fe4(h).checked()
    }

    #[inline(always)]
    fn lane(self, lane: usize) -> Fe {
        let mut l = [[0_u64; 4]; 10];
        for (row, limb) in l.iter_mut().zip(self.0) {
            // SAFETY: 32 bytes are written into 32 bytes.
            unsafe { _mm256_storeu_si256(row.as_mut_ptr().cast(), limb) };
        }
        Fe([0, 1, 2, 3, 4].map(|i| l[2 * i][lane] + (l[2 * i + 1][lane] << 26)))
    }

    /// Checks, in test builds, that the limbs are reduced.
    #[inline(always)]
    fn checked(self) -> Fe4 {
        #[inline(never)]
        fn check(limbs: &[[u64; 4]; 10]) {
            for (i, limb) in limbs.iter().enumerate() {
                let bound = (1 << if i % 2 == 0 { 26 } else { 25 }) + (1 << 15);
                assert!(limb.iter().all(|lane| *lane < bound), "limbs are not reduced");
            }
        }
        if cfg!(debug_assertions) {
            // SAFETY: a vector is four words, in the same place.
            check(unsafe { &*(&raw const self.0).cast() });
        }
        self
    }
}

#[target_feature(enable = "avx2")]
fn mul(x: &Fe4, y: &Fe4) -> Fe4 {
    let (f, g) = (x.0, y.0);
    let n19 = splat(19);
    let g19 = each!(10, i => mul32(g[i], n19));
    // Limbs of odd index stand half a bit lower than their place: two of them make a factor 2.
    let f2 = each!(10, i => if i % 2 == 1 { double(f[i]) } else { f[i] });
    let mut h = [splat(0); 10];
    macro_rules! rows {
        ($($i:literal)*) => { $( rows!(@ $i; 0 1 2 3 4 5 6 7 8 9); )* };
        (@ $i:literal; $($j:literal)*) => { $(
            let left = if $i % 2 == 1 && $j % 2 == 1 { f2[$i] } else { f[$i] };
            let right = if $i + $j >= 10 { g19[$j] } else { g[$j] };
            h[($i + $j) % 10] = add(h[($i + $j) % 10], mul32(left, right));
        )* };
    }
    rows!(0 1 2 3 4 5 6 7 8 9);
    Fe4::carry_wide(h)
}

#[target_feature(enable = "avx2")]
fn square(x: &Fe4) -> Fe4 {
    let f = x.0;
    let n19 = splat(19);
    let f19 = each!(10, i => mul32(f[i], n19));
    let f2 = each!(10, i => double(f[i]));
    let mut h = [splat(0); 10];
    macro_rules! rows {
        ($($i:literal: $($j:literal)*;)*) => { $( $( rows!(@ $i $j); )* )* };
        (@ $i:literal $j:literal) => {
            let left = if $i == $j { f[$i] } else { f2[$i] };
            let right = if $i + $j >= 10 { f19[$j] } else { f[$j] };
            let right = if $i % 2 == 1 && $j % 2 == 1 { double(right) } else { right };
            h[($i + $j) % 10] = add(h[($i + $j) % 10], mul32(left, right));
        };
    }
    rows! {
        0: 0 1 2 3 4 5 6 7 8 9; 1: 1 2 3 4 5 6 7 8 9; 2: 2 3 4 5 6 7 8 9; 3: 3 4 5 6 7 8 9;
        4: 4 5 6 7 8 9; 5: 5 6 7 8 9; 6: 6 7 8 9; 7: 7 8 9; 8: 8 9; 9: 9;
    }
    Fe4::carry_wide(h)
}

impl Field for Fe4 {
    const LANES: usize = 4;
    /// All bits of a lane's word, or none.
    type Mask = __m256i;
    always_carried!();

    #[inline(always)]
    fn zero() -> Self {
        Fe4([splat(0); 10])
    }
    #[inline(always)]
    fn one() -> Self {
        Fe4(each!(10, i => splat(u64::from(i == 0))))
    }
    #[inline(always)]
    fn splat(limbs: [u64; LIMBS]) -> Self {
        Fe4(each!(10, i => splat(if i % 2 == 1 { limbs[i / 2] >> 26 } else { limbs[i / 2] & M26 })))
    }
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        Fe4::carry(each!(10, i => add(self.0[i], o.0[i])))
    }
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        Fe4::carry(each!(10, i => sub(add(self.0[i], splat(P4[i])), o.0[i])))
    }
    #[inline(always)]
    fn double_sum(x: Self, y: Self) -> Self {
        Fe4::carry(each!(10, i => add(double(x.0[i]), y.0[i])))
    }
    #[inline(always)]
    fn double_difference(x: Self, y: Self) -> Self {
        Fe4::carry(each!(10, i => sub(add(double(x.0[i]), splat(P4[i])), y.0[i])))
    }

    /// A function of its own: 16 registers hold little more than one product's operands, and inlined, the
    /// products of a formula are interleaved until most of the work is spilling.
    #[inline(never)]
    fn mul(self, o: Self) -> Self {
        // SAFETY: see `instructions!`.
        unsafe { mul(&self, &o) }
    }
    /// See `mul`.
    #[inline(never)]
    fn square(self) -> Self {
        // SAFETY: see `instructions!`.
        unsafe { square(&self) }
    }

    #[inline(always)]
    fn select(mask: __m256i, a: Self, b: Self) -> Self {
        // SAFETY: see `instructions!`.
        Fe4(each!(10, i => unsafe { _mm256_blendv_epi8(a.0[i], b.0[i], mask) }))
    }
    #[inline(always)]
    fn mask(lanes: impl Fn(usize) -> bool) -> __m256i {
        let [a, b, c, d] = each!(4, i => -i64::from(lanes(i)));
        // SAFETY: see `instructions!`.
        unsafe { _mm256_setr_epi64x(a, b, c, d) }
    }
    #[inline(always)]
    fn test(mask: __m256i, lane: usize) -> bool {
        // SAFETY: see `instructions!`.
        unsafe { _mm256_movemask_pd(_mm256_castsi256_pd(mask)) >> lane & 1 == 1 }
    }

    #[inline(always)]
    fn from_words(words: impl Fn(usize) -> [u64; 4]) -> Self {
        unpack(transpose4(each!(4, i => {
            let words = words(i);
            load(words.as_ptr())
        })))
    }
    #[inline(always)]
    fn words(self) -> [[u64; 4]; MAX_LANES] {
        let mut words = [[0; 4]; MAX_LANES];
        for (lane, words) in words.iter_mut().enumerate().take(4) {
            *words = self.lane(lane).canonical();
        }
        words
    }
    #[inline(always)]
    fn equal(self, o: Self) -> __m256i {
        let (a, b) = (self.words(), o.words());
        Self::mask(|lane| a[lane] == b[lane])
    }
    #[inline(always)]
    fn odd(self) -> __m256i {
        let words = self.words();
        Self::mask(|lane| words[lane][0] & 1 == 1)
    }
}

impl Lanes for Fe4 {
    const SINGLES: usize = 2;
    /// Doublings in these lanes are no faster than curve25519-dalek, which has its own AVX2 code.
    const UNKNOWN_SINGLES: usize = usize::MAX;
    /// Four lanes of a quarter of the terms each need as long as one lane of 64-bit code for all.
    const SPREADS: bool = false;
    own_functions!(Fe4, "avx2");

    #[inline(always)]
    fn lookup<'a>(entry: impl Fn(usize) -> &'a Entry) -> Niels<Self> {
        let p = each!(4, i => &entry(i).0);
        Niels {
            y_plus_x: unpack(transpose4(each!(4, i => load(p[i][..4].as_ptr())))),
            y_minus_x: unpack(transpose4(each!(4, i => load(p[i][4..8].as_ptr())))),
            xy2d: unpack(transpose4(each!(4, i => load(p[i][8..].as_ptr())))),
        }
    }
}
