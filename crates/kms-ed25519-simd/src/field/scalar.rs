//! One element: five limbs of 51 bits, products of 128 bits.

use super::{Field, LIMBS, MAX_LANES, always_carried};

const MASK: u64 = (1 << 51) - 1;
/// 4p, limb by limb: larger than any reduced limb, so that differences stay positive.
const P4: [u64; LIMBS] = [4 * (MASK - 18), 4 * MASK, 4 * MASK, 4 * MASK, 4 * MASK];

/// One field element. Reduced: limbs below 2^52.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fe(pub(crate) [u64; LIMBS]);

impl Fe {
    /// Carries limbs below 2^63 in one pass: what is carried is below 2^12, and 19 times that below 2^17,
    /// so the result is below 2^51 + 2^17.
    #[inline(always)]
    fn carry(mut l: [u64; LIMBS]) -> Fe {
        let c = l.map(|limb| limb >> 51);
        for limb in &mut l {
            *limb &= MASK;
        }
        l[0] += c[4] * 19;
        for i in 1..LIMBS {
            l[i] += c[i - 1];
        }
        Fe(l).checked()
    }

    /// Carries sums of products. Operands below 2^52 give at most 77 · 2^104 a column (one column sums one
    /// plain product and four that were multiplied by 19), below 2^111; the last carry is below 2^60 and 19
    /// times it fits 64 bits. The result is below 2^51 + 2^13.
    #[inline(always)]
    fn carry_wide(mut c: [u128; LIMBS]) -> Fe {
        let mut out = [0; LIMBS];
        for i in 0..4 {
            c[i + 1] += c[i] >> 51;
            out[i] = (c[i] as u64) & MASK;
        }
        let carry = (c[4] >> 51) as u64;
        out[4] = (c[4] as u64) & MASK;
        out[0] += carry * 19;
        out[1] += out[0] >> 51;
        out[0] &= MASK;
        Fe(out).checked()
    }

    /// Checks, in test builds, that the limbs are reduced.
    #[inline(always)]
    fn checked(self) -> Fe {
        debug_assert!(self.0.iter().all(|limb| *limb < 1 << 52), "limbs are not reduced");
        self
    }

    /// The element's canonical words.
    pub(crate) fn canonical(self) -> [u64; 4] {
        let mut l = Fe::carry(Fe::carry(self.0).0).0;
        // Whether the value is p or more: adding 19 carries out of bit 255.
        let mut q = (l[0] + 19) >> 51;
        for limb in &l[1..] {
            q = (limb + q) >> 51;
        }
        l[0] += 19 * q;
        for i in 0..4 {
            l[i + 1] += l[i] >> 51;
            l[i] &= MASK;
        }
        l[4] &= MASK;
        [
            l[0] | l[1] << 51,
            l[1] >> 13 | l[2] << 38,
            l[2] >> 26 | l[3] << 25,
            l[3] >> 39 | l[4] << 12,
        ]
    }

    #[inline(always)]
    pub(crate) fn limbs_of(w: [u64; 4]) -> [u64; LIMBS] {
        [
            w[0] & MASK,
            (w[0] >> 51 | w[1] << 13) & MASK,
            (w[1] >> 38 | w[2] << 26) & MASK,
            (w[2] >> 25 | w[3] << 39) & MASK,
            (w[3] >> 12) & MASK,
        ]
    }
}

impl Field for Fe {
    const LANES: usize = 1;
    type Mask = bool;
    always_carried!();

    #[inline(always)]
    fn zero() -> Self {
        Fe([0; LIMBS])
    }
    #[inline(always)]
    fn one() -> Self {
        Fe([1, 0, 0, 0, 0])
    }
    #[inline(always)]
    fn splat(limbs: [u64; LIMBS]) -> Self {
        Fe(limbs)
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Fe::carry(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Fe::carry(std::array::from_fn(|i| self.0[i] + P4[i] - other.0[i]))
    }
    #[inline(always)]
    fn double_sum(x: Self, y: Self) -> Self {
        Fe::carry(std::array::from_fn(|i| 2 * x.0[i] + y.0[i]))
    }
    #[inline(always)]
    fn double_difference(x: Self, y: Self) -> Self {
        Fe::carry(std::array::from_fn(|i| 2 * x.0[i] + P4[i] - y.0[i]))
    }
    #[inline(always)]
    fn mul(&self, other: &Self) -> Self {
        let (a, b) = (self.0, other.0);
        let m = |x: u64, y: u64| u128::from(x) * u128::from(y);
        let b19 = b.map(|limb| limb * 19);
        Fe::carry_wide([
            m(a[0], b[0]) + m(a[1], b19[4]) + m(a[2], b19[3]) + m(a[3], b19[2]) + m(a[4], b19[1]),
            m(a[0], b[1]) + m(a[1], b[0]) + m(a[2], b19[4]) + m(a[3], b19[3]) + m(a[4], b19[2]),
            m(a[0], b[2]) + m(a[1], b[1]) + m(a[2], b[0]) + m(a[3], b19[4]) + m(a[4], b19[3]),
            m(a[0], b[3]) + m(a[1], b[2]) + m(a[2], b[1]) + m(a[3], b[0]) + m(a[4], b19[4]),
            m(a[0], b[4]) + m(a[1], b[3]) + m(a[2], b[2]) + m(a[3], b[1]) + m(a[4], b[0]),
        ])
    }

    #[inline(always)]
    fn square(&self) -> Self {
        let a = self.0;
        let m = |x: u64, y: u64| u128::from(x) * u128::from(y);
        let (a3, a4) = (a[3] * 19, a[4] * 19);
        Fe::carry_wide([
            m(a[0], a[0]) + 2 * (m(a[1], a4) + m(a[2], a3)),
            m(a[3], a3) + 2 * (m(a[0], a[1]) + m(a[2], a4)),
            m(a[1], a[1]) + 2 * (m(a[0], a[2]) + m(a[4], a3)),
            m(a[4], a4) + 2 * (m(a[0], a[3]) + m(a[1], a[2])),
            m(a[2], a[2]) + 2 * (m(a[0], a[4]) + m(a[1], a[3])),
        ])
    }
    #[inline(always)]
    fn select(mask: bool, a: Self, b: Self) -> Self {
        if mask { b } else { a }
    }
    #[inline(always)]
    fn mask(lanes: impl Fn(usize) -> bool) -> bool {
        lanes(0)
    }
    #[inline(always)]
    fn test(mask: bool, _: usize) -> bool {
        mask
    }
    #[inline(always)]
    fn from_words(words: impl Fn(usize) -> [u64; 4]) -> Self {
        Fe(Fe::limbs_of(words(0)))
    }
    #[inline(always)]
    fn words(self) -> [[u64; 4]; MAX_LANES] {
        let mut words = [[0; 4]; MAX_LANES];
        words[0] = self.canonical();
        words
    }
    #[inline(always)]
    fn equal(self, other: Self) -> bool {
        self.canonical() == other.canonical()
    }
    #[inline(always)]
    fn odd(self) -> bool {
        self.canonical()[0] & 1 == 1
    }
}
