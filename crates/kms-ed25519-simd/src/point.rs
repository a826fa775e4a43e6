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

/// What a formula ends in: X = EF, Y = GH, Z = FG, T = EH.
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

impl<F: Field> Completed<F> {
    #[inline(always)]
    pub(crate) fn extended(self) -> Extended<F> {
        Extended {
            x: self.e.mul(self.f),
            y: self.g.mul(self.h),
            z: self.f.mul(self.g),
            t: self.e.mul(self.h),
        }
    }

    /// Without T, where a doubling or nothing follows.
    #[inline(always)]
    pub(crate) fn projective(self) -> Projective<F> {
        Projective { x: self.e.mul(self.f), y: self.g.mul(self.h), z: self.f.mul(self.g) }
    }
}

impl<F: Field> Projective<F> {
    #[inline(always)]
    pub(crate) fn double(self) -> Completed<F> {
        let a = self.x.square();
        let b = self.y.square();
        let s = self.x.add(self.y).square();
        let h = a.add(b);
        let g = a.sub(b);
        // E, F, G and H all have the opposite sign of the paper's, which changes no coordinate.
        Completed { e: h.sub(s), f: self.z.square().double_add(g), g, h }
    }
}

impl<F: Field> Extended<F> {
    /// (0, 1).
    #[inline(always)]
    pub(crate) fn identity() -> Self {
        Extended { x: F::zero(), y: F::one(), z: F::one(), t: F::zero() }
    }

    #[inline(always)]
    pub(crate) fn projective(self) -> Projective<F> {
        Projective { x: self.x, y: self.y, z: self.z }
    }

    #[inline(always)]
    pub(crate) fn cached(self) -> Cached<F> {
        Cached {
            y_plus_x: self.y.add(self.x),
            y_minus_x: self.y.sub(self.x),
            z: self.z,
            t2d: self.t.mul(F::splat(D2)),
        }
    }

    #[inline(always)]
    pub(crate) fn negate(self) -> Self {
        Extended { x: self.x.negate(), t: self.t.negate(), ..self }
    }

    /// 2^count times the point.
    #[inline(always)]
    pub(crate) fn double_times(self, count: usize) -> Self {
        let mut point = self.projective();
        for _ in 1..count {
            point = point.double().projective();
        }
        point.double().extended()
    }

    /// Adds a prepared affine point, or subtracts it in the lanes that `negative` names.
    #[inline(always)]
    pub(crate) fn add_niels(self, other: Niels<F>, negative: F::Mask) -> Completed<F> {
        let c = self.t.mul(other.xy2d);
        self.add_prepared(other.y_plus_x, other.y_minus_x, c, self.z, negative)
    }

    /// Adds a prepared point, or subtracts it in the lanes that `negative` names.
    #[inline(always)]
    pub(crate) fn add_cached(self, other: Cached<F>, negative: F::Mask) -> Completed<F> {
        let c = self.t.mul(other.t2d);
        self.add_prepared(other.y_plus_x, other.y_minus_x, c, self.z.mul(other.z), negative)
    }

    /// The addition; `c` is 2d·T1·T2, `zz` is Z1·Z2. -P swaps y + x with y - x and turns the sign of c.
    #[inline(always)]
    fn add_prepared(self, plus: F, minus: F, c: F, zz: F, negative: F::Mask) -> Completed<F> {
        let a = self.y.sub(self.x).mul(F::select(negative, minus, plus));
        let b = self.y.add(self.x).mul(F::select(negative, plus, minus));
        let (sum, difference) = (zz.double_add(c), zz.double_sub(c));
        Completed {
            e: b.sub(a),
            f: F::select(negative, difference, sum),
            g: F::select(negative, sum, difference),
            h: b.add(a),
        }
    }

    /// Decodes a point in each lane (RFC 8032, section 5.1.3), and says which lanes hold one. That the
    /// encoding is canonical, with x ≠ 0, is the caller's to have checked.
    #[inline(always)]
    pub(crate) fn decompress(words: impl Fn(usize) -> [u64; 4]) -> (Extended<F>, F::Mask) {
        let y = F::from_words(&words);
        let yy = y.square();
        let u = yy.sub(F::one());
        let v = yy.mul(F::splat(D)).add(F::one());
        let v3 = v.square().mul(v);
        let root = u.mul(v3).mul(u.mul(v3.square().mul(v)).pow_p58());
        let check = root.square().mul(v);
        let (is_u, is_minus_u) = (check.equal(u), check.equal(u.negate()));
        let x = F::select(is_u, root.mul(F::splat(SQRT_M1)), root);
        let odd = x.odd();
        let turn = F::mask(|lane| F::test(odd, lane) != (words(lane)[3] >> 63 == 1));
        let x = F::select(turn, x, x.negate());
        let valid = F::mask(|lane| F::test(is_u, lane) || F::test(is_minus_u, lane));
        (Extended { x, y, z: F::one(), t: x.mul(y) }, valid)
    }
}
