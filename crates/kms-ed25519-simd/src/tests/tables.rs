use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION};
use curve25519_dalek::{EdwardsPoint, Scalar};

use super::every_tier;
use crate::equation::{Unknown, decode};
use crate::field::{Fe, Field, MAX_LANES};
use crate::point::Extended;
use crate::table::{KeyTable, Lanes, Row, Table, TableSize, base};
use crate::{Tier, digits};

fn words(point: &EdwardsPoint) -> [u64; 4] {
    digits::words(&point.compress().to_bytes())
}

/// The encoding of an entry: y = (plus + minus) / 2, x = (plus - minus) / 2.
fn encoded(entry: &[u64; 12]) -> [u64; 4] {
    let [a, b, c, d, e, f, g, h, ..] = *entry;
    let (plus, minus) = (Fe::from_words(|_| [a, b, c, d]), Fe::from_words(|_| [e, f, g, h]));
    let half = Fe::from_words(|_| [2, 0, 0, 0]).invert();
    let (x, y) = (plus.sub(minus).mul(&half), plus.add(minus).mul(&half));
    let mut words = y.canonical();
    words[3] |= (x.canonical()[0] & 1) << 63;
    words
}

fn assert_multiples(table: &Table, point: &EdwardsPoint) {
    let mut window_base = *point;
    for window in 0..32 / table.stride {
        let mut multiple = EdwardsPoint::default();
        for digit in 0..=127_i8 {
            assert_eq!(encoded(&table.entry(window, digit).0), words(&multiple));
            multiple += window_base;
        }
        assert_eq!(encoded(&table.entry(window, -128).0), words(&multiple));
        window_base = window_base.mul_by_pow_2_times(8 * table.stride as u32);
    }
}

/// The names of the crate's own doubling, by addition alone.
trait Doublings {
    fn mul_by_pow_2_times(self, count: u32) -> Self;
}

impl Doublings for EdwardsPoint {
    fn mul_by_pow_2_times(self, count: u32) -> Self {
        (0..count).fold(self, |point, _| point + point)
    }
}

#[test]
fn the_table_of_the_base_point_holds_its_multiples() {
    assert_multiples(base(), &B);
}

#[test]
fn tables_hold_multiples_of_minus_a_in_every_tier_and_size() {
    let key = Scalar::from(0x1234_5678_9abc_def1_u64) * B + EIGHT_TORSION[3];
    for tier in Tier::available() {
        for size in [TableSize::Full, TableSize::Small] {
            let table = KeyTable::build(tier, &key.compress().to_bytes(), size).expect("a table");
            assert_multiples(&table.table, &-key);
            assert_eq!(table.size().bytes(), 32 / size.stride() * 129 * 96);
        }
    }
}

#[test]
fn no_table_is_built_for_a_key_under_which_nothing_verifies() {
    for point in EIGHT_TORSION {
        assert!(
            KeyTable::build(Tier::detect(), &point.compress().to_bytes(), TableSize::Small)
                .is_none()
        );
    }
    let mut off_curve = [2; 32];
    off_curve[31] = 0;
    assert!(KeyTable::build(Tier::detect(), &off_curve, TableSize::Small).is_none());
}

fn formulas<F: Lanes>() {
    // Every sum of two of: small multiples of B, the same with torsion, torsion alone.
    let points: Vec<EdwardsPoint> = (0..4_u8)
        .flat_map(|n| EIGHT_TORSION.map(|torsion| Scalar::from(n) * B + torsion))
        .collect();
    let decode = |pick: &dyn Fn(usize) -> usize| {
        // The identity and other small points have encodings that `decompress` is not meant for.
        let lanes: Vec<_> = (0..F::LANES)
            .map(|lane| {
                let words = words(&points[pick(lane)]);
                let (mut point, valid) = Extended::<Fe>::decompress(|_| words);
                assert!(valid);
                if point.x.canonical() == [0; 4] {
                    point.x = Fe::zero();
                    point.t = Fe::zero();
                }
                [point.x, point.y, point.z, point.t].map(Fe::canonical)
            })
            .collect();
        let part = |c: usize| F::from_words(|lane| lanes[lane][c]);
        Extended { x: part(0), y: part(1), z: part(2), t: part(3) }
    };
    let assert_lane = |result: Extended<F>, lane: usize, expected: EdwardsPoint| {
        let coordinate = |f: F| Fe::from_words(|_| f.words()[lane]);
        let (x, y, z, t) = (
            coordinate(result.x),
            coordinate(result.y),
            coordinate(result.z),
            coordinate(result.t),
        );
        let inverse = z.invert();
        let mut words = y.mul(&inverse).canonical();
        words[3] |= (x.mul(&inverse).canonical()[0] & 1) << 63;
        assert_eq!(words, self::words(&expected));
        assert!(x.mul(&y).equal(z.mul(&t)), "T = XY/Z");
    };
    for i in 0..points.len() {
        for j in (0..points.len()).step_by(F::LANES) {
            let pick_b = |lane: usize| (j + lane) % points.len();
            let (a, b) = (decode(&|_| i), decode(&pick_b));
            let odd = F::mask(|lane| lane % 2 == 1);
            let mut rows = [Row([0; 24]); MAX_LANES];
            F::store(b.cached(), &mut rows);
            let stored = F::choose(|lane| &rows[lane]);
            let (mut sum, mut doubled) = (a.completed(), b.completed());
            sum.add_cached(&stored, odd);
            doubled.double_times(3);
            let (sum, doubled) = (sum.extended(), doubled.extended());
            for lane in 0..F::LANES {
                let b = points[pick_b(lane)];
                let expected = if lane % 2 == 1 { points[i] - b } else { points[i] + b };
                assert_lane(sum, lane, expected);
                assert_lane(doubled, lane, b.mul_by_pow_2_times(3));
            }
        }
    }
}

#[test]
fn formulas_are_complete_in_every_tier() {
    every_tier!(formulas);
}

fn off_the_curve<F: Lanes>() {
    // y = 2 is off the curve, the base point is on it.
    let keys = [[2, 0, 0, 0], words(&B)];
    let items: Vec<Unknown> = (0..F::LANES)
        .map(|lane| Unknown { a: keys[lane % 2], s: [0; 32], k: [0; 51], r: [0; 4] })
        .collect();
    let (key, valid) = decode::<F>(&items);
    let coordinates = [key.x, key.y, key.z, key.t].map(F::words);
    for lane in 0..F::LANES {
        assert_eq!(F::test(valid, lane), lane % 2 == 1);
        if lane % 2 == 0 {
            let identity = [[0; 4], [1, 0, 0, 0], [1, 0, 0, 0], [0; 4]];
            assert_eq!(coordinates.map(|words| words[lane]), identity);
        }
    }
}

#[test]
fn a_lane_whose_key_does_not_decode_holds_the_identity() {
    every_tier!(off_the_curve);
}
