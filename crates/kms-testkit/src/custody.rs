//! What every [`MetaStore`] has to do, whatever it keeps things in.
//!
//! Each fact is tried on a fresh store; before anything is compared the store is opened afresh, where it is one that
//! outlives its process.

use std::thread;

use kms_core::custody::{
    ANSWER_KEPT_MS, Activation, Answer, AnswerScope, Change, Committed, KeyFacts, MetaStore,
    Recorded, Revision, StoredKey, StoredState, VersionFacts,
};
use kms_core::{Algorithm, KeyId, KmsError, Name, SecretBytes, Signs, Version};
use uuid::Uuid;

use crate::clock::ManualClock;

/// A store under test.
pub trait Harness {
    /// The store.
    fn store(&self) -> &dyn MetaStore;
    /// The clock that it was given.
    fn clock(&self) -> &ManualClock;
    /// Opens the same store afresh; a store that forgets does nothing.
    fn reopen(&mut self);
}

/// Runs every fact; `fresh` makes an empty store that keeps four answers.
///
/// # Panics
/// If one does not hold.
pub fn conforms<H: Harness>(fresh: impl Fn() -> H) {
    for (name, fact) in facts::<H>() {
        eprintln!("{name}");
        fact(fresh());
    }
}

type Fact<H> = (&'static str, fn(H));

fn facts<H: Harness>() -> Vec<Fact<H>> {
    vec![
        ("an empty store has nothing", empty),
        ("what was committed is loaded and unsealed", created),
        ("versions come one after the other", rotated),
        ("a stale revision conflicts and changes nothing", stale),
        ("of many that expect the same revision one wins", raced),
        ("a pending version is activated once", activated),
        ("states are kept", states),
        ("a destroyed version keeps its public half only", version_destroyed),
        ("a destroyed key takes no change", key_destroyed),
        ("an answer comes with its change or not at all", answered),
        ("an answer without a change is recorded once", recorded),
        ("answers are bounded and expire", expired),
        ("what is over the limits is refused whole", limits),
        ("all keys are visited once", visited),
    ]
}

/// The facts of a key of an Ed25519 suite.
///
/// # Panics
/// Never: the names are good.
pub fn key_facts(uuid: Uuid) -> KeyFacts {
    let name = |text| Name::parse(text, "name").expect("a good name");
    let id = KeyId { tenant: name("acme"), purpose: name("audit"), alg: Algorithm::Ed25519, uuid };
    let policy_hints = Some(r#"{"rotate_days":90}"#.into());
    KeyFacts { id, signs: Signs::Message, created_unix_ms: 1_700_000_000_000, policy_hints }
}

/// The facts of version `number`, active.
///
/// # Panics
/// For number 0.
pub fn version_facts(number: u32) -> VersionFacts {
    VersionFacts {
        version: version(number),
        suite: "ed25519".into(),
        created_unix_ms: 1_700_000_000_000 + u64::from(number),
        state: StoredState::Enabled,
        activation: Activation::Active,
        public: vec![vec![number as u8; 32]],
        proof: (number > 1).then(|| [number as u8; 64].into()),
    }
}

/// The secret of version `number`.
pub fn secret(number: u32) -> SecretBytes {
    SecretBytes::fill(32, |out| out.fill(0x80 | number as u8))
}

/// An answer under the op_id `number`.
pub fn answer(number: u128, at_unix_ms: u64) -> Answer {
    let scope = AnswerScope {
        tenant: "acme".into(),
        actor: "library".into(),
        op: "rotate".into(),
        op_id: Uuid::from_u128(number),
    };
    Answer { scope, fingerprint: [number as u8; 32], at_unix_ms, body: vec![number as u8; 100] }
}

/// Creates the key with its first version; answers the key's revision.
///
/// # Panics
/// If the store refuses.
pub fn create(store: &dyn MetaStore, uuid: Uuid) -> Revision {
    let (facts, first, secret) = (key_facts(uuid), version_facts(1), secret(1));
    let change = Change::Create { facts: &facts, first: &first, secret: &secret };
    done(store.commit(&uuid, 0, &change, None))
}

/// The revision of a commit that has to succeed.
///
/// # Panics
/// If it did not.
pub fn done(result: Result<Committed, KmsError>) -> Revision {
    match result {
        Ok(Committed::Done { revision }) => revision,
        other => panic!("not committed: {other:?}"),
    }
}

/// The version of a number.
///
/// # Panics
/// For number 0.
pub fn version(number: u32) -> Version {
    Version::new(number).expect("versions are counted from 1")
}

fn rotate(store: &dyn MetaStore, uuid: Uuid, expected: Revision, number: u32) -> Revision {
    let (facts, secret) = (version_facts(number), secret(number));
    let change = Change::Rotate { version: &facts, secret: &secret };
    done(store.commit(&uuid, expected, &change, None))
}

fn load(store: &dyn MetaStore, uuid: Uuid) -> StoredKey {
    store.load(&uuid).expect("readable").expect("there")
}

fn code<T>(result: Result<T, KmsError>) -> &'static str {
    result.map(drop).expect_err("it is refused").code.name()
}

const KEY: Uuid = Uuid::from_u128(0x0123_4567_89ab_cdef);

fn empty(mut it: impl Harness) {
    it.reopen();
    let store = it.store();
    assert_eq!(store.revision(), 0);
    assert_eq!(store.load(&KEY), Ok(None));
    assert_eq!(code(store.unseal(&KEY, Version::MIN)), "NotFound");
    assert_eq!(store.answer(&answer(1, 0).scope), Ok(None));
    let change = Change::SetKeyState(StoredState::Disabled);
    assert_eq!(code(store.commit(&KEY, 0, &change, None)), "NotFound");
    store.load_all(&mut |_| panic!("a key in an empty store")).expect("readable");
}

fn created(mut it: impl Harness) {
    let revision = create(it.store(), KEY);
    it.reopen();
    let store = it.store();
    let expected = StoredKey {
        facts: key_facts(KEY),
        state: StoredState::Enabled,
        revision,
        versions: vec![version_facts(1)],
    };
    assert_eq!(load(store, KEY), expected);
    assert_eq!(store.unseal(&KEY, Version::MIN).expect("there").expose(), secret(1).expose());
    assert_eq!(code(store.unseal(&KEY, version(2))), "NotFound");
    assert_eq!(store.revision(), revision);
}

fn rotated(mut it: impl Harness) {
    let mut revision = create(it.store(), KEY);
    for number in 2..=5 {
        revision = rotate(it.store(), KEY, revision, number);
        it.reopen();
    }
    let store = it.store();
    for number in [4, 5, 7] {
        let (facts, secret) = (version_facts(number), secret(number));
        let change = Change::Rotate { version: &facts, secret: &secret };
        assert_eq!(code(store.commit(&KEY, revision, &change, None)), "Conflict");
    }
    let loaded = load(store, KEY);
    assert_eq!(loaded.versions, (1..=5).map(version_facts).collect::<Vec<_>>());
    assert_eq!(loaded.revision, revision);
    for number in 1..=5 {
        let opened = store.unseal(&KEY, version(number)).expect("there");
        assert_eq!(opened.expose(), secret(number).expose());
    }
}

fn stale(mut it: impl Harness) {
    let old = create(it.store(), KEY);
    let revision = rotate(it.store(), KEY, old, 2);
    let before = load(it.store(), KEY);
    for expected in [0, old, revision + 1] {
        let change = Change::SetKeyState(StoredState::Disabled);
        let result = it.store().commit(&KEY, expected, &change, Some(&answer(1, 0)));
        assert_eq!(result, Ok(Committed::Conflict { revision }));
    }
    let (facts, first, secret) = (key_facts(KEY), version_facts(1), secret(9));
    let change = Change::Create { facts: &facts, first: &first, secret: &secret };
    assert_eq!(it.store().commit(&KEY, 0, &change, None), Ok(Committed::Conflict { revision }));
    it.reopen();
    assert_eq!(load(it.store(), KEY), before);
    assert_eq!(it.store().answer(&answer(1, 0).scope), Ok(None));
}

fn raced(mut it: impl Harness) {
    let revision = create(it.store(), KEY);
    let store = it.store();
    let won = thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(move || {
                    let (facts, secret) = (version_facts(2), secret(2));
                    let change = Change::Rotate { version: &facts, secret: &secret };
                    match store.commit(&KEY, revision, &change, None).expect("an answer") {
                        Committed::Done { .. } => 1,
                        Committed::Conflict { .. } => 0,
                        Committed::Answered(_) => panic!("nobody gave an op_id"),
                    }
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).sum::<u32>()
    });
    assert_eq!(won, 1);
    it.reopen();
    assert_eq!(load(it.store(), KEY).versions.len(), 2);
}

