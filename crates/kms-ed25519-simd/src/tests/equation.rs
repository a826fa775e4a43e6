//! The equation below its hash, where S and k can be chosen.

use curve25519_dalek::{EdwardsPoint, Scalar};

use super::every_tier;
use super::samples::{ORDER, signers};
use crate::digits;
use crate::equation::{Known, Unknown, verify_known, verify_one, verify_unknown};
use crate::table::{KeyTable, Lanes, TableSize};
use crate::tier::Tier;

/// Scalars at which digits, their carries and the order are at an edge.
fn edges() -> Vec<Scalar> {
    let below_order = |n: u8| {
        let mut bytes = ORDER;
        bytes[0] -= n;
        bytes
    };
    let filled = |byte: u8| {
        let mut bytes = [byte; 32];
        bytes[31] = 0x0f;
        bytes
    };
    let power = |bit: usize| {
        let mut bytes = [0; 32];
        bytes[bit / 8] = 1 << (bit % 8);
        bytes
    };
    let mut all = vec![[0; 32], power(0), power(1), power(252)];
    all.extend((1..4).map(below_order));
    all.extend([0xff, 0x7f, 0x80, 0x81, 0x88, 0x78, 0x87, 0x08].map(filled));
    all.extend((3..252).step_by(31).map(power));
    all.into_iter().map(|bytes| Scalar::from_canonical_bytes(bytes).expect("below L")).collect()
}

fn edges_hold<F: Lanes>() {
    let edges = edges();
    let keys: Vec<[u8; 32]> = signers().iter().map(|signer| signer.public).collect();
    let decode = |key: &[u8; 32]| {
        curve25519_dalek::edwards::CompressedEdwardsY(*key).decompress().expect("on the curve")
    };
    let tables = |size| -> Vec<KeyTable> {
        keys.iter().map(|key| KeyTable::build(Tier::detect(), key, size).expect("a key")).collect()
    };
    let sizes = [tables(TableSize::Full), tables(TableSize::Small)];
    let pairs: Vec<(usize, Scalar, Scalar)> = (0..edges.len() * edges.len())
        .map(|n| (n % keys.len(), edges[n / edges.len()], edges[n % edges.len()]))
        .collect();
    for pairs in pairs.chunks_exact(F::LANES) {
        // Every second R is wrong by B.
        let r = |n: usize, (who, s, k): &(usize, Scalar, Scalar)| {
            let a = decode(&keys[*who]);
            let wrong = EdwardsPoint::mul_base(&Scalar::from((n % 2) as u8));
            let point = EdwardsPoint::mul_base(s) - k * a + wrong;
            digits::words(&point.compress().to_bytes())
        };
        let expected: Vec<bool> = (0..F::LANES).map(|n| n % 2 == 0).collect();
        let mut out = vec![false; F::LANES];
        for tables in &sizes {
            let known: Vec<Known<'_>> = pairs
                .iter()
                .enumerate()
                .map(|(n, pair)| Known {
                    table: &tables[pair.0].table,
                    s: digits::bytes(pair.1.as_bytes()),
                    k: digits::bytes(pair.2.as_bytes()),
                    r: r(n, pair),
                })
                .collect();
            verify_known::<F>(&known, &mut out);
            assert_eq!(out, expected, "{pairs:?}");
            for (known, expected) in known.iter().zip(&expected) {
                assert_eq!(verify_one::<F>(known), *expected, "{pairs:?}");
            }
        }
        let unknown: Vec<Unknown> = pairs
            .iter()
            .enumerate()
            .map(|(n, pair)| Unknown {
                a: digits::words(&keys[pair.0]),
                s: digits::bytes(pair.1.as_bytes()),
                k: digits::fives(pair.2.as_bytes()),
                r: r(n, pair),
            })
            .collect();
        verify_unknown::<F>(&unknown, &mut out);
        assert_eq!(out, expected, "{pairs:?}");
    }
}

#[test]
fn the_equation_holds_at_the_edges_of_its_scalars() {
    every_tier!(edges_hold);
}
