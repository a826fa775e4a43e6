//! Eight elements: five limbs of 51 bits, multiplied 52 by 52 bits (AVX-512 IFMA).
//!
//! **Reduced** means limbs below 2^51 + 2^15. It must hold before every multiplication, because the
//! instructions read 52 bits of each operand and ignore the rest. Limbs below 2^61 carry less than 2^10, 19
//! times that is below 2^15: one pass over them reduces.
//!
//! - `add`, `sub`: 4p and two reduced limbs are below 2^54. A limb of 4p is at least 2^53 - 76, so no
//!   difference is negative.
//! - `mul_wide`, `square_wide`: a product of reduced limbs is below 2^102 + 2^68, so its low part is below
//!   2^52 and its high part below 2^50 + 2^17, and counts twice. Column k of 0 to 4 has k + 1 low and k high
//!   parts; column k + 5, folded into it 19 times, has 4 - k and 5 - k. The most is in column 0: 1 + 19 ·
//!   (4 + 5 / 2) = 124.5 times 2^52, and the 2^17: below 2^59, **wide**.
//! - Sums of wide limbs: 2x + y is below 3 · 2^59. A limb of 256p is at least 2^59 - 19 · 2^8, more than
//!   125 · 2^52, so differences are not negative, and x - y below 2^60, 2x - y below 2^61 are carried.
//! - `doubling`: y² - x² is below 2^60 with 256p added. 512p - (y² - x²) is not negative: 256p and 125 · 2^52
//!   are less than 512p. With 2z² the last is below 2^60 + 2^60.

use std::arch::x86_64::*;

use super::{Field, LIMBS, MAX_LANES};

mod lanes;

const MASK: u64 = (1 << 51) - 1;
/// 4p, limb by limb.
const P4: [u64; LIMBS] = [4 * (MASK - 18), 4 * MASK, 4 * MASK, 4 * MASK, 4 * MASK];
/// 256p, limb by limb.
const P256: [u64; LIMBS] = [64 * P4[0], 64 * P4[1], 64 * P4[2], 64 * P4[3], 64 * P4[4]];

/// Eight elements, limb by limb.
#[derive(Clone, Copy)]
pub(crate) struct Fe8([__m512i; LIMBS]);

/// An array from an expression of its index. `std::array::from_fn` is a call that is not inlined here
/// (its closure lacks the target features), and with a call every register is spilt.
macro_rules! each {
    (4, $i:ident => $e:expr) => { each!(@ $i $e; 0 1 2 3) };
    (5, $i:ident => $e:expr) => { each!(@ $i $e; 0 1 2 3 4) };
    (8, $i:ident => $e:expr) => { each!(@ $i $e; 0 1 2 3 4 5 6 7) };
    (10, $i:ident => $e:expr) => { each!(@ $i $e; 0 1 2 3 4 5 6 7 8 9) };
    (@ $i:ident $e:expr; $($n:literal)*) => { [$({ let $i: usize = $n; $e }),*] };
}

use each;

/// Runs something for the pairs of limbs whose products are in column `k`, or, with `up` 1, have their
/// high parts there.
macro_rules! for_each_product {
    ($k:ident, $up:literal, |$i:ident, $j:ident| $do:expr) => {
        for $i in 0..LIMBS {
            let $j = $k.wrapping_sub($i + $up);
            if $j < LIMBS {
                $do;
            }
        }
    };
}

/// Wraps intrinsics that are safe but for their target features.
macro_rules! instructions {
    ($($name:ident $(<const $n:ident: $t:ty>)? ($($arg:ident),*) = $intrinsic:expr;)*) => { $(
        #[inline(always)]
        fn $name $(<const $n: $t>)? ($($arg: __m512i),*) -> __m512i {
            // SAFETY: `Fe8` is used only inside functions with the target features (see `tier.rs`).
            unsafe { $intrinsic }
        }
    )* };
}

