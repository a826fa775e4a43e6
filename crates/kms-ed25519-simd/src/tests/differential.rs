//! Every tier against ed25519-dalek's strict verification. `npm run differential` is the long run: ten
//! million cases, each in every tier, in a batch and alone.

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::IsIdentity;

use super::samples::{Case, Generator, ORDER, SMALL, Sample, signers, small};
use crate::{Item, KeyTable, TableSize, Tier, verify, verify_batch};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// The tables of every signer, in one tier.
struct Tables {
    tier: Tier,
    /// Full, small.
    of_signers: Vec<[Option<KeyTable>; 2]>,
}

impl Tables {
    fn build() -> Vec<Tables> {
        let of = |tier: Tier, public: &[u8; 32]| {
            [TableSize::Full, TableSize::Small].map(|size| KeyTable::build(tier, public, size))
        };
        let tables = |tier| {
            let of_signers = signers().iter().map(|signer| of(tier, &signer.public)).collect();
            Tables { tier, of_signers }
        };
        Tier::available().into_iter().map(tables).collect()
    }

    /// Full, small or none, as `choice` says: the table of the very key of the sample, if there is one.
    fn get(&self, generator: &Generator, sample: &Sample, choice: usize) -> Option<&KeyTable> {
        let who = generator.signers.iter().position(|signer| signer.public == sample.public)?;
        self.of_signers[who].get(choice)?.as_ref()
    }
}

/// Checks a batch in every tier: in one call and item by item. Returns how many items are valid.
fn check(generator: &Generator, tables: &[Tables], samples: &[(Case, Sample, usize)]) -> usize {
    let verdicts: Vec<bool> = samples.iter().map(|(_, sample, _)| sample.expected()).collect();
    for (nth, tables) in tables.iter().enumerate() {
        let items: Vec<Item<'_>> = samples
            .iter()
            .map(|(_, sample, choice)| sample.item(tables.get(generator, sample, *choice)))
            .collect();
        let mut out = vec![9; items.len()];
        verify_batch(tables.tier, &items, &mut out);
        for (i, item) in items.iter().enumerate() {
            let which = || format!("{}, item {i}: {:x?}", tables.tier.name(), samples[i]);
            assert_eq!(out[i], u8::from(verdicts[i]), "in a batch, {}", which());
            // Without a table, one alone is the same function in every tier.
            if nth == 0 || item.table.is_some() {
                assert_eq!(verify(tables.tier, item), verdicts[i], "alone, {}", which());
            }
        }
    }
    verdicts.into_iter().filter(|verdict| *verdict).count()
}

/// Any mixture of cases, keys, tables and lengths. `SIMD_CASES` and `SIMD_SEED` for more and others.
#[test]
#[expect(clippy::print_stdout, reason = "the long run shows how far it is, and counts")]
fn every_tier_gives_the_strict_verdict() {
    let cases = number("SIMD_CASES", 2_000);
    let seed = number("SIMD_SEED", 1);
    let mut generator = Generator::new(seed);
    let tables = Tables::build();
    let (mut done, mut valid, mut next) = (0, 0, cases / 20);
    while done < cases {
        // Up to three groups of the widest tier, mostly less than one.
        let most = if generator.rng.below(8) == 0 { 200 } else { 48 };
        let length = generator.rng.below(most);
        // Few keys or many, one kind of case or all.
        let keys = [1, 3, 12][generator.rng.below(3)];
        let hostile = (generator.rng.below(4) == 0).then(|| Case::any(&mut generator.rng));
        let samples: Vec<(Case, Sample, usize)> = (0..length)
            .map(|_| {
                let who = generator.rng.below(keys);
                let mixed = hostile.filter(|_| generator.rng.below(8) != 0);
                let case = mixed.unwrap_or_else(|| Case::any(&mut generator.rng));
                let sample = generator.sample(who, case);
                (case, sample, generator.rng.below(3))
            })
            .collect();
        valid += check(&generator, &tables, &samples);
        done += samples.len() as u64;
        if done >= next {
            println!("{done} of {cases} cases agree");
            next += (cases / 20).max(1);
        }
    }
    let names: Vec<&str> = Tier::available().iter().map(|tier| tier.name()).collect();
    println!(
        "cases: {done} ({valid} valid), tiers: {}, seed: {seed}, disagreements: 0",
        names.join(" ")
    );
}

/// Batches of one length and one kind of table under one key, with one item of a case at one place.
fn one_among_good(lengths: impl Iterator<Item = usize> + Clone, step: usize, cases: &[Case]) {
    let mut generator = Generator::new(2);
    let tables = Tables::build();
    let good = generator.sample(0, Case::Valid);
    let bad: Vec<Sample> = cases.iter().map(|case| generator.sample(0, *case)).collect();
    for tables in &tables {
        for choice in 0..3 {
            let item = |sample| Sample::item(sample, tables.get(&generator, sample, choice));
            for length in lengths.clone() {
                for place in (0..length).step_by(step) {
                    let mut items = vec![item(&good); length];
                    let which = (place / step + length) % bad.len();
                    items[place] = item(&bad[which]);
                    let mut out = vec![9; length];
                    verify_batch(tables.tier, &items, &mut out);
                    let expected: Vec<u8> = (0..length).map(|i| u8::from(i != place)).collect();
                    let tier = tables.tier.name();
                    assert_eq!(out, expected, "{tier} {choice} {place} of {length} {which}");
                }
            }
        }
    }
}

#[test]
fn every_place_of_every_length_is_judged_alone() {
    let cases =
        [Case::FlipSignature(300), Case::TorsionInR(4), Case::HighS(1), Case::FlipMessage(3)];
    one_among_good(1..26, 1, &cases);
}

