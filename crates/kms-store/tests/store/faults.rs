//! Each durable step of each operation fails, or the process ends there: the store is whole, old or new.

use std::process::Command;
use std::sync::Arc;

use kms_core::custody::{Activation, Change, Committed, MetaStore, StoredState, VersionFacts};
use kms_core::{KmsError, OsEntropy, Version};
use kms_durable::faults::{self, Fault};
use kms_store::{FileStore, Options, StoreError, Unlocked, check};
use kms_testkit::clock::ManualClock;
use kms_testkit::custody::{answer, create, done, key_facts, secret, version, version_facts};
use kms_testkit::temp_dir::TempDir;
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
                    operate(&store, operation).unwrap_or_else(|error| panic!("{case}: {error}"));
                    assert_eq!(look(&store), after, "{case}");
                    assert!(!store.is_rekeying(), "{case}");
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
                if result.is_ok() || retryable {
                    assert_eq!(seen, after, "{case}: it was acknowledged");
                }
            }
        }
    }
}

#[test]
fn a_rekey_that_fails_says_which_root_key_is_in_force() {
    let base = base();
    let (_, _, steps) = before_and_after(&base, OPERATIONS.len() - 1);
    let opens = |place: &Place, number| Unlocked::open(&place.data(), &root_key(number)).is_ok();
    let mut told = [0; 3];
    for errno in [Errno::IO, Errno::NOSPC] {
        for step in 0..steps {
            let case = format!("{errno} at step {step} of {steps}");
            let place = twin(&base);
            let store = place.must_open();
            faults::arm(step, Fault::Fail(errno));
            let error = store.rekey(&root_key(2), &mut |_, _| {}).expect_err(&case);
            faults::disarm();
            let went_on = store.rekey(&root_key(3), &mut |_, _| {});
            drop(store);
            let (old, new, third) = (opens(&place, 1), opens(&place, 2), opens(&place, 3));
            match error {
                StoreError::RekeyUnfinished { in_force: true, .. } => {
                    told[0] += 1;
                    assert!(went_on.is_err(), "{case}: to another root key");
                    assert!(!old && new && !third, "{case}");
                }
                StoreError::RekeyUnfinished { in_force: false, .. } => {
                    told[1] += 1;
                    assert!(went_on.is_err(), "{case}: nothing is taken");
                    assert!(old != new && !third, "{case}");
                }
                error => {
                    told[2] += 1;
                    // An fsync of what no name leads to stops the writer, too.
                    let moved = went_on.is_ok();
                    assert!(old != moved && !new && third == moved, "{case}: {error}");
                }
            }
        }
    }
    assert!(told.iter().all(|count| *count > 0), "{told:?}");
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

#[test]
fn whichever_step_of_making_a_store_fails_it_can_be_made_again() {
    for step in 0.. {
        let temp = TempDir::new("make");
        let data = temp.path().join("data");
        faults::arm(step, Fault::Fail(Errno::IO));
        let made = Unlocked::create(&data, &root_key(1), &OsEntropy).map(drop);
        let reached = faults::passed().len() > step;
        faults::disarm();
        if made.is_err() {
            match Unlocked::create(&data, &root_key(1), &OsEntropy).map(drop) {
                // It was put in place, and only its sync failed.
                Ok(()) | Err(StoreError::NotEmpty) => {}
                Err(error) => panic!("step {step}: {error}"),
            }
        }
        let clock: Arc<ManualClock> = Arc::default();
        open_at(&data, None, &root_key(1), Options::default(), &clock)
            .unwrap_or_else(|error| panic!("step {step}: {error}"));
        if !reached {
            return;
        }
    }
}

#[test]
fn whichever_step_of_a_start_fails_the_next_one_succeeds() {
    // After a crash with a change announced, an answer written and a tombstone anchored, and with an anchor for the
    // first time.
    for crashed in [true, false] {
        for step in 0.. {
            let place = Place::new("start");
            if crashed {
                let store = place.must_open();
                create(&store, KEY);
                faults::arm(20, Fault::Fail(Errno::IO));
                let state = StoredState::Destroyed;
                let given = answer(1, 0);
                let change = Change::SetKeyState(state);
                store.commit(&KEY, 1, &change, Some(&given)).expect_err("the anchor fails");
            } else {
                let (data, root) = (place.data(), root_key(1));
                let opened = open_at(&data, None, &root, Options::default(), &place.clock);
                create(&opened.expect("it opens").0, KEY);
            }
            faults::arm(step, Fault::Fail(Errno::IO));
            let opened = place.open().map(drop);
            let reached = faults::passed().len() > step;
            faults::disarm();
            assert!(opened.is_ok() || reached);
            let (store, _) = place.open().unwrap_or_else(|error| panic!("step {step}: {error}"));
            let key = store.load(&KEY).expect("readable").expect("there");
            assert_eq!(key.state == StoredState::Destroyed, crashed);
            assert_eq!(store.answer(&answer(1, 0).scope).expect("readable").is_some(), crashed);
            if !reached {
                break;
            }
        }
    }
}

#[test]
fn a_backup_that_fails_is_no_store() {
    let place = base();
    let store = place.must_open();
    for step in 0.. {
        let target = place.temp.path().join(format!("backup-{step}"));
        faults::arm(step, Fault::Fail(Errno::NOSPC));
        let result = store.backup(&target);
        let reached = faults::passed().len() > step;
        faults::disarm();
        let checked = check(&target, &root_key(1));
        match result {
            Ok(count) => assert_eq!((count, checked.expect("a store").problems), (1, vec![])),
            // Where only the last sync failed everything is in place.
            Err(_) => assert!(
                checked.is_ok_and(|it| it.problems.is_empty()) || !target.join("store").exists()
            ),
        }
        assert!(store.is_writable(), "the store itself is sound");
        if !reached {
            return;
        }
    }
}
