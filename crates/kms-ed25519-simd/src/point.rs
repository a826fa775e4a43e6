//! Points of edwards25519, -x² + y² = 1 + d·x²·y², one a lane.
//!
//! The addition law is complete: it holds for every pair of points of the curve, those with torsion and
//! equal ones included (a = -1 is a square and d is not; Hisil, Wong, Carter and Dawson, "Twisted
//! Edwards curves revisited", 2008, section 3.1).

use crate::field::{Field, LIMBS};

/// d = -121665/121666.
pub(crate) const D: [u64; LIMBS] =
    [929955233495203, 466365720129213, 1662059464998953, 2033849074728123, 1442794654840575];
/// 2d.
pub(crate) const D2: [u64; LIMBS] =
    [1859910466990425, 932731440258426, 1072319116312658, 1815898335770999, 633789495995903];
/// A square root of -1.
pub(crate) const SQRT_M1: [u64; LIMBS] =
    [1718705420411056, 234908883556509, 2233514472574048, 2117202627021982, 765476049583133];

/// (X : Y : Z), x = X/Z, y = Y/Z.
#[derive(Clone, Copy)]
pub(crate) struct Projective<F> {
    pub(crate) x: F,
    pub(crate) y: F,
    pub(crate) z: F,
}

/// (X : Y : Z : T), with T = XY/Z as well.
#[derive(Clone, Copy)]
pub(crate) struct Extended<F> {
    pub(crate) x: F,
    pub(crate) y: F,
    pub(crate) z: F,
    pub(crate) t: F,
}

/// What a formula ends in, and the next begins with: X = EF, Y = GH, Z = FG, T = EH. So each formula
/// multiplies only what it needs, and carries the rest once.
#[derive(Clone, Copy)]
pub(crate) struct Completed<F> {
    e: F,
    f: F,
    g: F,
    h: F,
}

/// An affine point prepared for addition: y + x, y - x, 2dxy.
#[derive(Clone, Copy)]
pub(crate) struct Niels<F> {
    pub(crate) y_plus_x: F,
    pub(crate) y_minus_x: F,
    pub(crate) xy2d: F,
}

/// A projective point prepared for addition: Y + X, Y - X, Z, 2dT.
#[derive(Clone, Copy)]
pub(crate) struct Cached<F> {
    pub(crate) y_plus_x: F,
    pub(crate) y_minus_x: F,
    pub(crate) z: F,
    pub(crate) t2d: F,
}

impl<F: Field> Projective<F> {
    /// (0, 1).
    #[inline(always)]
    pub(crate) fn identity() -> Self {
        Projective { x: F::zero(), y: F::one(), z: F::one() }
    }
}

impl<F: Field> Completed<F> {
    /// (0, 1).
    #[inline(always)]
    pub(crate) fn identity() -> Self {
        Extended::identity().completed()
    }

    #[inline(always)]
    pub(crate) fn extended(&self) -> Extended<F> {
        let Projective { x, y, z } = self.projective();
        Extended { x, y, z, t: self.e.mul(&self.h) }
    }

    #[inline(always)]
    pub(crate) fn projective(&self) -> Projective<F> {
        Projective { x: self.e.mul(&self.f), y: self.g.mul(&self.h), z: self.f.mul(&self.g) }
    }

    #[inline(always)]
    pub(crate) fn cached(&self) -> Cached<F> {
        let (y_plus_x, y_minus_x) = self.y_plus_minus_x();
        let t2d = self.e.mul(&self.h).mul(&F::splat(D2));
        Cached { y_plus_x, y_minus_x, z: self.f.mul(&self.g), t2d }
    }

    #[inline(always)]
    fn y_plus_minus_x(&self) -> (F, F) {
        let (x, y) = (self.e.mul_wide(&self.f), self.g.mul_wide(&self.h));
        (F::sum(y, x), F::difference(y, x))
    }

    /// Makes it 2^count times the point. T is not computed in between.
    #[inline(always)]
    pub(crate) fn double_times(&mut self, count: usize) {
        for _ in 0..count {
            let Projective { x, y, z } = self.projective();
            let [e, g, h, f] = F::doubling(x, y, z);
            (self.e, self.f, self.g, self.h) = (e, f, g, h);
        }
    }

