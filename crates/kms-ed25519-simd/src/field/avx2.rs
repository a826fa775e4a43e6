//! Four elements: five limbs of 51 bits, kept as doubles, and multiplied exactly by two fused multiply-adds (AVX2
//! and FMA).
//!
//! For integers x and y, xy below 2^103, the first rounds 2^103 + xy to a multiple of 2^51, 2^103 + h · 2^51. The
//! second adds xy to 3 · 2^51 - h · 2^51: 3 · 2^51 + l, where xy = h · 2^51 + l and |l| is at most 2^50. Both are
//! exact. From 2^103 to 2^104 the bits of a double count multiples of 2^51, from 2^52 to 2^53 they count integers:
//! so bits are summed, and what the exponents add to a sum is taken off before, as a constant. This needs rounding to
//! nearest, which Rust promises.
//!
//! **Reduced** means limbs that are integers from 0 to below 2^51 + 2^15. Limbs below 2^61 carry less than 2^10, 19
//! times that is below 2^15: one pass over them reduces.
//!
//! - `mul_wide`, `square_wide`: a product of reduced limbs is below 2^102 + 2^68, so h is at most 2^51 + 2^17.
//!   Column k of 0 to 4 has k + 1 low and k high parts; column k + 5, folded into it 19 times, has 4 - k and 5 - k.
//!   The most is in column 0: 77 low and 95 high parts, less than 77 · 2^50 + 95 · (2^51 + 2^17); the least is
//!   -77 · 2^50, and 64p makes up for it. So **wide** limbs are not negative, and below 396 · 2^50, below 2^59.
//! - Sums of wide limbs: 2x + y is below 3 · 2^59. A limb of 256p is at least 2^59 - 19 · 2^8, more than 396 · 2^50,
//!   so differences are not negative, and x - y below 2^60, 2x - y below 2^61 are carried.
//! - `doubling`: y² - x² is below 2^60 with 256p added, and 512p is more than 256p and 396 · 2^50. With 2z² the last
//!   is below 2^60 + 2^60.

use std::arch::x86_64::*;

use super::{Fe, Field, LIMBS, MAX_LANES};
use crate::equation::{self, Known, Unknown};
use crate::point::{Cached, Niels, Projective};
use crate::sha512::{Input, avx2::hash4};
use crate::table::{Entry, Lanes, Row};
use crate::tier::own_functions;

const MASK: u64 = (1 << 51) - 1;
/// p, limb by limb.
const P: [u64; LIMBS] = [MASK - 18, MASK, MASK, MASK, MASK];

/// The bits of 2^52, to which an integer below 2^52 is added to make that double.
const TWO_52: u64 = 0x433 << 52;
/// The bits of 3 · 2^51: where low parts count from.
const LOW: u64 = TWO_52 + (1 << 51);
/// The bits of 2^103: where high parts count from.
const HIGH: u64 = (1023 + 103) << 52;

/// Four elements, limb by limb.
#[derive(Clone, Copy)]
pub(crate) struct Fe4([__m256d; LIMBS]);

/// A product before it is carried.
#[derive(Clone, Copy)]
pub(crate) struct Wide4([__m256i; LIMBS]);

/// An array from an expression of its index; see `ifma`.
macro_rules! each {
    (4, $i:ident => $e:expr) => { each!(@ $i $e; 0 1 2 3) };
    (5, $i:ident => $e:expr) => { each!(@ $i $e; 0 1 2 3 4) };
    (10, $i:ident => $e:expr) => { each!(@ $i $e; 0 1 2 3 4 5 6 7 8 9) };
    (@ $i:ident $e:expr; $($n:literal)*) => { [$({ let $i: usize = $n; $e }),*] };
}

/// Wraps intrinsics that are safe but for their target features.
macro_rules! instructions {
    ($($name:ident $(<const $n:ident: $t:ty>)? ($($arg:ident: $type:ty),*) -> $result:ty = $intrinsic:expr;)*) => { $(
        #[inline(always)]
        fn $name $(<const $n: $t>)? ($($arg: $type),*) -> $result {
            // SAFETY: `Fe4` is used only inside functions with the target features (see `tier.rs`).
            unsafe { $intrinsic }
        }
    )* };
}

