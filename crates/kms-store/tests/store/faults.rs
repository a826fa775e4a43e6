//! Each durable step of each operation fails, or the process ends there: the store is whole, old or new.

use std::process::Command;
use std::sync::Arc;

use kms_core::custody::{Activation, Change, Committed, MetaStore, StoredState, VersionFacts};
use kms_core::{KmsError, Version};
use kms_durable::faults::{self, Fault};
use kms_store::{FileStore, Options, StoreError};
use kms_testkit::clock::ManualClock;
use kms_testkit::custody::{answer, create, done, key_facts, secret, version, version_facts};
use rustix::io::Errno;
use uuid::Uuid;

use crate::support::{Place, all, copy_dir, open_at, root_key};

const KEY: Uuid = Uuid::from_u128(1);
const NEW_KEY: Uuid = Uuid::from_u128(1 << 120);
const CHILD: &str = "KMS_STORE_FAULT_CHILD";

/// What is tried, by number: the first six with an answer.
const OPERATIONS: [&str; 9] = [
    "create",
    "rotate",
    "activate",
    "disable",
    "destroy version",
    "destroy key",
    "record",
    "disable without an answer",
    "rekey",
];

/// A key with an active and a pending version.
fn base() -> Place {
    let place = Place::new("faults");
    let store = place.must_open();
    let revision = create(&store, KEY);
    let pending = VersionFacts { activation: Activation::At { unix_ms: 9 }, ..version_facts(2) };
    let change = Change::Rotate { version: &pending, secret: &secret(2) };
    done(store.commit(&KEY, revision, &change, None));
    drop(store);
    place
}

fn operate(store: &FileStore, operation: usize) -> Result<(), KmsError> {
    let expected = store.load(&KEY)?.expect("the base has it").revision;
    let (facts, first, third) = (key_facts(NEW_KEY), version_facts(1), version_facts(3));
    let (first_secret, third_secret) = (secret(1), secret(3));
    let state = StoredState::Destroyed;
    let (uuid, expected, change) = match OPERATIONS[operation] {
        "create" => {
            let secret = &first_secret;
            (NEW_KEY, 0, Change::Create { facts: &facts, first: &first, secret })
        }
        "rotate" => (KEY, expected, Change::Rotate { version: &third, secret: &third_secret }),
        "activate" => (KEY, expected, Change::Activate { version: version(2) }),
        "destroy version" => {
            (KEY, expected, Change::SetVersionState { version: Version::MIN, state })
        }
        "destroy key" => (KEY, expected, Change::SetKeyState(state)),
        "record" => return store.record(&answer(1, 0)).map(drop),
        "rekey" => return Ok(store.rekey(&root_key(2), &mut |_, _| {})?),
        _ => (KEY, expected, Change::SetKeyState(StoredState::Disabled)),
    };
    let given = answer(1, 0);
    match store.commit(&uuid, expected, &change, (operation < 6).then_some(&given))? {
        Committed::Done { .. } => Ok(()),
        other => panic!("{other:?}"),
    }
}

/// Everything that can be seen of a store.
fn look(store: &FileStore) -> String {
    let mut seen = String::new();
    for key in all(store) {
        for facts in &key.versions {
            let opened = store.unseal(&key.facts.id.uuid, facts.version);
            let opened = opened.map(|secret| secret.expose().to_vec()).map_err(|it| it.code.name());
            seen += &format!("{opened:?}\n");
        }
        seen += &format!("{:?} {:?} {:?}\n", key.facts.id.uuid, key.state, key.versions);
    }
    seen + &format!("{:?}", store.answer(&answer(1, 0).scope))
}

