//! Older copies, of the whole directory and of parts, and tombstones.

use kms_core::Clock;
use kms_core::Version;
use kms_core::anchor::Anchor;
use kms_core::custody::{Answer, AnswerScope, Change, MetaStore, StoredState};
use kms_store::{FileAnchor, Options, Role, StoreError, Unlocked, restore};
use kms_testkit::custody::{answer, create, done, key_facts, secret, version, version_facts};
use uuid::Uuid;

use crate::support::{Place, copy_dir, open_at, root_key};

const KEY: Uuid = Uuid::from_u128(7);
const OTHER: Uuid = Uuid::from_u128(8);

fn rotate(store: &dyn MetaStore, revision: u64, number: u32) -> u64 {
    let (facts, secret) = (version_facts(number), secret(number));
    let change = Change::Rotate { version: &facts, secret: &secret };
    done(store.commit(&KEY, revision, &change, None))
}

/// Puts a copy in the place of the data directory.
fn put_back(place: &Place, copy: &std::path::Path) {
    std::fs::remove_dir_all(place.data()).expect("it is there");
    copy_dir(copy, &place.data());
}

fn override_open(place: &Place) -> (kms_store::FileStore, kms_store::OpenReport) {
    let options = Options { accept_older: true, ..Options::default() };
    let anchor = place.anchor();
    open_at(&place.data(), Some(&anchor), &root_key(1), options, &place.clock).expect("overridden")
}

#[test]
fn an_older_copy_of_the_directory_is_refused_and_opens_by_an_override_only() {
    let place = Place::new("older");
    let revision = create(&place.must_open(), KEY);
    let copy = place.temp.path().join("copy");
    copy_dir(&place.data(), &copy);
    let revision = rotate(&place.must_open(), revision, 2);
    let revision = rotate(&place.must_open(), revision, 3);
    put_back(&place, &copy);

    let refused = place.open().err().expect("refused");
    assert_eq!(refused, StoreError::OlderThanAnchor { store: 1, anchor: 3 });
    assert!(refused.to_string().starts_with("store older than anchor"));

    let (store, report) = override_open(&place);
    assert_eq!((report.overridden, report.revision), (Some(3), revision));
    let stored = store.load(&KEY).expect("readable").expect("there");
    assert_eq!(stored.versions.len(), 1);
    let next = rotate(&store, stored.revision, 2);
    assert!(next > revision, "no number of the lost branch comes again");
    drop(store);
    assert_eq!(place.open().expect("once overridden it is the newest").1.overridden, None);
}

#[test]
fn what_was_being_made_is_remembered_by_the_newest_copy_only() {
    let place = Place::new("notes");
    let revision = create(&place.must_open(), KEY);
    let note = || {
        let scope = AnswerScope::note_of_making(&key_facts(OTHER).id);
        Answer { scope, ..answer(1, place.clock.unix_ms()) }
    };
    let other = answer(2, place.clock.unix_ms());
    let known = |store: &dyn MetaStore| {
        [&note(), &other].map(|it| store.answer(&it.scope).expect("readable").is_some())
    };
    let store = place.must_open();
    for it in [&note(), &other] {
        store.record(it).expect("recorded");
    }
    drop(store);
    assert_eq!(known(&place.must_open()), [true, true]);

    let copy = place.temp.path().join("copy");
    copy_dir(&place.data(), &copy);
    rotate(&place.must_open(), revision, 2);
    put_back(&place, &copy);
    assert_eq!(known(&override_open(&place).0), [false, true]);
    assert_eq!(known(&place.must_open()), [false, true]);
    place.must_open().record(&note()).expect("recorded");

    // Who only reads the store of a stopped service leaves them there.
    let target = place.temp.path().join("restored");
    assert_eq!(restore(&place.data(), &target, &root_key(1)), Ok(1));
    assert_eq!(known(&place.must_open()), [true, true]);

    // Where no anchor was, or a new one is, nothing says that it is the newest.
    std::fs::remove_file(place.anchor()).expect("removed");
    assert_eq!(known(&override_open(&place).0), [false, true]);
    assert_eq!(known(&place.must_open()), [false, true]);
}

#[test]
fn tombstones_hold_under_an_override() {
    let place = Place::new("tombstones");
    let store = place.must_open();
    let revision = create(&store, KEY);
    rotate(&store, revision, 2);
    let other = create(&store, OTHER);
    drop(store);
    let copy = place.temp.path().join("copy");
    copy_dir(&place.data(), &copy);

    let store = place.must_open();
    let state = StoredState::Destroyed;
    done(store.commit(&OTHER, other, &Change::SetKeyState(state), None));
    let revision = store.load(&KEY).expect("readable").expect("there").revision;
    let change = Change::SetVersionState { version: Version::MIN, state };
    done(store.commit(&KEY, revision, &change, None));
    drop(store);
    put_back(&place, &copy);

    let (store, report) = override_open(&place);
    assert_eq!(report.destroyed.len(), 2, "{:?}", report.destroyed);
    for (key, gone) in [(KEY, Version::MIN), (OTHER, Version::MIN)] {
        let error = store.unseal(&key, gone).err().expect("destroyed");
        assert_eq!(error.code.name(), "Conflict");
    }
    assert_eq!(store.unseal(&KEY, version(2)).expect("alive").expose(), secret(2).expose());
    drop(store);
    let (_, report) = place.open().expect("it opens");
    assert!(report.destroyed.is_empty(), "there is nothing left to do");
    let key = place.data().join("keys/00").join(OTHER.to_string());
    let sizes = |name| key.join(name).metadata().expect("a file").len();
    assert!(sizes("v1") < 260, "the sealed secret is gone: {}", sizes("v1"));
}