instructions! {
    add(a, b) = _mm512_add_epi64(a, b);
    sub(a, b) = _mm512_sub_epi64(a, b);
    and(a, b) = _mm512_and_si512(a, b);
    or(a, b) = _mm512_or_si512(a, b);
    shl<const N: u32>(a) = _mm512_slli_epi64::<N>(a);
    shr<const N: u32>(a) = _mm512_srli_epi64::<N>(a);
    // Bits N.. of the 128-bit word (high, low).
    shr_pair<const N: i32>(low, high) = _mm512_shrdi_epi64::<N>(low, high);
    // z + the low, or the high, 52 bits of x * y.
    madd_low(z, x, y) = _mm512_madd52lo_epu64(z, x, y);
    madd_high(z, x, y) = _mm512_madd52hi_epu64(z, x, y);
    low_words(a, b) = _mm512_unpacklo_epi64(a, b);
    high_words(a, b) = _mm512_unpackhi_epi64(a, b);
    even_quarters(a, b) = _mm512_shuffle_i64x2::<0x88>(a, b);
    odd_quarters(a, b) = _mm512_shuffle_i64x2::<0xdd>(a, b);
    pick(a, index, b) = _mm512_permutex2var_epi64(a, index, b);
}

#[inline(always)]
fn splat(x: u64) -> __m512i {
    // SAFETY: see `instructions!`.
    unsafe { _mm512_set1_epi64(x as i64) }
}

#[inline(always)]
fn double(a: __m512i) -> __m512i {
    add(a, a)
}

/// Word k of each lane.
#[inline(always)]
fn column(w: &[[u64; 4]; 8], k: usize) -> __m512i {
    let [a, b, c, d, e, f, g, h] = each!(8, i => w[i][k] as i64);
    // SAFETY: see `instructions!`.
    unsafe { _mm512_setr_epi64(a, b, c, d, e, f, g, h) }
}

/// Limbs from words; bit 255 must be clear.
#[inline(always)]
fn unpack(w: [__m512i; 4]) -> Fe8 {
    let m = splat(MASK);
    Fe8([
        and(w[0], m),
        and(shr_pair::<51>(w[0], w[1]), m),
        and(shr_pair::<38>(w[1], w[2]), m),
        and(shr_pair::<25>(w[2], w[3]), m),
        shr::<12>(w[3]),
    ])
}

/// Lane i of row j becomes lane j of row i.
#[inline(always)]
pub(crate) fn transpose8(r: [__m512i; 8]) -> [__m512i; 8] {
    // Names are the words that a row then holds, of lanes 0 to 3 or 4 to 7.
    let (w0246, w1357) = (low_words(r[0], r[1]), high_words(r[0], r[1]));
    let (x0246, x1357) = (low_words(r[2], r[3]), high_words(r[2], r[3]));
    let (y0246, y1357) = (low_words(r[4], r[5]), high_words(r[4], r[5]));
    let (z0246, z1357) = (low_words(r[6], r[7]), high_words(r[6], r[7]));
    let (w04, w26) = (even_quarters(w0246, x0246), odd_quarters(w0246, x0246));
    let (y04, y26) = (even_quarters(y0246, z0246), odd_quarters(y0246, z0246));
    let (w15, w37) = (even_quarters(w1357, x1357), odd_quarters(w1357, x1357));
    let (y15, y37) = (even_quarters(y1357, z1357), odd_quarters(y1357, z1357));
    [
        even_quarters(w04, y04),
        even_quarters(w15, y15),
        even_quarters(w26, y26),
        even_quarters(w37, y37),
        odd_quarters(w04, y04),
        odd_quarters(w15, y15),
        odd_quarters(w26, y26),
        odd_quarters(w37, y37),
    ]
}

/// A product before it is carried: limbs below 2^59.
#[derive(Clone, Copy)]
pub(crate) struct Wide8([__m512i; LIMBS]);

impl Wide8 {
    #[inline(always)]
    fn checked(self) -> Wide8 {
        check_below(self.0, 1 << 59);
        self
    }
}

/// Checks a bound on limbs, in test builds.
#[inline(always)]
fn check_below(limbs: [__m512i; LIMBS], bound: u64) {
    /// Not inlined a thousand times.
    #[inline(never)]
    fn check(limbs: &[[u64; 8]; LIMBS], bound: u64) {
        assert!(
            limbs.as_flattened().iter().all(|limb| *limb < bound),
            "a limb is out of its bound"
        );
    }
    if cfg!(debug_assertions) {
        // SAFETY: a vector is eight words, in the same place.
        check(unsafe { &*(&raw const limbs).cast() }, bound);
    }
}