/// Opens a place after a fault, by whichever root key is in force, and ends what has to be ended.
fn reopen(place: &Place) -> FileStore {
    let (data, anchor) = (place.data(), place.anchor());
    for number in [1, 2] {
        let root = root_key(number);
        match open_at(&data, Some(&anchor), &root, Options::default(), &place.clock) {
            Ok((store, report)) => {
                store.finish_rekey(&root, &mut |_, _| {}).expect("it can be ended");
                assert!(!store.is_rekeying() && (number == 2 || !report.unfinished_rekey));
                return store;
            }
            Err(StoreError::WrongRootKey) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no root key opens the store");
}

fn twin(base: &Place) -> Place {
    let twin = Place::new("faults");
    std::fs::remove_dir_all(twin.data()).expect("it is there");
    copy_dir(&base.data(), &twin.data());
    std::fs::copy(base.anchor(), twin.anchor()).expect("the anchor");
    twin
}

/// What is seen before and after an operation that nothing disturbs, and the steps that it takes.
fn before_and_after(base: &Place, operation: usize) -> (String, String, usize) {
    let place = twin(base);
    let store = place.must_open();
    let before = look(&store);
    faults::disarm();
    operate(&store, operation).expect("nothing disturbs it");
    let steps = faults::passed().len();
    drop(store);
    (before, look(&reopen(&place)), steps)
}

#[test]
fn whichever_step_fails_the_store_is_whole_and_tells_the_truth() {
    let base = base();
    for (operation, name) in OPERATIONS.iter().enumerate() {
        let (before, after, steps) = before_and_after(&base, operation);
        assert!(steps > 5, "{name}: {steps}");
        for errno in [Errno::IO, Errno::NOSPC] {
            for step in 0..steps {
                let case = format!("{name}, {errno} at step {step} of {steps}");
                let place = twin(&base);
                let store = place.must_open();
                faults::arm(step, Fault::Fail(errno));
                let result = operate(&store, operation);
                faults::disarm();
                let retryable = result.as_ref().is_err_and(|error| error.retryable);
                if retryable {
                    assert_eq!(look(&store), before, "{case}: nothing was to be changed");
                    assert!(store.is_writable(), "{case}");
                    // As when space returns.
                    if *name != "rekey" {
                        operate(&store, operation)
                            .unwrap_or_else(|error| panic!("{case}: {error}"));
                        assert_eq!(look(&store), after, "{case}");
                    }
                }
                let writable = store.is_writable();
                let change = Change::SetKeyState(StoredState::Disabled);
                if !writable {
                    let refused = store.commit(&KEY, 1, &change, None).expect_err(&case);
                    assert!(!refused.retryable && refused.message.contains("sync"), "{case}");
                    look(&store);
                }
                drop(store);
                let seen = look(&reopen(&place));
                assert!(seen == before || seen == after, "{case}: {seen}");
                if result.is_ok() || (retryable && *name != "rekey") {
                    assert_eq!(seen, after, "{case}: it was acknowledged");
                }
            }
        }
    }
}

#[test]
fn whichever_step_the_process_dies_at_the_store_is_whole() {
    let base = base();
    for (operation, name) in OPERATIONS.iter().enumerate() {
        let (before, after, steps) = before_and_after(&base, operation);
        for step in 0..steps {
            let place = twin(&base);
            let status = Command::new(std::env::current_exe().expect("this binary"))
                .args(["--exact", "faults::a_process_that_dies", "--nocapture"])
                .env(CHILD, format!("{operation} {step} {}", place.temp.path().display()))
                .output()
                .expect("a child")
                .status;
            assert!(!status.success(), "{name}: the child died at step {step}");
            let seen = look(&reopen(&place));
            assert!(seen == before || seen == after, "{name}, killed at step {step}: {seen}");
            // What a second crash would meet.
            assert_eq!(look(&reopen(&place)), seen, "{name}, step {step}");
        }
    }
}

/// Does nothing unless it is the child of the test above.
#[test]
fn a_process_that_dies() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let mut parts = task.splitn(3, ' ');
    let mut number = || parts.next().expect("a number").parse().expect("a number");
    let (operation, step) = (number(), number());
    let temp = std::path::Path::new(parts.next().expect("a path"));
    let clock: Arc<ManualClock> = Arc::default();
    let anchor = temp.join("anchor");
    let options = Options::default();
    let opened = open_at(&temp.join("data"), Some(&anchor), &root_key(1), options, &clock);
    let (store, _) = opened.expect("it opens");
    faults::arm(step, Fault::Kill);
    operate(&store, operation).expect("only the kill disturbs it");
}