#[test]
fn an_older_copy_of_one_file_or_key_is_found_out() {
    let place = Place::new("part");
    let store = place.must_open();
    let revision = create(&store, KEY);
    create(&store, OTHER);
    let key = place.data().join("keys/00").join(KEY.to_string());
    let old = std::fs::read(key.join("v1")).expect("a file");
    let state = StoredState::Disabled;
    let change = Change::SetVersionState { version: Version::MIN, state };
    let revision = done(store.commit(&KEY, revision, &change, None));
    rotate(&store, revision, 2);
    drop(store);

    let copy = place.temp.path().join("copy");
    copy_dir(&place.data(), &copy);
    std::fs::write(key.join("v1"), old).expect("written");
    assert_eq!(place.open().err(), Some(StoreError::Altered), "an older version file");
    put_back(&place, &copy);
    std::fs::remove_file(key.join("v2")).expect("removed");
    assert_eq!(place.open().err(), Some(StoreError::Altered), "a newest version removed");
    put_back(&place, &copy);
    std::fs::remove_dir_all(&key).expect("removed");
    assert_eq!(place.open().err(), Some(StoreError::Altered), "a key removed");
    put_back(&place, &copy);
    place.must_open();
}

#[test]
fn an_anchor_of_another_store_or_without_its_tombstones_is_damage() {
    let place = Place::new("anchor");
    let store = place.must_open();
    let revision = create(&store, KEY);
    let change = Change::SetKeyState(StoredState::Destroyed);
    done(store.commit(&KEY, revision, &change, None));
    drop(store);
    let list = place.temp.path().join("anchor.tombstones");
    let kept = std::fs::read(&list).expect("a list");
    std::fs::remove_file(&list).expect("removed");
    let damaged = |role| move |error: &StoreError| matches!(error, StoreError::Damaged { role: found, .. } if *found == role);
    assert!(place.open().err().as_ref().is_some_and(damaged(Role::Tombstones)));
    std::fs::write(&list, kept).expect("written");
    place.must_open();

    let other = Place::new("other");
    create(&other.must_open(), KEY);
    std::fs::copy(other.anchor(), place.anchor()).expect("copied");
    assert!(place.open().err().as_ref().is_some_and(damaged(Role::Anchor)));
    std::fs::remove_file(place.anchor()).expect("removed");
    assert!(place.open().err().as_ref().is_some_and(damaged(Role::Tombstones)));
}

#[test]
fn a_store_that_had_an_anchor_is_not_opened_without_it() {
    let place = Place::new("missing");
    let open = |anchor, accept_older| {
        let options = Options { accept_older, ..Options::default() };
        open_at(&place.data(), anchor, &root_key(1), options, &place.clock)
    };
    create(&open(None, false).expect("it never had one").0, KEY);
    create(&place.must_open(), OTHER);
    std::fs::remove_file(place.anchor()).expect("removed");
    assert_eq!(place.open().err(), Some(StoreError::AnchorMissing));
    assert_eq!(open(None, false).err(), Some(StoreError::AnchorMissing));
    drop(open(None, true).expect("overridden"));
    assert_eq!(place.open().err(), Some(StoreError::AnchorMissing), "an override is for once");
    let anchor = place.anchor();
    drop(open(Some(&anchor), true).expect("overridden, with a new anchor"));
    place.must_open();
}

#[test]
fn a_sound_store_is_opened_without_a_write() {
    let place = Place::new("still");
    create(&place.must_open(), KEY);
    kms_durable::faults::disarm();
    place.must_open();
    let passed = kms_durable::faults::passed();
    assert!(passed.iter().all(|step| *step == "fsync"), "{passed:?}");
}

#[test]
fn an_anchor_goes_forward_only_and_remembers_across_starts() {
    let place = Place::new("forward");
    let open = || {
        let unlocked = Unlocked::open(&place.data(), &root_key(1)).expect("it opens");
        let key = unlocked.subkey("anchor").expect("a key");
        FileAnchor::open(&place.anchor(), key).expect("it opens")
    };
    let anchor = open();
    assert_eq!(anchor.load(), Ok(None));
    anchor.advance_store(5).expect("forward");
    anchor.advance_log(10, &[1; 32]).expect("forward");
    anchor.add_tombstone("a#v1").expect("kept");
    anchor.add_tombstone("b").expect("kept");
    let code = |result: Result<(), kms_core::KmsError>| result.expect_err("backwards").code.name();
    assert_eq!(code(anchor.advance_store(4)), "Conflict");
    assert_eq!(code(anchor.advance_log(9, &[1; 32])), "Conflict");
    assert_eq!(code(anchor.advance_log(10, &[2; 32])), "Conflict");
    anchor.advance_log(10, &[1; 32]).expect("the same");
    let state = open().load().expect("readable").expect("there");
    assert_eq!(Some(&state), anchor.load().expect("readable").as_ref());
    assert_eq!((state.store_revision, state.log_size), (5, 10));
    let tombstones: Vec<&str> = state.tombstones.iter().map(|kid| &**kid).collect();
    assert_eq!(tombstones, ["a#v1", "b"]);
    let anchor = open();
    anchor.override_with(Some((3, [3; 32])), Some(2)).expect("overridden");
    let state = open().load().expect("readable").expect("there");
    assert_eq!((state.log_size, state.store_revision, state.tombstones.len()), (3, 2, 2));
}
