use num_bigint::BigUint;

use super::every_tier;
use crate::field::{Fe, Field, LIMBS};
use crate::{digits, inverse};

fn p() -> BigUint {
    (BigUint::from(1_u8) << 255) - 19_u8
}

fn big(words: [u64; 4]) -> BigUint {
    words.iter().rev().fold(BigUint::default(), |sum, word| (sum << 64) + *word)
}

/// Values at the edges of limbs and of p, and pseudo-random ones.
fn samples() -> Vec<[u64; 4]> {
    let top = u64::MAX >> 1;
    let mut samples =
        vec![[0; 4], [1, 0, 0, 0], [19, 0, 0, 0], [u64::MAX, u64::MAX, u64::MAX, top]];
    // p - 20 to p + 18, the last of which is 2^255 - 1.
    for low in u64::MAX - 38..=u64::MAX {
        samples.push([low, u64::MAX, u64::MAX, top]);
    }
    for bit in 0..255 {
        let mut words = [0; 4];
        words[bit / 64] = 1 << (bit % 64);
        samples.push(words);
        samples.push([0, 1, 2, 3].map(|i| if i == 3 { !words[i] & top } else { !words[i] }));
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..200 {
        samples.push([0; 4].map(|_: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        }));
        if let Some(words) = samples.last_mut() {
            words[3] &= top;
        }
    }
    samples
}

fn agrees_with_big_integers<F: Field>() {
    let p = p();
    let samples = samples();
    let check = |result: F, lane: usize, expected: BigUint| {
        assert_eq!(big(result.words()[lane]), expected % &p);
    };
    for (i, _) in samples.iter().enumerate() {
        // A different pair in every lane.
        let a = |lane: usize| samples[(i + lane) % samples.len()];
        let b = |lane: usize| samples[(i * 7 + 3 * lane + 5) % samples.len()];
        let (x, y) = (F::from_words(a), F::from_words(b));
        let (sum, difference, product) = (x.add(y), x.sub(y), x.mul(&y));
        let square = x.square();
        let (xy, yy) = (x.mul_wide(&y), y.square_wide());
        let (twice, minus) = (F::double_sum(xy, yy), F::double_difference(xy, yy));
        let (wide_sum, wide_difference) = (F::sum(xy, yy), F::difference(xy, yy));
        let doubling = F::doubling(x, y, sum);
        // Results are operands again: their limbs are within what they claim.
        let chain = sum.mul(&difference).add(product.square()).mul(&minus).sub(twice);
        let even = F::mask(|lane| lane % 2 == 0);
        let chosen = F::select(even, x, y);
        for lane in 0..F::LANES {
            let (a, b) = (big(a(lane)), big(b(lane)));
            let four_p = &p * 4_u8;
            check(x, lane, a.clone());
            check(sum, lane, &a + &b);
            check(difference, lane, &a + &four_p - &b);
            check(product, lane, &a * &b);
            check(square, lane, &a * &a);
            let (xx, xy, yy) = (&a * &a, &a * &b % &p, &b * &b % &p);
            check(twice, lane, &xy * 2_u8 + &yy);
            check(minus, lane, &xy * 2_u8 + &p - &yy);
            check(wide_sum, lane, &xy + &yy);
            check(wide_difference, lane, &xy + &p - &yy);
            let zz = (&a + &b) * (&a + &b);
            let steps = [&xy * 2_u8, &yy + &p - &xx % &p, &yy + &xx, zz * 2_u8 + &p - &yy + &xx];
            for (step, expected) in doubling.into_iter().zip(steps) {
                check(step, lane, expected);
            }
            let inner = (&a + &b) * (&a + &four_p - &b) + &a * &b * &a * &b;
            let whole = inner * (&xy * 2_u8 + &p - &yy) + &p - (&xy * 2_u8 + &yy) % &p;
            check(chain, lane, whole);
            check(chosen, lane, if lane % 2 == 0 { b } else { a.clone() });
            assert_eq!(F::test(x.odd(), lane), (&a % &p).bit(0));
            assert!(F::test(x.equal(x.add(F::zero())), lane));
            assert_eq!(F::test(x.equal(y), lane), x.words()[lane] == y.words()[lane]);
        }
    }
}

#[test]
fn every_tier_agrees_with_big_integers() {
    every_tier!(agrees_with_big_integers);
}

/// Products of limbs as large as reduced ones get.
fn multiplies_at_its_bounds<F: Field>() {
    let edges = [0, 1, (1 << 50) - 1, 1 << 50, (1 << 51) - 1, (1 << 51) + (1 << 15) - 1];
    let value = |limbs: [u64; LIMBS]| {
        limbs.iter().rev().fold(BigUint::default(), |sum, limb| (sum << 51) + *limb)
    };
    let mut state = 1_usize;
    let mut edge = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        edges[(state >> 33) % edges.len()]
    };
    let mut operands = vec![edges.map(|edge| [edge; LIMBS]).to_vec()];
    operands.push((0..200).map(|_| [0; LIMBS].map(|_| edge())).collect());
    let operands = operands.concat();
    for (i, a) in operands.iter().enumerate() {
        for b in [a, &operands[(i * 7 + 3) % operands.len()]] {
            let (x, y) = (F::splat(*a), F::splat(*b));
            let check = |result: F, expected: BigUint| {
                for words in &result.words()[..F::LANES] {
                    assert_eq!(big(*words), &expected % p());
                }
            };
            let product = value(*a) * value(*b);
            check(x.mul(&y), product.clone());
            check(x.square(), value(*a) * value(*a));
            let (wide, zero) = (x.mul_wide(&y), F::zero().mul_wide(&y));
            check(F::difference(zero, wide), (p() << 300) - &product);
            check(
                F::double_difference(wide, x.square_wide()),
                (p() << 300) + product * 2_u8 - value(*a) * value(*a),
            );
        }
    }
}

#[test]
fn every_tier_multiplies_at_its_bounds() {
    every_tier!(multiplies_at_its_bounds);
}

fn inverts<F: Field>() {
    let nonzero: Vec<_> =
        samples().into_iter().filter(|w| big(*w) % p() != BigUint::default()).collect();
    for i in 0..nonzero.len() {
        let x = F::from_words(|lane| nonzero[(i + lane) % nonzero.len()]);
        let one = x.mul(&x.invert()).words();
        assert!(one.iter().take(F::LANES).all(|words| *words == [1, 0, 0, 0]));
    }
}

#[test]
fn every_tier_inverts() {
    every_tier!(inverts);
}

#[test]
fn divsteps_agree_with_fermat() {
    let p = p();
    for words in samples() {
        let inverse = big(inverse::invert(Fe::from_words(|_| words)).canonical());
        assert_eq!(inverse, big(words).modpow(&(&p - 2_u8), &p));
    }
}

#[test]
fn digits_make_up_the_scalar() {
    let below_2_253 = samples().into_iter().map(|mut words| {
        words[3] &= (1 << 61) - 1;
        words
    });
    for words in below_2_253 {
        let mut scalar = [0; 32];
        for (bytes, word) in scalar.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let value = |digits: &[i8], base: u16| {
            let mut sum = num_bigint::BigInt::default();
            for digit in digits.iter().rev() {
                sum = sum * base + i16::from(*digit);
            }
            sum
        };
        let expected = num_bigint::BigInt::from(big(words));
        assert_eq!(value(&digits::bytes(&scalar), 256), expected);
        assert_eq!(value(&digits::fives(&scalar), 32), expected);
        assert!(digits::fives(&scalar).iter().all(|digit| (-16..16).contains(digit)));
    }
}