impl Fe8 {
    /// One carry pass over limbs below 2^61.
    #[inline(always)]
    fn carry(l: [__m512i; LIMBS]) -> Fe8 {
        check_below(l, 1 << 61);
        let m = splat(MASK);
        let c = each!(5, i => shr::<51>(l[i]));
        let l = each!(5, i => and(l[i], m));
        let top = madd_low(l[0], c[4], splat(19));
        Fe8([top, add(l[1], c[0]), add(l[2], c[1]), add(l[3], c[2]), add(l[4], c[3])]).checked()
    }

    /// Checks, in test builds, that the limbs are reduced.
    #[inline(always)]
    fn checked(self) -> Fe8 {
        check_below(self.0, (1 << 51) + (1 << 15));
        self
    }

    #[inline(always)]
    fn canonical(self) -> [__m512i; LIMBS] {
        let m = splat(MASK);
        let mut l = Fe8::carry(Fe8::carry(self.0).0).0;
        // Whether the value is p or more: adding 19 carries out of bit 255.
        let mut q = shr::<51>(add(l[0], splat(19)));
        for limb in &l[1..] {
            q = shr::<51>(add(*limb, q));
        }
        l[0] = madd_low(l[0], q, splat(19));
        for i in 0..4 {
            l[i + 1] = add(l[i + 1], shr::<51>(l[i]));
            l[i] = and(l[i], m);
        }
        l[4] = and(l[4], m);
        l
    }
}

/// Column k of a product, and `above`, and twice `highs`.
#[inline(always)]
fn mul_column(
    a: [__m512i; LIMBS],
    b: [__m512i; LIMBS],
    k: usize,
    above: __m512i,
    highs: __m512i,
) -> __m512i {
    let mut sum = highs;
    for_each_product!(k, 1, |i, j| sum = madd_high(sum, a[i], b[j]));
    sum = add(double(sum), above);
    for_each_product!(k, 0, |i, j| sum = madd_low(sum, a[i], b[j]));
    sum
}

/// Column k of a square, and three times `above`, and four times `highs`. The product of two different
/// limbs counts twice, and its high part twice that.
#[inline(always)]
fn square_column(a: [__m512i; LIMBS], k: usize, above: __m512i, highs: __m512i) -> __m512i {
    let mut sum = highs;
    for_each_product!(k, 1, |i, j| if i < j {
        sum = madd_high(sum, a[i], a[j])
    });
    sum = add(double(sum), above);
    for_each_product!(k, 1, |i, j| if i == j {
        sum = madd_high(sum, a[i], a[j])
    });
    for_each_product!(k, 0, |i, j| if i < j {
        sum = madd_low(sum, a[i], a[j])
    });
    sum = add(double(sum), above);
    for_each_product!(k, 0, |i, j| if i == j {
        sum = madd_low(sum, a[i], a[j])
    });
    sum
}

impl Field for Fe8 {
    const LANES: usize = 8;
    type Mask = __mmask8;
    type Wide = Wide8;

