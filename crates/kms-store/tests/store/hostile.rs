//! Files that were torn, flipped, swapped or made by others.

use std::fs;

use kms_core::custody::{Change, MetaStore, Recorded, StoredState};
use kms_store::{Options, Role, StoreError, check};
use kms_testkit::custody::{answer, create, done, secret, version_facts};
use uuid::Uuid;

use crate::support::{Place, files, open_at, root_key};

const KEY: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

/// Two keys with two versions each, a tombstone and an answer: every kind of file.
fn full() -> Place {
    let place = Place::new("hostile");
    let store = place.must_open();
    for uuid in [KEY, OTHER, Uuid::from_u128(3)] {
        let revision = create(&store, uuid);
        let (facts, secret) = (version_facts(2), secret(2));
        let change = Change::Rotate { version: &facts, secret: &secret };
        let revision = done(store.commit(&uuid, revision, &change, None));
        if uuid != KEY && uuid != OTHER {
            let change = Change::SetKeyState(StoredState::Destroyed);
            done(store.commit(&uuid, revision, &change, None));
        }
    }
    assert_eq!(store.record(&answer(1, 0)), Ok(Recorded::Done));
    place
}

fn refused(place: &Place, case: &str) -> StoreError {
    let error = place.open().err().unwrap_or_else(|| panic!("{case}: it opened"));
    let typed = matches!(
        error,
        StoreError::Damaged { .. }
            | StoreError::Newer { .. }
            | StoreError::Altered
            | StoreError::WrongRootKey
    );
    assert!(typed, "{case}: {error:?}");
    error
}

#[test]
fn a_flipped_bit_or_a_torn_end_in_any_file_is_found_at_the_start() {
    let place = full();
    for path in files(place.temp.path()) {
        let good = fs::read(&path).expect("a file");
        let name = path.strip_prefix(place.temp.path()).expect("below").display().to_string();
        // Every byte of every kind is in `format.rs`; these are places that differ in kind.
        for at in [0, 6, 7, 8, 30, good.len() / 2, good.len() - 33, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).expect("written");
            refused(&place, &format!("{name}, byte {at}"));
        }
        for len in [0, 5, 8, good.len() / 2, good.len() - 1] {
            fs::write(&path, &good[..len]).expect("written");
            refused(&place, &format!("{name}, cut to {len}"));
        }
        fs::write(&path, [&good[..], b"x"].concat()).expect("written");
        refused(&place, &format!("{name}, with more behind it"));
        fs::write(&path, good).expect("written");
        place.must_open();
    }
}

#[test]
fn files_of_other_keys_versions_and_answers_are_refused() {
    let place = full();
    let dir = |uuid: Uuid| place.data().join("keys/00").join(uuid.to_string());
    let swaps = [
        (dir(KEY).join("v1"), dir(OTHER).join("v1")),
        (dir(KEY).join("v1"), dir(KEY).join("v2")),
        (dir(KEY).join("key"), dir(OTHER).join("key")),
        (dir(KEY).join("key"), dir(KEY).join("v1")),
        (dir(KEY), dir(OTHER)),
        (place.data().join("head"), place.data().join("store")),
    ];
    for (one, other) in swaps {
        let swap = || {
            let aside = place.temp.path().join("aside");
            fs::rename(&one, &aside).expect("moved");
            fs::rename(&other, &one).expect("moved");
            fs::rename(&aside, &other).expect("moved");
        };
        swap();
        refused(&place, &format!("{} and {}", one.display(), other.display()));
        swap();
        place.must_open();
    }
    // Two answers, each under the other's name.
    let store = place.must_open();
    assert_eq!(store.record(&answer(2, 0)), Ok(Recorded::Done));
    drop(store);
    let answers = files(&place.data().join("answers"));
    let bytes = fs::read(&answers[0]).expect("a file");
    fs::write(&answers[1], bytes).expect("written");
    refused(&place, "swapped answers");
}

#[test]
fn foreign_files_among_keys_are_refused() {
    let place = full();
    let dir = place.data().join("keys/00").join(KEY.to_string());
    for name in ["v03", "v+3", "v0", "v4294967296", "key.bak", "v2~"] {
        fs::write(dir.join(name), b"").expect("written");
        refused(&place, name);
        fs::remove_file(dir.join(name)).expect("removed");
    }
    for name in ["x", "00000000000000000000000000000001"] {
        let path = place.data().join("keys/00").join(name);
        fs::create_dir(&path).expect("made");
        refused(&place, name);
        fs::remove_dir(path).expect("removed");
    }
    place.must_open();
}

#[test]
fn a_file_of_a_newer_version_is_refused_as_such() {
    let place = full();
    for (name, role) in [("head", Role::Head), ("store", Role::Header)] {
        let path = place.data().join(name);
        let good = fs::read(&path).expect("a file");
        let mut newer = good.clone();
        newer[7] = 2;
        fs::write(&path, newer).expect("written");
        assert_eq!(refused(&place, name), StoreError::Newer { role, format: 2 });
        fs::write(&path, good).expect("written");
    }
}

#[test]
fn another_root_key_opens_nothing() {
    let place = full();
    let opened = open_at(&place.data(), None, &root_key(2), Options::default(), &place.clock);
    assert_eq!(opened.err(), Some(StoreError::WrongRootKey));
}

#[test]
fn a_second_opener_is_told_who_has_the_store() {
    let place = full();
    let _store = place.must_open();
    let message = place.open().err().expect("refused").to_string();
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
}

#[test]
fn a_check_names_every_unsound_file_and_goes_on() {
    let place = full();
    let sound = check(&place.data(), &root_key(1)).expect("it can be checked");
    assert_eq!((sound.keys, sound.versions, sound.answers), (3, 6, 1));
    assert_eq!(sound.problems, []);
    let bad = [place.data().join("keys/00").join(KEY.to_string()).join("v2"), {
        files(&place.data().join("answers")).remove(0)
    }];
    for path in &bad {
        let mut bytes = fs::read(path).expect("a file");
        bytes[20] ^= 1;
        fs::write(path, bytes).expect("written");
    }
    let report = check(&place.data(), &root_key(1)).expect("it can be checked");
    assert_eq!((report.keys, report.answers), (2, 0));
    assert_eq!(report.problems.len(), 2);
    assert!(report.problems[0].path.ends_with(&KEY.to_string()), "{}", report.problems[0].path);
}