fn activated(mut it: impl Harness) {
    let revision = create(it.store(), KEY);
    let facts = VersionFacts { activation: Activation::At { unix_ms: 77 }, ..version_facts(2) };
    let secret = secret(2);
    let change = Change::Rotate { version: &facts, secret: &secret };
    let revision = done(it.store().commit(&KEY, revision, &change, None));
    it.reopen();
    assert_eq!(load(it.store(), KEY).versions[1], facts);
    let change = Change::Activate { version: version(2) };
    let revision = done(it.store().commit(&KEY, revision, &change, None));
    assert_eq!(code(it.store().commit(&KEY, revision, &change, None)), "Conflict");
    it.reopen();
    assert_eq!(load(it.store(), KEY).versions[1], version_facts(2));
    assert_eq!(it.store().unseal(&KEY, version(2)).expect("there").expose(), secret.expose());
}

fn states(mut it: impl Harness) {
    let mut revision = create(it.store(), KEY);
    let scheduled = StoredState::DestroyScheduled { at_unix_ms: 123 };
    for state in [StoredState::Disabled, scheduled, StoredState::Enabled] {
        let of_key = Change::SetKeyState(state);
        revision = done(it.store().commit(&KEY, revision, &of_key, None));
        let of_version = Change::SetVersionState { version: Version::MIN, state };
        revision = done(it.store().commit(&KEY, revision, &of_version, None));
        it.reopen();
        let loaded = load(it.store(), KEY);
        assert_eq!((loaded.state, loaded.versions[0].state), (state, state));
        assert_eq!(loaded.revision, revision);
        let opened = it.store().unseal(&KEY, Version::MIN).expect("there");
        assert_eq!(opened.expose(), secret(1).expose());
    }
}