    #[inline(always)]
    fn zero() -> Self {
        Fe8([splat(0); LIMBS])
    }
    #[inline(always)]
    fn one() -> Self {
        Fe8([splat(1), splat(0), splat(0), splat(0), splat(0)])
    }
    #[inline(always)]
    fn splat(limbs: [u64; LIMBS]) -> Self {
        Fe8(each!(5, i => splat(limbs[i])))
    }
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        Fe8::carry(each!(5, i => add(self.0[i], o.0[i])))
    }
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        Fe8::carry(each!(5, i => sub(add(self.0[i], splat(P4[i])), o.0[i])))
    }
    #[inline(always)]
    fn mul(&self, o: &Self) -> Self {
        Fe8::carry(self.mul_wide(o).0)
    }
    #[inline(always)]
    fn square(&self) -> Self {
        Fe8::carry(self.square_wide().0)
    }

    #[inline(always)]
    fn mul_wide(&self, o: &Self) -> Wide8 {
        let zero = splat(0);
        let upper = each!(5, k => mul_column(self.0, o.0, k + 5, zero, zero));
        // 19 = 2 · 9 + 1.
        let nine = each!(5, k => add(shl::<3>(upper[k]), upper[k]));
        Wide8(each!(5, k => mul_column(self.0, o.0, k, upper[k], nine[k]))).checked()
    }
    #[inline(always)]
    fn square_wide(&self) -> Wide8 {
        let zero = splat(0);
        let upper = each!(5, k => square_column(self.0, k + 5, zero, zero));
        // 19 = 4 · 4 + 2 + 1.
        let four = each!(5, k => shl::<2>(upper[k]));
        Wide8(each!(5, k => square_column(self.0, k, upper[k], four[k]))).checked()
    }
    #[inline(always)]
    fn sum(x: Wide8, y: Wide8) -> Self {
        Fe8::carry(each!(5, i => add(x.0[i], y.0[i])))
    }
    #[inline(always)]
    fn difference(x: Wide8, y: Wide8) -> Self {
        Fe8::carry(each!(5, i => sub(add(x.0[i], splat(P256[i])), y.0[i])))
    }
    #[inline(always)]
    fn double_sum(x: Wide8, y: Wide8) -> Self {
        Fe8::carry(each!(5, i => add(double(x.0[i]), y.0[i])))
    }
    #[inline(always)]
    fn double_difference(x: Wide8, y: Wide8) -> Self {
        Fe8::carry(each!(5, i => sub(add(double(x.0[i]), splat(P256[i])), y.0[i])))
    }
    #[inline(always)]
    fn doubling(x: Self, y: Self, z: Self) -> [Self; 4] {
        let (xx, yy, zz) = (x.square_wide().0, y.square_wide().0, z.square_wide().0);
        let xy = x.mul_wide(&y).0;
        let difference = each!(5, i => sub(add(yy[i], splat(P256[i])), xx[i]));
        let last = each!(5, i => sub(add(double(zz[i]), splat(2 * P256[i])), difference[i]));
        [
            Fe8::carry(each!(5, i => double(xy[i]))),
            Fe8::carry(difference),
            Fe8::carry(each!(5, i => add(yy[i], xx[i]))),
            Fe8::carry(last),
        ]
    }

    #[inline(always)]
    fn select(mask: __mmask8, a: Self, b: Self) -> Self {
        // SAFETY: see `instructions!`.
        Fe8(each!(5, i => unsafe { _mm512_mask_blend_epi64(mask, a.0[i], b.0[i]) }))
    }
    #[inline(always)]
    fn mask(lanes: impl Fn(usize) -> bool) -> __mmask8 {
        let mut mask = 0;
        for lane in 0..8 {
            mask |= u8::from(lanes(lane)) << lane;
        }
        mask
    }
    #[inline(always)]
    fn test(mask: __mmask8, lane: usize) -> bool {
        mask >> lane & 1 == 1
    }

    #[inline(always)]
    fn from_words(words: impl Fn(usize) -> [u64; 4]) -> Self {
        let words = each!(8, i => words(i));
        let mut columns = each!(4, k => column(&words, k));
        columns[3] = and(columns[3], splat(u64::MAX >> 1));
        unpack(columns)
    }

    #[inline(always)]
    fn words(self) -> [[u64; 4]; MAX_LANES] {
        let l = self.canonical();
        let columns = [
            or(l[0], shl::<51>(l[1])),
            or(shr::<13>(l[1]), shl::<38>(l[2])),
            or(shr::<26>(l[2]), shl::<25>(l[3])),
            or(shr::<39>(l[3]), shl::<12>(l[4])),
        ];
        let mut stored = [[0_u64; 8]; 4];
        for (row, column) in stored.iter_mut().zip(columns) {
            // SAFETY: 64 bytes are written into 64 bytes.
            unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), column) };
        }
        each!(8, i => [stored[0][i], stored[1][i], stored[2][i], stored[3][i]])
    }

    #[inline(always)]
    fn equal(self, o: Self) -> __mmask8 {
        let (a, b) = (self.canonical(), o.canonical());
        let mut same = 0xff;
        for k in 0..LIMBS {
            // SAFETY: see `instructions!`.
            same &= unsafe { _mm512_cmpeq_epi64_mask(a[k], b[k]) };
        }
        same
    }
    #[inline(always)]
    fn odd(self) -> __mmask8 {
        // SAFETY: see `instructions!`.
        unsafe { _mm512_test_epi64_mask(self.canonical()[0], splat(1)) }
    }
}
