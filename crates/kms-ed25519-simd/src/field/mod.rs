//! Arithmetic in GF(2^255 - 19), on one or more elements side by side.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod ifma;
mod scalar;

pub(crate) use scalar::Fe;

/// p = 2^255 - 19: five limbs of 51 bits, where constants and single elements are concerned.
pub(crate) const LIMBS: usize = 5;
/// The parts of `Field` about products that are not carried, where every product is.
macro_rules! always_carried {
    () => {
        type Wide = Self;

        #[inline(always)]
        fn mul_wide(&self, other: &Self) -> Self {
            self.mul(other)
        }
        #[inline(always)]
        fn square_wide(&self) -> Self {
            self.square()
        }
        #[inline(always)]
        fn sum(x: Self, y: Self) -> Self {
            x.add(y)
        }
        #[inline(always)]
        fn difference(x: Self, y: Self) -> Self {
            x.sub(y)
        }
        #[inline(always)]
        fn doubling(x: Self, y: Self, z: Self) -> [Self; 4] {
            let (xx, yy) = (x.square(), y.square());
            let (sum, difference) = (yy.add(xx), yy.sub(xx));
            // A square and a difference are less than a product.
            let twice_xy = x.add(y).square().sub(sum);
            [twice_xy, difference, sum, Self::double_difference(z.square(), difference)]
        }
    };
}
use always_carried;

/// The most lanes of any tier.
pub(crate) const MAX_LANES: usize = 8;

/// `LANES` field elements side by side, in whatever form suits the instructions at hand.
///
/// Every value that these functions take or return is *reduced*, a bound on limbs that each
/// implementation states, and argues for every one of its operations; test builds check it.
///
/// Everything is `inline(always)`: the vector implementations call intrinsics, which become single
/// instructions only inside one function that has the target features (see `tier.rs`).
pub(crate) trait Field: Copy {
    const LANES: usize;
    /// One choice a lane.
    type Mask: Copy;
    /// A product before its limbs are carried, where that saves anything: what follows is a sum.
    type Wide: Copy;

    fn zero() -> Self;
    fn one() -> Self;
    /// The same constant in every lane, from limbs below 2^51.
    fn splat(limbs: [u64; LIMBS]) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(&self, other: &Self) -> Self;
    fn square(&self) -> Self;

    fn mul_wide(&self, other: &Self) -> Self::Wide;
    fn square_wide(&self) -> Self::Wide;
    /// x + y.
    fn sum(x: Self::Wide, y: Self::Wide) -> Self;
    /// x - y.
    fn difference(x: Self::Wide, y: Self::Wide) -> Self;
    /// 2x + y.
    fn double_sum(x: Self::Wide, y: Self::Wide) -> Self;
    /// 2x - y.
    fn double_difference(x: Self::Wide, y: Self::Wide) -> Self;
    /// (2xy, y² - x², y² + x², 2z² - y² + x²): what a doubling ends in.
    fn doubling(x: Self, y: Self, z: Self) -> [Self; 4];

    /// `b` in the lanes that `mask` names, `a` in the others.
    fn select(mask: Self::Mask, a: Self, b: Self) -> Self;
    /// A mask from one bool a lane.
    fn mask(lanes: impl Fn(usize) -> bool) -> Self::Mask;
    /// A mask's bool of one lane.
    fn test(mask: Self::Mask, lane: usize) -> bool;

    /// Reads an element a lane from its little-endian words; bit 255 is ignored.
    fn from_words(words: impl Fn(usize) -> [u64; 4]) -> Self;
    /// The canonical words of each lane.
    fn words(self) -> [[u64; 4]; MAX_LANES];
    /// Which lanes are equal.
    fn equal(self, other: Self) -> Self::Mask;
    /// Which lanes are odd in canonical form.
    fn odd(self) -> Self::Mask;

    #[inline(always)]
    fn negate(self) -> Self {
        Self::zero().sub(self)
    }

    #[inline(always)]
    fn square_times(self, count: usize) -> Self {
        let mut x = self;
        for _ in 0..count {
            x = x.square();
        }
        x
    }

    /// self^((p - 5) / 8) = self^(2^252 - 3).
    #[inline(always)]
    fn pow_p58(self) -> Self {
        let x2 = self.square();
        let x9 = x2.square_times(2).mul(&self);
        let x11 = x9.mul(&x2);
        // x_n is self^(2^n - 1).
        let x5 = x11.square().mul(&x9);
        let x10 = x5.square_times(5).mul(&x5);
        let x20 = x10.square_times(10).mul(&x10);
        let x40 = x20.square_times(20).mul(&x20);
        let x50 = x40.square_times(10).mul(&x10);
        let x100 = x50.square_times(50).mul(&x50);
        let x200 = x100.square_times(100).mul(&x100);
        x200.square_times(50).mul(&x50).square_times(2).mul(&self)
    }

    /// The inverse of every lane, none of which is 0, with one inversion for all.
    #[inline(always)]
    fn invert(self) -> Self {
        let mut words = self.words();
        invert_all(&mut words[..Self::LANES]);
        Self::from_words(|lane| words[lane])
    }
}

/// Inverts elements, none of which is 0, with one inversion for all (Montgomery). Not inlined: compiled
/// with vector instructions on, scalar arithmetic is slower.
#[inline(never)]
fn invert_all(words: &mut [[u64; 4]]) {
    let mut products = [Fe::one(); MAX_LANES];
    let mut product = Fe::one();
    for (before, element) in products.iter_mut().zip(words.iter()) {
        *before = product;
        product = product.mul(&Fe::from_words(|_| *element));
    }
    let mut inverse = crate::inverse::invert(product);
    for (before, element) in products[..words.len()].iter().zip(words).rev() {
        let own = inverse.mul(before);
        inverse = inverse.mul(&Fe::from_words(|_| *element));
        *element = own.canonical();
    }
}