fn version_destroyed(mut it: impl Harness) {
    let revision = create(it.store(), KEY);
    let revision = rotate(it.store(), KEY, revision, 2);
    let state = StoredState::Destroyed;
    let change = Change::SetVersionState { version: Version::MIN, state };
    let revision = done(it.store().commit(&KEY, revision, &change, None));
    it.reopen();
    let store = it.store();
    assert_eq!(code(store.unseal(&KEY, Version::MIN)), "Conflict");
    assert_eq!(store.unseal(&KEY, version(2)).expect("there").expose(), secret(2).expose());
    assert_eq!(load(store, KEY).versions[0], VersionFacts { state, ..version_facts(1) });
    let revive = Change::SetVersionState { version: Version::MIN, state: StoredState::Enabled };
    assert_eq!(code(store.commit(&KEY, revision, &revive, None)), "Conflict");
}

fn key_destroyed(mut it: impl Harness) {
    let revision = create(it.store(), KEY);
    let revision = rotate(it.store(), KEY, revision, 2);
    let change = Change::SetKeyState(StoredState::Destroyed);
    let revision = done(it.store().commit(&KEY, revision, &change, None));
    it.reopen();
    let store = it.store();
    for number in [1, 2] {
        assert_eq!(code(store.unseal(&KEY, version(number))), "Conflict");
    }
    let loaded = load(store, KEY);
    assert_eq!(loaded.state, StoredState::Destroyed);
    assert_eq!(loaded.versions, [version_facts(1), version_facts(2)]);
    let (facts, secret) = (version_facts(3), secret(3));
    let changes = [
        Change::SetKeyState(StoredState::Enabled),
        Change::SetVersionState { version: Version::MIN, state: StoredState::Enabled },
        Change::Rotate { version: &facts, secret: &secret },
    ];
    for change in changes {
        assert_eq!(code(store.commit(&KEY, revision, &change, None)), "Conflict");
    }
}

fn answered(mut it: impl Harness) {
    let revision = create(it.store(), KEY);
    let given = answer(1, 0);
    let change = Change::SetKeyState(StoredState::Disabled);
    let revision = done(it.store().commit(&KEY, revision, &change, Some(&given)));
    it.reopen();
    assert_eq!(it.store().answer(&given.scope), Ok(Some(given.clone())));
    let other = Answer { fingerprint: [9; 32], ..given.clone() };
    let again = it.store().commit(&KEY, revision, &change, Some(&other));
    assert_eq!(again, Ok(Committed::Answered(Box::new(given.clone()))));
    assert_eq!(load(it.store(), KEY).revision, revision);
    // The same op_id of others is another one.
    let scopes = [
        AnswerScope { tenant: "other".into(), ..given.scope.clone() },
        AnswerScope { actor: "other".into(), ..given.scope.clone() },
        AnswerScope { op: "create".into(), ..given.scope.clone() },
    ];
    for scope in scopes {
        assert_eq!(it.store().answer(&scope), Ok(None));
    }
    // A refused change leaves no answer.
    let bad = Change::SetVersionState { version: version(9), state: StoredState::Disabled };
    let second = answer(2, 0);
    assert_eq!(code(it.store().commit(&KEY, revision, &bad, Some(&second))), "NotFound");
    it.reopen();
    assert_eq!(it.store().answer(&second.scope), Ok(None));
}