    /// Adds a prepared affine point, or subtracts it in the lanes that `negative` names.
    #[inline(always)]
    pub(crate) fn add_niels(&mut self, other: &Niels<F>, negative: F::Mask) {
        let zz = self.f.mul_wide(&self.g);
        self.add_prepared([other.y_plus_x, other.y_minus_x, other.xy2d], zz, negative);
    }

    /// Adds a prepared point, or subtracts it in the lanes that `negative` names.
    #[inline(always)]
    pub(crate) fn add_cached(&mut self, other: &Cached<F>, negative: F::Mask) {
        let zz = self.f.mul(&self.g).mul_wide(&other.z);
        self.add_prepared([other.y_plus_x, other.y_minus_x, other.t2d], zz, negative);
    }

    /// The addition, of Y + X, Y - X and 2dT; `zz` is Z1·Z2. -P swaps the first two and turns the sign of the third.
    #[inline(always)]
    fn add_prepared(&mut self, [plus, minus, t2d]: [F; 3], zz: F::Wide, negative: F::Mask) {
        let (y_plus_x, y_minus_x) = self.y_plus_minus_x();
        let a = y_minus_x.mul_wide(&F::select(negative, minus, plus));
        let b = y_plus_x.mul_wide(&F::select(negative, plus, minus));
        let c = self.e.mul(&self.h).mul_wide(&t2d);
        let (sum, difference) = (F::double_sum(zz, c), F::double_difference(zz, c));
        // Field by field: a point is larger than what a compiler copies without a call.
        self.e = F::difference(b, a);
        self.f = F::select(negative, difference, sum);
        self.g = F::select(negative, sum, difference);
        self.h = F::sum(b, a);
    }
}

impl<F: Field> Extended<F> {
    /// (0, 1).
    #[inline(always)]
    pub(crate) fn identity() -> Self {
        Extended { x: F::zero(), y: F::one(), z: F::one(), t: F::zero() }
    }

    /// The same point, as (XZ : YZ : Z² : XY).
    #[inline(always)]
    pub(crate) fn completed(self) -> Completed<F> {
        Completed { e: self.x, f: self.z, g: self.z, h: self.y }
    }

    #[inline(always)]
    pub(crate) fn cached(self) -> Cached<F> {
        Cached {
            y_plus_x: self.y.add(self.x),
            y_minus_x: self.y.sub(self.x),
            z: self.z,
            t2d: self.t.mul(&F::splat(D2)),
        }
    }

    #[inline(always)]
    pub(crate) fn negate(self) -> Self {
        Extended { x: self.x.negate(), t: self.t.negate(), ..self }
    }

    /// Decodes a point in each lane (RFC 8032, section 5.1.3), and says which lanes hold one. That the
    /// encoding is canonical, with x ≠ 0, is the caller's to have checked.
    #[inline(always)]
    pub(crate) fn decompress(words: impl Fn(usize) -> [u64; 4]) -> (Extended<F>, F::Mask) {
        let y = F::from_words(&words);
        let yy = y.square();
        let u = yy.sub(F::one());
        let v = yy.mul(&F::splat(D)).add(F::one());
        let v3 = v.square().mul(&v);
        let root = u.mul(&v3).mul(&u.mul(&v3.square().mul(&v)).pow_p58());
        let check = root.square().mul(&v);
        let (is_u, is_minus_u) = (check.equal(u), check.equal(u.negate()));
        let x = F::select(is_u, root.mul(&F::splat(SQRT_M1)), root);
        let odd = x.odd();
        let turn = F::mask(|lane| F::test(odd, lane) != (words(lane)[3] >> 63 == 1));
        let x = F::select(turn, x, x.negate());
        let valid = F::mask(|lane| F::test(is_u, lane) || F::test(is_minus_u, lane));
        (Extended { x, y, z: F::one(), t: x.mul(&y) }, valid)
    }
}