/// The inversion is shared by 64 items in the widest tier: nothing of the others reaches an item.
#[test]
fn a_hostile_item_spoils_no_group() {
    let cases = [
        Case::SmallR(1),
        Case::SmallKey(3),
        Case::NearPInKey(5),
        Case::RandomKey,
        Case::RandomR,
        Case::FlipKey(7),
        Case::FlipKey(100),
    ];
    one_among_good([63, 64, 65, 71, 130].into_iter(), 5, &cases);
}

/// Keys that are on the curve, off it, small and not canonical, in one vector: no lane's key reaches another.
#[test]
fn good_items_hold_in_wholly_hostile_company() {
    let mut generator = Generator::new(3);
    let tables = Tables::build();
    for lane in 0..16 {
        // Signers 0 to 3 have no torsion.
        let samples: Vec<(Case, Sample, usize)> = (0..16)
            .map(|i| {
                let case = match i {
                    _ if i == lane => Case::Valid,
                    0..6 => Case::RandomKey,
                    6..9 => Case::FlipKey(i),
                    9..12 => Case::NearPInKey(i),
                    _ => Case::SmallKey(i - 12),
                };
                (case, generator.sample(lane % 4, case), 2)
            })
            .collect();
        assert!(samples[lane].1.expected());
        check(&generator, &tables, &samples);
    }
}

/// All eight points of torsion in A with all eight in R. The equation has no cofactor, so it holds exactly
/// where the torsion of R and k times that of A cancel.
#[test]
fn mixed_order_counts_as_it_is() {
    let mut generator = Generator::new(4);
    let tables = Tables::build();
    let mut seen = [0; 2];
    for a in 0..8 {
        for r in 0..8 {
            let samples: Vec<(Case, Sample, usize)> = (0..24)
                .map(|i| {
                    let case = Case::TorsionInR(r);
                    (case, generator.sample(4 + a, case), i % 3)
                })
                .collect();
            for (_, sample, _) in &samples {
                let cancels = (EIGHT_TORSION[r] + sample.k() * EIGHT_TORSION[a]).is_identity();
                assert_eq!(sample.expected(), cancels);
                seen[usize::from(cancels)] += 1;
            }
            check(&generator, &tables, &samples);
        }
    }
    assert!(seen[0] > 1000 && seen[1] > 100, "{seen:?}");
}

/// Small R and small A in all fourteen encodings, with an S that a laxer rule accepts.
#[test]
fn small_order_is_refused_in_every_encoding() {
    let mut generator = Generator::new(5);
    let tables = Tables::build();
    for i in 0..SMALL {
        assert!(CompressedEdwardsY(small(i)).decompress().is_some_and(|p| p.is_small_order()));
        let samples: Vec<(Case, Sample, usize)> = (0..48)
            .map(|n| {
                let case = if n % 2 == 0 { Case::SmallR(i) } else { Case::SmallKey(i) };
                (case, generator.sample(n % 12, case), n % 3)
            })
            .collect();
        assert!(samples.iter().all(|(_, sample, _)| !sample.expected()));
        check(&generator, &tables, &samples);
    }
}

/// y from p - 19 to p + 18 in either sign, in R and in A.
#[test]
fn encodings_around_p_are_canonical_or_refused() {
    let mut generator = Generator::new(6);
    let tables = Tables::build();
    let samples: Vec<(Case, Sample, usize)> = (0..152)
        .map(|n| {
            let case = if n < 76 { Case::NearPInR(n) } else { Case::NearPInKey(n - 76) };
            (case, generator.sample(n % 12, case), n % 3)
        })
        .collect();
    check(&generator, &tables, &samples);
}

/// S from L - 2 to L + 2, and S + nL for every n that 32 bytes hold.
#[test]
fn s_is_judged_as_an_integer() {
    let mut generator = Generator::new(7);
    let tables = Tables::build();
    let near = (0..5).map(Case::NearOrder);
    let cases: Vec<Case> = near.chain((1..15).map(Case::HighS)).chain([Case::NextS]).collect();
    let samples: Vec<(Case, Sample, usize)> = (0..12 * cases.len())
        .map(|n| {
            let case = cases[n / 12];
            (case, generator.sample(n % 12, case), n % 3)
        })
        .collect();
    assert_eq!(samples[2 * 12].1.signature[32..], ORDER);
    check(&generator, &tables, &samples);
}

/// One key with a full table, with a small one and with none, all in one batch, good and bad.
#[test]
fn a_key_may_be_there_many_times_with_any_table() {
    let mut generator = Generator::new(8);
    let tables = Tables::build();
    for length in [2, 9, 24, 100] {
        let samples: Vec<(Case, Sample, usize)> = (0..length)
            .map(|i| {
                let case = if i % 5 == 3 { Case::FlipSignature(i) } else { Case::Valid };
                (case, generator.sample(1, case), (i * 7 + i / 3) % 3)
            })
            .collect();
        check(&generator, &tables, &samples);
    }
}

/// Messages of every length around the borders of hash blocks, mixed lengths in one vector.
#[test]
fn every_message_length_hashes_right() {
    let mut generator = Generator::new(9);
    let lengths =
        (0..700).map(|i| (i * 37) % 700).chain(40..104).chain([100_000]).chain(1000..1016);
    let samples: Vec<Sample> =
        lengths.map(|length| generator.signed(1, vec![length as u8; length])).collect();
    for tables in Tables::build() {
        for choice in [0, 2] {
            let items: Vec<Item<'_>> = samples
                .iter()
                .map(|sample| sample.item(tables.get(&generator, sample, choice)))
                .collect();
            let mut out = vec![9; items.len()];
            verify_batch(tables.tier, &items, &mut out);
            assert!(out.iter().all(|verdict| *verdict == 1), "{}", tables.tier.name());
        }
    }
}
