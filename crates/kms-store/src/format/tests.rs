//! Every byte of every kind of file.

use kms_core::Signs;
use kms_testkit::cases::{self, Random};

use super::*;

fn integrity() -> Secret<32> {
    Secret::take(&mut [7; 32])
}

fn state(random: &mut Random) -> StoredState {
    match random.below(3) {
        0 => StoredState::Enabled,
        1 => StoredState::Disabled,
        _ => StoredState::DestroyScheduled { at_unix_ms: random.number() },
    }
}

fn text(random: &mut Random, max: usize) -> String {
    (0..random.below(max + 1)).map(|_| char::from(b'a' + random.below(26) as u8)).collect()
}

fn uuid(random: &mut Random) -> Uuid {
    Uuid::from_u128(u128::from(random.number()) << 64 | u128::from(random.number()))
}

fn key(random: &mut Random) -> KeyFile {
    let name = |random: &mut Random| {
        Name::parse(&format!("x{}", text(random, 63)), "name").expect("a good name")
    };
    let id = KeyId {
        tenant: name(random),
        purpose: name(random),
        alg: Algorithm::ALL[random.below(Algorithm::ALL.len())],
        uuid: uuid(random),
    };
    let facts = KeyFacts {
        id,
        signs: if random.below(2) == 0 { Signs::Digest } else { Signs::Message },
        created_unix_ms: random.number(),
        policy_hints: (random.below(2) == 0).then(|| text(random, 300).into()),
    };
    let destroyed = random.below(4) == 0;
    let state = if destroyed { StoredState::Destroyed } else { state(random) };
    let data_key = (!destroyed).then(|| random.bytes(OVERHEAD + 32).try_into().expect("80"));
    let (revision, generation) = (random.number(), random.number() as u32);
    KeyFile { facts, state, revision, generation, data_key }
}

fn version(random: &mut Random) -> VersionFile {
    let destroyed = random.below(4) == 0;
    let facts = VersionFacts {
        version: Version::new(random.number() as u32 | 1).expect("odd"),
        suite: text(random, MAX_NAME_LEN).into(),
        created_unix_ms: random.number(),
        state: if destroyed { StoredState::Destroyed } else { state(random) },
        activation: match random.below(2) {
            0 => Activation::Active,
            _ => Activation::At { unix_ms: random.number() },
        },
        public: (0..=random.below(MAX_TRACKS)).map(|_| random.up_to(100)).collect(),
        proof: (random.below(2) == 0).then(|| random.up_to(100).into()),
    };
    let secret = (!destroyed).then(|| random.up_to(MAX_SECRET_LEN + OVERHEAD));
    VersionFile { key: uuid(random), facts, revision: random.number(), secret }
}

fn answer(random: &mut Random) -> AnswerFile {
    let scope = AnswerScope {
        tenant: text(random, 64).into(),
        actor: text(random, MAX_SCOPE_LEN).into(),
        op: text(random, MAX_NAME_LEN).into(),
        op_id: uuid(random),
    };
    let fingerprint = random.bytes(32).try_into().expect("32");
    let at_unix_ms = random.number();
    let answer = Answer { scope, fingerprint, at_unix_ms, body: random.up_to(500) };
    AnswerFile { revision: random.number(), answer }
}

fn head(random: &mut Random) -> HeadFile {
    HeadFile {
        store: uuid(random),
        revision: random.number(),
        before: random.bytes(32).try_into().expect("32"),
        after: random.bytes(32).try_into().expect("32"),
        key: uuid(random),
        anchored: random.below(2) == 0,
    }
}

#[test]
fn decoding_is_the_inverse_of_encoding() {
    let integrity = &integrity();
    cases::run("store format", |random| {
        let it = key(random);
        assert_eq!(KeyFile::decode(&it.encode(integrity), integrity), Ok(it));
        let it = version(random);
        assert_eq!(VersionFile::decode(&it.encode(integrity), integrity), Ok(it));
        let it = answer(random);
        assert_eq!(AnswerFile::decode(&it.encode(integrity), integrity), Ok(it));
        let it = head(random);
        assert_eq!(HeadFile::decode(&it.encode(integrity), integrity), Ok(it));
    });
}

/// Decodes one kind of file.
type Decode = fn(&[u8], &Secret<32>) -> Result<()>;

fn one_of_each() -> [(Vec<u8>, Decode); 4] {
    let random = &mut Random::new("one of each", 3);
    let integrity = &integrity();
    [
        (key(random).encode(integrity), |bytes, key| KeyFile::decode(bytes, key).map(drop)),
        (version(random).encode(integrity), |bytes, key| VersionFile::decode(bytes, key).map(drop)),
        (answer(random).encode(integrity), |bytes, key| AnswerFile::decode(bytes, key).map(drop)),
        (head(random).encode(integrity), |bytes, key| HeadFile::decode(bytes, key).map(drop)),
    ]
}

fn typed(error: StoreError) {
    let typed = matches!(error, StoreError::Damaged { .. } | StoreError::Newer { .. });
    assert!(typed, "{error:?}");
}

#[test]
fn every_truncation_and_every_flipped_bit_is_a_typed_error() {
    let integrity = &integrity();
    for (good, decode) in one_of_each() {
        decode(&good, integrity).expect("it is good");
        for len in 0..good.len() {
            typed(decode(&good[..len], integrity).expect_err("cut"));
        }
        typed(decode(&[&good[..], &[0]].concat(), integrity).expect_err("longer"));
        let mut bad = good.clone();
        for bit in 0..8 * good.len() {
            bad[bit / 8] ^= 1 << (bit % 8);
            typed(decode(&bad, integrity).expect_err("flipped"));
            bad[bit / 8] ^= 1 << (bit % 8);
        }
        let other = Secret::take(&mut [8; 32]);
        typed(decode(&good, &other).expect_err("of another store"));
    }
}

#[test]
fn a_body_that_is_malformed_under_a_good_tag_is_a_typed_error() {
    let integrity = &integrity();
    for (good, decode) in one_of_each() {
        let body = &good[..good.len() - MAC_LEN];
        let tagged = |body: &[u8]| {
            let mut out = Writer::default();
            out.fixed(body);
            finish(out, integrity)
        };
        for len in 0..body.len() {
            // What an answer ends with has no length of its own.
            if let Err(error) = decode(&tagged(&body[..len]), integrity) {
                typed(error);
            } else {
                assert_eq!(body[6], kind(Role::Answer));
            }
        }
        // Every value of every byte: it decodes, or is refused; nothing panics or allocates without bound.
        let mut bad = body.to_vec();
        for at in 8..body.len().min(400) {
            for value in 0..=255 {
                bad[at] = value;
                if let Err(error) = decode(&tagged(&bad), integrity) {
                    typed(error);
                }
            }
            bad[at] = body[at];
        }
    }
}

#[test]
fn files_of_one_kind_are_not_read_as_another() {
    let integrity = &integrity();
    let all = one_of_each();
    for (own, (bytes, _)) in all.iter().enumerate() {
        for (other, (_, decode)) in all.iter().enumerate() {
            assert_eq!(decode(bytes, integrity).is_ok(), own == other);
        }
    }
}
