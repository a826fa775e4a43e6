//! \[S\]B + \[k\](-A) over lanes, and its comparison with R.

use crate::digits::{Bytes, Fives};
use crate::field::{Fe, Field, MAX_LANES};
use crate::point::{Completed, Extended, Projective};
use crate::table::{Lanes, Row, Table, base};

/// This many vectors share one inversion.
pub(crate) const GROUP: usize = 8;

/// A signature under a key with a table.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) table: &'a Table,
    pub(crate) s: Bytes,
    pub(crate) k: Bytes,
    /// R as it was sent.
    pub(crate) r: [u64; 4],
}

/// A signature under a key without a table.
#[derive(Clone, Copy)]
pub(crate) struct Unknown {
    /// A as it was sent.
    pub(crate) a: [u64; 4],
    pub(crate) s: Bytes,
    pub(crate) k: Fives,
    /// R as it was sent.
    pub(crate) r: [u64; 4],
}

/// Multiples of a point in each lane.
type Multiples = [[Row; MAX_LANES]; 17];

/// Verdicts on a multiple of `F::LANES`, at most `GROUP` times that. All tables are of one size.
#[inline(always)]
pub(crate) fn verify_known<F: Lanes>(items: &[Known<'_>], out: &mut [bool]) {
    let mut points = [Projective::<F>::identity(); GROUP];
    for (point, items) in points.iter_mut().zip(items.chunks_exact(F::LANES)) {
        F::known(items, point);
    }
    compare(&points[..items.len() / F::LANES], |i| items[i].r, out);
}

/// One vector of `verify_known`.
#[inline(always)]
pub(crate) fn known<F: Lanes>(items: &[Known<'_>], out: &mut Projective<F>) {
    let stride = items[0].table.stride;
    let mut sum = Completed::<F>::identity();
    for round in (0..stride).rev() {
        if round + 1 < stride {
            sum.double_times(8);
        }
        for window in 0..32 / stride {
            let digit = |lane: usize| items[lane].k[window * stride + round];
            let next = window + 1;
            if next < 32 / stride {
                for item in &items[..F::LANES] {
                    item.table.prefetch(next, item.k[next * stride + round]);
                }
            }
            let entry = F::lookup(|lane| items[lane].table.entry(window, digit(lane)));
            sum.add_niels(&entry, F::mask(|lane| digit(lane) < 0));
        }
    }
    *out = add_base(sum, |lane, at| items[lane].s[at]);
}

/// Adds \[S\]B.
#[inline(always)]
fn add_base<F: Lanes>(mut sum: Completed<F>, digit: impl Fn(usize, usize) -> i8) -> Projective<F> {
    let base = base();
    for at in 0..32 {
        if at < 31 {
            for lane in 0..F::LANES {
                base.prefetch(at + 1, digit(lane, at + 1));
            }
        }
        let entry = F::lookup(|lane| base.entry(at, digit(lane, at)));
        sum.add_niels(&entry, F::mask(|lane| digit(lane, at) < 0));
    }
    sum.projective()
}

/// Verdicts on a multiple of `F::LANES`, at most `GROUP` times that.
#[inline(always)]
pub(crate) fn verify_unknown<F: Lanes>(items: &[Unknown], out: &mut [bool]) {
    let mut points = [Projective::<F>::identity(); GROUP];
    let mut decoded = [F::mask(|_| false); GROUP];
    let vectors = points.iter_mut().zip(&mut decoded).zip(items.chunks_exact(F::LANES));
    for ((point, decoded), items) in vectors {
        *decoded = F::unknown(items, point);
    }
    compare(&points[..items.len() / F::LANES], |i| items[i].r, out);
    for (i, verdict) in out.iter_mut().enumerate() {
        *verdict &= F::test(decoded[i / F::LANES], i % F::LANES);
    }
}

/// Decodes the keys. A lane whose key does not decode holds the identity: computed with off the curve, Z
/// could become 0, and an inversion that a group shares would spoil the verdicts of the others.
#[inline(always)]
pub(crate) fn decode<F: Lanes>(items: &[Unknown]) -> (Extended<F>, F::Mask) {
    let (key, valid) = Extended::<F>::decompress(|lane| items[lane].a);
    let identity = Extended::<F>::identity();
    let key = Extended {
        x: F::select(valid, identity.x, key.x),
        y: F::select(valid, identity.y, key.y),
        z: key.z,
        t: F::select(valid, identity.t, key.t),
    };
    (key, valid)
}

/// One vector of `verify_unknown`, and which of its keys decode.
#[inline(always)]
pub(crate) fn unknown<F: Lanes>(items: &[Unknown], out: &mut Projective<F>) -> F::Mask {
    let (key, valid) = decode::<F>(items);
    let minus_a = key.negate();
    // 0 to 16 times -A.
    let step = minus_a.cached();
    let mut multiples: Multiples = [[Row([0; 24]); MAX_LANES]; 17];
    F::store(Extended::<F>::identity().cached(), &mut multiples[0]);
    F::store(step, &mut multiples[1]);
    let mut multiple = minus_a.completed();
    for rows in &mut multiples[2..] {
        multiple.add_cached(&step, F::mask(|_| false));
        F::store(multiple.cached(), rows);
    }
    let mut sum = Completed::<F>::identity();
    for at in (0..51).rev() {
        if at < 50 {
            sum.double_times(5);
        }
        let digit = |lane: usize| items[lane].k[at];
        let entry = F::choose(|lane| &multiples[usize::from(digit(lane).unsigned_abs())][lane]);
        sum.add_cached(&entry, F::mask(|lane| digit(lane) < 0));
    }
    *out = add_base(sum, |lane, at| items[lane].s[at]);
    valid
}

/// Encodes points and compares each with its R, with one inversion for all (Montgomery). No Z is 0: the
/// formulas are complete, and all points are on the curve.
#[inline(always)]
fn compare<F: Field>(points: &[Projective<F>], r: impl Fn(usize) -> [u64; 4], out: &mut [bool]) {
    let mut products = [F::one(); GROUP];
    let mut product = F::one();
    for (before, point) in products.iter_mut().zip(points) {
        *before = product;
        product = product.mul(&point.z);
    }
    let mut inverse = product.invert();
    for (i, point) in points.iter().enumerate().rev() {
        let z_inverse = inverse.mul(&products[i]);
        inverse = inverse.mul(&point.z);
        let encoded = encode(point.x.mul(&z_inverse), point.y.mul(&z_inverse));
        for (lane, encoded) in encoded.iter().enumerate().take(F::LANES) {
            out[i * F::LANES + lane] = *encoded == r(i * F::LANES + lane);
        }
    }
}

/// RFC 8032, section 5.1.2.
#[inline(always)]
fn encode<F: Field>(x: F, y: F) -> [[u64; 4]; MAX_LANES] {
    let odd = x.odd();
    let mut words = y.words();
    for (lane, words) in words.iter_mut().enumerate().take(F::LANES) {
        words[3] |= u64::from(F::test(odd, lane)) << 63;
    }
    words
}

/// The verdict on one signature, its terms spread over the lanes.
#[inline(always)]
pub(crate) fn verify_one<F: Lanes>(item: &Known<'_>) -> bool {
    let base = base();
    let stride = item.table.stride;
    let mut sum = Completed::<F>::identity();
    for round in (0..stride).rev() {
        if round + 1 < stride {
            sum.double_times(8);
        }
        for first in (0..32 / stride).step_by(F::LANES) {
            let digit = |lane: usize| item.k[(first + lane) * stride + round];
            let next = first + F::LANES;
            if next < 32 / stride {
                for window in next..next + F::LANES {
                    item.table.prefetch(window, item.k[window * stride + round]);
                }
            }
            let entry = F::lookup(|lane| item.table.entry(first + lane, digit(lane)));
            sum.add_niels(&entry, F::mask(|lane| digit(lane) < 0));
        }
    }
    for first in (0..32).step_by(F::LANES) {
        let digit = |lane: usize| item.s[first + lane];
        let entry = F::lookup(|lane| base.entry(first + lane, digit(lane)));
        sum.add_niels(&entry, F::mask(|lane| digit(lane) < 0));
    }
    let sum = sum.extended();
    let coordinates = [sum.x.words(), sum.y.words(), sum.z.words(), sum.t.words()];
    add_lanes(&coordinates, F::LANES, item.r)
}

/// Adds the lanes up and compares. Not inlined: compiled with vector instructions on, scalar arithmetic
/// is slower.
#[inline(never)]
fn add_lanes(coordinates: &[[[u64; 4]; MAX_LANES]; 4], lanes: usize, r: [u64; 4]) -> bool {
    let lane = |i: usize| {
        let [x, y, z, t] = [0, 1, 2, 3].map(|c| Fe::from_words(|_| coordinates[c][i]));
        Extended { x, y, z, t }
    };
    let mut total = lane(0).completed();
    for i in 1..lanes {
        total.add_cached(&lane(i).cached(), false);
    }
    let total = total.projective();
    let inverse = total.z.invert();
    encode(total.x.mul(&inverse), total.y.mul(&inverse))[0] == r
}