instructions! {
    add(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi64(a, b);
    sub(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi64(a, b);
    and(a: __m256i, b: __m256i) -> __m256i = _mm256_and_si256(a, b);
    or(a: __m256i, b: __m256i) -> __m256i = _mm256_or_si256(a, b);
    shl<const N: i32>(a: __m256i) -> __m256i = _mm256_slli_epi64::<N>(a);
    shr<const N: i32>(a: __m256i) -> __m256i = _mm256_srli_epi64::<N>(a);
    // The product of the low 32 bits.
    mul32(a: __m256i, b: __m256i) -> __m256i = _mm256_mul_epu32(a, b);
    low_words(a: __m256i, b: __m256i) -> __m256i = _mm256_unpacklo_epi64(a, b);
    high_words(a: __m256i, b: __m256i) -> __m256i = _mm256_unpackhi_epi64(a, b);
    low_halves(a: __m256i, b: __m256i) -> __m256i = _mm256_permute2x128_si256::<0x20>(a, b);
    high_halves(a: __m256i, b: __m256i) -> __m256i = _mm256_permute2x128_si256::<0x31>(a, b);
    // xy + z, rounded once.
    fused(x: __m256d, y: __m256d, z: __m256d) -> __m256d = _mm256_fmadd_pd(x, y, z);
    plus(x: __m256d, y: __m256d) -> __m256d = _mm256_add_pd(x, y);
    minus(x: __m256d, y: __m256d) -> __m256d = _mm256_sub_pd(x, y);
    bits(x: __m256d) -> __m256i = _mm256_castpd_si256(x);
    number(x: __m256i) -> __m256d = _mm256_castsi256_pd(x);
}

#[inline(always)]
pub(crate) fn splat(x: u64) -> __m256i {
    // SAFETY: see `instructions!`.
    unsafe { _mm256_set1_epi64x(x as i64) }
}

#[inline(always)]
pub(crate) fn load(p: *const u64) -> __m256i {
    // SAFETY: the callers point at four words.
    unsafe { _mm256_loadu_si256(p.cast()) }
}

#[inline(always)]
fn double(a: __m256i) -> __m256i {
    add(a, a)
}

/// Doubles from integers below 2^52.
#[inline(always)]
fn to_double(l: [__m256i; LIMBS]) -> Fe4 {
    let zero = splat(TWO_52);
    Fe4(each!(5, i => minus(number(or(l[i], zero)), number(zero))))
}

/// Limbs from words; bit 255 is ignored.
#[inline(always)]
fn unpack(w: [__m256i; 4]) -> Fe4 {
    let m = splat(MASK);
    to_double([
        and(w[0], m),
        and(or(shr::<51>(w[0]), shl::<13>(w[1])), m),
        and(or(shr::<38>(w[1]), shl::<26>(w[2])), m),
        and(or(shr::<25>(w[2]), shl::<39>(w[3])), m),
        and(shr::<12>(w[3]), m),
    ])
}

/// Word k of each lane, from the four words of each lane.
#[inline(always)]
pub(crate) fn transpose4(r: [__m256i; 4]) -> [__m256i; 4] {
    let (a, b) = (low_words(r[0], r[1]), high_words(r[0], r[1]));
    let (c, d) = (low_words(r[2], r[3]), high_words(r[2], r[3]));
    [low_halves(a, c), low_halves(b, d), high_halves(a, c), high_halves(b, d)]
}

/// Checks a bound on limbs, in test builds.
#[inline(always)]
fn check_below(limbs: [__m256i; LIMBS], bound: u64) {
    /// Not inlined a thousand times.
    #[inline(never)]
    fn check(limbs: &[[u64; 4]; LIMBS], bound: u64) {
        assert!(
            limbs.as_flattened().iter().all(|limb| *limb < bound),
            "a limb is out of its bound"
        );
    }
    if cfg!(debug_assertions) {
        // SAFETY: a vector is four words, in the same place.
        check(unsafe { &*(&raw const limbs).cast() }, bound);
    }
}

impl Fe4 {
    /// One carry pass over limbs below 2^61.
    #[inline(always)]
    fn carry(l: [__m256i; LIMBS]) -> Fe4 {
        check_below(l, 1 << 61);
        let m = splat(MASK);
        let c = each!(5, i => shr::<51>(l[i]));
        let l = each!(5, i => and(l[i], m));
        let top = mul32(c[4], splat(19));
        let l =
            [add(l[0], top), add(l[1], c[0]), add(l[2], c[1]), add(l[3], c[2]), add(l[4], c[3])];
        check_below(l, (1 << 51) + (1 << 15));
        to_double(l)
    }

    /// The limbs as integers.
    #[inline(always)]
    fn integers(self) -> [__m256i; LIMBS] {
        let zero = splat(TWO_52);
        each!(5, i => sub(bits(plus(self.0[i], number(zero))), zero))
    }

    #[inline(always)]
    fn lane(l: &[[u64; 4]; LIMBS], lane: usize) -> Fe {
        Fe(each!(5, i => l[i][lane]))
    }
}

/// What the columns of a product start from: 64p, without what the exponents of the parts will add.
const START: [u64; 2 * LIMBS] = starts(false);
/// The same for a square, where products of different limbs are added up first, and then doubled.
const START_SQUARE: [u64; 2 * LIMBS] = starts(true);

const fn starts(square: bool) -> [u64; 2 * LIMBS] {
    let mut starts = [0_u64; 2 * LIMBS];
    let mut k = 0;
    while k < 2 * LIMBS {
        let multiple = if k < LIMBS { 64 * P[k] } else { 0 };
        starts[k] = if square {
            // Even, so that half of it doubles back to it.
            let doubled = multiple.wrapping_sub(exponents(k, true, false)) / 2;
            doubled.wrapping_sub(exponents(k, false, true) / 2)
        } else {
            multiple.wrapping_sub(exponents(k, true, true))
        };
        k += 1;
    }
    starts
}

/// The sum of the exponents of the parts in a column, of the products of limbs with themselves or with others.
const fn exponents(column: usize, themselves: bool, others: bool) -> u64 {
    let mut sum = 0_u64;
    let mut i = 0;
    while i < LIMBS {
        let mut j = 0;
        while j < LIMBS {
            if (i == j && themselves) || (i != j && others) {
                if i + j == column {
                    sum = sum.wrapping_add(LOW);
                }
                if i + j + 1 == column {
                    sum = sum.wrapping_add(HIGH);
                }
            }
            j += 1;
        }
        i += 1;
    }
    sum
}

/// Columns 5 to 9, which stand for 2^255 and more, folded into 0 to 4.
#[inline(always)]
fn fold(h: [__m256i; 2 * LIMBS]) -> Wide4 {
    // 19 = 16 + 2 + 1.
    let wide = each!(5, k => {
        let upper = h[k + 5];
        add(add(h[k], upper), add(double(upper), shl::<4>(upper)))
    });
    check_below(wide, 396 << 50);
    Wide4(wide)
}

/// Holds six columns in registers. Without it the compiler adds the parts up in an order of its own, computes them
/// all before, and spills them.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn in_registers(h: [__m256i; 6]) -> [__m256i; 6] {
    let [mut a, mut b, mut c, mut d, mut e, mut f] = h;
    // SAFETY: no instruction.
    unsafe {
        std::arch::asm!(
            "/* {} {} {} {} {} {} */",
            inout(ymm_reg) a, inout(ymm_reg) b, inout(ymm_reg) c,
            inout(ymm_reg) d, inout(ymm_reg) e, inout(ymm_reg) f,
            options(nomem, nostack, preserves_flags)
        );
    }
    [a, b, c, d, e, f]
}

/// Adds the parts of the product of two limbs to their columns.
#[inline(always)]
fn add_product(h: &mut [__m256i; 2 * LIMBS], x: &Fe4, y: &Fe4, i: usize, j: usize) {
    let high = fused(x.0[i], y.0[j], number(splat(HIGH)));
    // The bits of 2^103 + 3 · 2^51.
    let rest = minus(number(splat(HIGH + 3)), high);
    let low = fused(x.0[i], y.0[j], rest);
    h[i + j] = add(h[i + j], bits(low));
    h[i + j + 1] = add(h[i + j + 1], bits(high));
}

/// Adds rows of products, each row before the next.
macro_rules! add_rows {
    ($h:ident, $x:ident, $y:ident; $($i:literal: $($j:literal)*;)*) => { $(
        $( add_product(&mut $h, $x, $y, $i, $j); )*
        [$h[$i], $h[$i + 1], $h[$i + 2], $h[$i + 3], $h[$i + 4], $h[$i + 5]] =
            in_registers([$h[$i], $h[$i + 1], $h[$i + 2], $h[$i + 3], $h[$i + 4], $h[$i + 5]]);
    )* };
}

#[target_feature(enable = "avx2,fma")]
fn mul_wide(x: &Fe4, y: &Fe4) -> Wide4 {
    let mut h = each!(10, k => splat(START[k]));
    add_rows! { h, x, y;
        0: 0 1 2 3 4;
        1: 0 1 2 3 4;
        2: 0 1 2 3 4;
        3: 0 1 2 3 4;
        4: 0 1 2 3 4;
    }
    fold(h)
}

#[target_feature(enable = "avx2,fma")]
fn square_wide(x: &Fe4) -> Wide4 {
    let mut h = each!(10, k => splat(START_SQUARE[k]));
    add_rows! { h, x, x;
        0: 1 2 3 4;
        1: 2 3 4;
        2: 3 4;
        3: 4;
    }
    h = each!(10, k => double(h[k]));
    add_rows! { h, x, x;
        0: 0;
        1: 1;
        2: 2;
        3: 3;
        4: 4;
    }
    fold(h)
}

impl Field for Fe4 {
    const LANES: usize = 4;
    /// All bits of a lane's word, or none.
    type Mask = __m256i;
    type Wide = Wide4;

    #[inline(always)]
    fn zero() -> Self {
        to_double([splat(0); LIMBS])
    }
    #[inline(always)]
    fn one() -> Self {
        to_double(each!(5, i => splat(u64::from(i == 0))))
    }
    #[inline(always)]
    fn splat(limbs: [u64; LIMBS]) -> Self {
        to_double(each!(5, i => splat(limbs[i])))
    }
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        let (a, b) = (self.integers(), o.integers());
        Fe4::carry(each!(5, i => add(a[i], b[i])))
    }
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        let (a, b) = (self.integers(), o.integers());
        Fe4::carry(each!(5, i => sub(add(a[i], splat(4 * P[i])), b[i])))
    }
    #[inline(always)]
    fn mul(&self, o: &Self) -> Self {
        Fe4::carry(self.mul_wide(o).0)
    }
    #[inline(always)]
    fn square(&self) -> Self {
        Fe4::carry(self.square_wide().0)
    }

    /// A function of its own: 16 registers hold a row of one product, and inlined, the products of a formula are
    /// interleaved until most of the work is spilling.
    #[inline(never)]
    fn mul_wide(&self, o: &Self) -> Wide4 {
        // SAFETY: see `instructions!`.
        unsafe { mul_wide(self, o) }
    }
    /// See `mul_wide`.
    #[inline(never)]
    fn square_wide(&self) -> Wide4 {
        // SAFETY: see `instructions!`.
        unsafe { square_wide(self) }
    }
    #[inline(always)]
    fn sum(x: Wide4, y: Wide4) -> Self {
        Fe4::carry(each!(5, i => add(x.0[i], y.0[i])))
    }
    #[inline(always)]
    fn difference(x: Wide4, y: Wide4) -> Self {
        Fe4::carry(each!(5, i => sub(add(x.0[i], splat(256 * P[i])), y.0[i])))
    }
    #[inline(always)]
    fn double_sum(x: Wide4, y: Wide4) -> Self {
        Fe4::carry(each!(5, i => add(double(x.0[i]), y.0[i])))
    }
    #[inline(always)]
    fn double_difference(x: Wide4, y: Wide4) -> Self {
        Fe4::carry(each!(5, i => sub(add(double(x.0[i]), splat(256 * P[i])), y.0[i])))
    }
    #[inline(always)]
    fn doubling(x: Self, y: Self, z: Self) -> [Self; 4] {
        let (xx, yy, zz) = (x.square_wide().0, y.square_wide().0, z.square_wide().0);
        let xy = x.mul_wide(&y).0;
        let difference = each!(5, i => sub(add(yy[i], splat(256 * P[i])), xx[i]));
        let last = each!(5, i => sub(add(double(zz[i]), splat(512 * P[i])), difference[i]));
        [
            Fe4::carry(each!(5, i => double(xy[i]))),
            Fe4::carry(difference),
            Fe4::carry(each!(5, i => add(yy[i], xx[i]))),
            Fe4::carry(last),
        ]
    }

    #[inline(always)]
    fn select(mask: __m256i, a: Self, b: Self) -> Self {
        // SAFETY: see `instructions!`.
        Fe4(each!(5, i => unsafe { _mm256_blendv_pd(a.0[i], b.0[i], number(mask)) }))
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
        let mut limbs = [[0_u64; 4]; LIMBS];
        for (row, limb) in limbs.iter_mut().zip(self.integers()) {
            // SAFETY: 32 bytes are written into 32 bytes.
            unsafe { _mm256_storeu_si256(row.as_mut_ptr().cast(), limb) };
        }
        let mut words = [[0; 4]; MAX_LANES];
        for (lane, words) in words.iter_mut().enumerate().take(4) {
            *words = Fe4::lane(&limbs, lane).canonical();
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
    const UNKNOWN_SINGLES: usize = 1;
    const SPREADS: bool = true;
    own_functions!(Fe4, "avx2,fma");

    #[inline(always)]
    fn lookup<'a>(entry: impl Fn(usize) -> &'a Entry) -> Niels<Self> {
        let p = each!(4, i => &entry(i).0);
        Niels {
            y_plus_x: unpack(transpose4(each!(4, i => load(p[i][..4].as_ptr())))),
            y_minus_x: unpack(transpose4(each!(4, i => load(p[i][4..8].as_ptr())))),
            xy2d: unpack(transpose4(each!(4, i => load(p[i][8..].as_ptr())))),
        }
    }

    /// The limbs of a lane, one after the other.
    #[inline(always)]
    fn store(point: Cached<Self>, rows: &mut [Row; MAX_LANES]) {
        let parts = [point.y_plus_x.0, point.y_minus_x.0, point.z.0, point.t2d.0];
        for four in 0..LIMBS {
            let lanes = transpose4(each!(4, i => {
                let limb = 4 * four + i;
                bits(parts[limb / LIMBS][limb % LIMBS])
            }));
            for (row, lane) in rows.iter_mut().zip(lanes) {
                // SAFETY: four words of 24 are written.
                unsafe { _mm256_store_si256(row.0.as_mut_ptr().add(4 * four).cast(), lane) };
            }
        }
    }

    #[inline(always)]
    fn choose<'a>(row: impl Fn(usize) -> &'a Row) -> Cached<Self> {
        let p = each!(4, i => &row(i).0);
        let limbs =
            each!(5, four => transpose4(each!(4, i => load(p[i][4 * four..][..4].as_ptr()))));
        let part = |part: usize| {
            Fe4(each!(5, i => number(limbs[(LIMBS * part + i) / 4][(LIMBS * part + i) % 4])))
        };
        Cached { y_plus_x: part(0), y_minus_x: part(1), z: part(2), t2d: part(3) }
    }

    #[inline(always)]
    fn hash(inputs: &[Input<'_>], out: &mut [[u8; 64]]) {
        hash4(inputs, out);
    }
}