fn recorded(mut it: impl Harness) {
    let given = answer(1, 0);
    assert_eq!(it.store().record(&given), Ok(Recorded::Done));
    let other = Answer { body: vec![], ..given.clone() };
    assert_eq!(it.store().record(&other), Ok(Recorded::Answered(Box::new(given.clone()))));
    it.reopen();
    assert_eq!(it.store().record(&other), Ok(Recorded::Answered(Box::new(given.clone()))));
    assert_eq!(it.store().answer(&given.scope), Ok(Some(given)));
    assert_eq!(it.store().revision(), 0);
}

fn expired(mut it: impl Harness) {
    for number in 0..4 {
        assert_eq!(it.store().record(&answer(number, number as u64)), Ok(Recorded::Done));
    }
    let revision = create(it.store(), KEY);
    let change = Change::SetKeyState(StoredState::Disabled);
    let error = it.store().record(&answer(4, 0)).expect_err("no room");
    assert_eq!((error.code.name(), error.retryable), ("Backpressure", true));
    let refused = it.store().commit(&KEY, revision, &change, Some(&answer(5, 0)));
    assert_eq!(code(refused), "Backpressure");
    assert_eq!(load(it.store(), KEY).state, StoredState::Enabled);
    it.reopen();
    it.clock().advance_ms(ANSWER_KEPT_MS - 1);
    assert_eq!(it.store().answer(&answer(0, 0).scope), Ok(Some(answer(0, 0))));
    it.clock().advance_ms(1);
    assert_eq!(it.store().answer(&answer(0, 0).scope), Ok(None), "24 hours are over");
    assert!(it.store().answer(&answer(1, 1).scope).expect("readable").is_some());
    it.reopen();
    let late = answer(0, ANSWER_KEPT_MS);
    done(it.store().commit(&KEY, revision, &change, Some(&late)));
    assert_eq!(code(it.store().record(&answer(6, 0))), "Backpressure");
    it.reopen();
    assert_eq!(it.store().answer(&late.scope), Ok(Some(late)));
}

fn limits(mut it: impl Harness) {
    let facts = key_facts(KEY);
    let good = version_facts(1);
    let large = |len| vec![0; len];
    let bad = [
        VersionFacts { suite: "x".repeat(65).into(), ..good.clone() },
        VersionFacts { public: vec![], ..good.clone() },
        VersionFacts { public: vec![vec![1]; 5], ..good.clone() },
        VersionFacts { public: vec![large(8 * 1024 + 1)], ..good.clone() },
        VersionFacts { proof: Some(large(16 * 1024 + 1).into()), ..good.clone() },
    ];
    let secret = secret(1);
    for first in &bad {
        let change = Change::Create { facts: &facts, first, secret: &secret };
        assert_eq!(code(it.store().commit(&KEY, 0, &change, None)), "TooLarge");
    }
    let secret = SecretBytes::fill(4 * 1024 + 1, |_| {});
    let change = Change::Create { facts: &facts, first: &good, secret: &secret };
    assert_eq!(code(it.store().commit(&KEY, 0, &change, None)), "TooLarge");
    it.reopen();
    assert_eq!(it.store().load(&KEY), Ok(None));
    // The most of everything is kept.
    let facts = KeyFacts { policy_hints: Some("x".repeat(16 * 1024).into()), ..facts };
    let first = VersionFacts {
        suite: "x".repeat(64).into(),
        public: vec![large(8 * 1024); 4],
        proof: Some(large(16 * 1024).into()),
        ..good
    };
    let secret = SecretBytes::fill(4 * 1024, |out| out.fill(7));
    let change = Change::Create { facts: &facts, first: &first, secret: &secret };
    done(it.store().commit(&KEY, 0, &change, None));
    it.reopen();
    assert_eq!((load(it.store(), KEY).facts, &load(it.store(), KEY).versions[0]), (facts, &first));
    assert_eq!(it.store().unseal(&KEY, Version::MIN).expect("there").expose(), secret.expose());
}

fn visited(mut it: impl Harness) {
    let mut uuids: Vec<Uuid> = (0..20_u128).map(|n| Uuid::from_u128(n << 120 | n)).collect();
    for uuid in &uuids {
        create(it.store(), *uuid);
    }
    it.reopen();
    let mut found = Vec::new();
    let visit = &mut |key: StoredKey| {
        found.push(key.facts.id.uuid);
        Ok(())
    };
    it.store().load_all(visit).expect("readable");
    found.sort_unstable();
    uuids.sort_unstable();
    assert_eq!(found, uuids);
    let stop = it.store().load_all(&mut |_| Err(KmsError::internal("enough")));
    assert_eq!(code(stop), "Internal");
}
