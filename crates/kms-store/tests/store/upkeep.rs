//! Rekey, backup, restore, and what they cost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use kms_core::custody::{Change, MetaStore, StoredState};
use kms_core::{OsEntropy, SecretBytes, Version};
use kms_store::root_key::{Cost, Passphrase};
use kms_store::{Options, StoreError, Unlocked, check, restore};
use kms_testkit::custody::{create, done, secret, version, version_facts};
use uuid::Uuid;

use crate::support::{Place, all, files, open_at, root_key};

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number << 120 | number)
}

#[test]
fn a_store_is_rekeyed_while_it_serves() {
    let place = Place::new("rekey");
    let store = place.must_open();
    for number in 0..20 {
        create(&store, uuid(number));
    }
    let done_rekeying = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done_rekeying.load(Ordering::Acquire) || reads == 0 {
                let opened = store.unseal(&uuid(reads % 20), Version::MIN).expect("readable");
                assert_eq!(opened.expose(), secret(1).expose());
                reads += 1;
            }
        });
        let writer = scope.spawn(|| {
            let mut number = 100;
            while !done_rekeying.load(Ordering::Acquire) || number == 100 {
                let revision = create(&store, uuid(number));
                let (facts, secret) = (version_facts(2), secret(2));
                let change = Change::Rotate { version: &facts, secret: &secret };
                done(store.commit(&uuid(number), revision, &change, None));
                number += 1;
            }
        });
        let mut told = Vec::new();
        let progress = &mut |done, all| told.push((done, all));
        store.rekey(&root_key(2), progress).expect("rekeyed");
        done_rekeying.store(true, Ordering::Release);
        reader.join().expect("no panic");
        writer.join().expect("no panic");
        let (done, all) = *told.last().expect("progress");
        assert!(done == all && all >= 20);
    });
    assert!(!store.is_rekeying());
    let keys = all(&store);
    drop(store);
    assert_eq!(place.open().err(), Some(StoreError::WrongRootKey), "the old root key is out");
    let root = root_key(2);
    let anchor = place.anchor();
    let opened = open_at(&place.data(), Some(&anchor), &root, Options::default(), &place.clock);
    let (store, report) = opened.expect("it opens");
    assert!(!report.unfinished_rekey);
    assert_eq!(all(&store), keys);
    drop(store);
    assert_eq!(check(&place.data(), &root).expect("checked").problems, []);
}

#[test]
fn a_backup_is_a_store_and_its_restore_is_older_than_the_anchor() {
    let place = Place::new("backup");
    let store = place.must_open();
    for number in 0..5 {
        create(&store, uuid(number));
    }
    let revision = store.load(&uuid(0)).expect("readable").expect("there").revision;
    let change = Change::SetKeyState(StoredState::Destroyed);
    done(store.commit(&uuid(0), revision, &change, None));
    let keys = all(&store);
    let copy = place.temp.path().join("backup");
    assert_eq!(store.backup(&copy), Ok(5));
    assert_eq!(store.backup(&copy), Err(StoreError::NotEmpty));
    create(&store, uuid(9));
    drop(store);
    assert_eq!(check(&copy, &root_key(1)).expect("checked").problems, []);

    std::fs::remove_dir_all(place.data()).expect("lost");
    assert_eq!(place.open().err(), Some(StoreError::NoStore));
    assert_eq!(restore(&copy, &place.data(), &root_key(2)), Err(StoreError::WrongRootKey));
    assert_eq!(restore(&copy, &place.data(), &root_key(1)), Ok(5));
    assert!(matches!(place.open().err(), Some(StoreError::OlderThanAnchor { .. })));
    let options = Options { accept_older: true, ..Options::default() };
    let anchor = place.anchor();
    let opened = open_at(&place.data(), Some(&anchor), &root_key(1), options, &place.clock);
    let (store, _) = opened.expect("overridden");
    assert_eq!(all(&store), keys);
}

#[test]
fn a_damaged_backup_is_not_restored() {
    let place = Place::new("bad-backup");
    let store = place.must_open();
    create(&store, uuid(1));
    let copy = place.temp.path().join("backup");
    assert_eq!(store.backup(&copy), Ok(1));
    drop(store);
    let file = files(&copy.join("keys")).remove(0);
    let mut bytes = std::fs::read(&file).expect("a file");
    bytes[40] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    let target = place.temp.path().join("target");
    assert!(matches!(restore(&copy, &target, &root_key(1)), Err(StoreError::Damaged { .. })));
    assert!(!target.join("store").exists());
}

#[test]
fn a_directory_in_use_is_refused_as_it_is() {
    let place = Place::new("foreign");
    let store = place.must_open();
    create(&store, uuid(1));
    let theirs = place.temp.path().join("theirs");
    std::fs::create_dir(&theirs).expect("made");
    let names = ["lock", ".tmp-1-1", "notes"];
    for name in names {
        std::fs::write(theirs.join(name), name).expect("written");
    }
    assert_eq!(store.backup(&theirs), Err(StoreError::NotEmpty));
    let made = Unlocked::create(&theirs, &root_key(1), &OsEntropy).map(drop);
    assert_eq!(made, Err(StoreError::NotEmpty));
    for name in names {
        assert_eq!(std::fs::read(theirs.join(name)).expect("there"), name.as_bytes());
    }
    assert_eq!(theirs.read_dir().expect("a directory").count(), names.len());
}

#[test]
fn a_store_is_not_made_over_anything() {
    let place = Place::new("over");
    create(&place.must_open(), uuid(1));
    let again = Unlocked::create(&place.data(), &root_key(1), &OsEntropy);
    assert_eq!(again.err(), Some(StoreError::NotEmpty));
    std::fs::remove_file(place.data().join("store")).expect("removed");
    let again = Unlocked::create(&place.data(), &root_key(1), &OsEntropy);
    assert_eq!(again.err(), Some(StoreError::NotEmpty), "keys without a header are not lost");
    assert_eq!(place.open().err(), Some(StoreError::NoStore));
    let parentless = place.temp.path().join("a/b");
    assert!(Unlocked::create(&parentless, &root_key(1), &OsEntropy).is_err());
}

#[test]
fn a_passphrase_opens_a_store() {
    let place = Place::new("passphrase");
    let data = place.temp.path().join("other");
    let passphrase = |text: &[u8]| {
        Passphrase::new(SecretBytes::copy_of(text), Cost::LEAST).expect("long enough")
    };
    let good = passphrase(b"correct horse battery staple");
    drop(Unlocked::create(&data, &good, &OsEntropy).expect("made"));
    let bad = passphrase(b"correct horse battery stable");
    assert_eq!(Unlocked::open(&data, &bad).err(), Some(StoreError::WrongRootKey));
    assert_eq!(Unlocked::open(&data, &root_key(1)).err(), Some(StoreError::WrongRootKey));
    assert!(Unlocked::open(&data, &good).is_ok());
}

#[test]
fn a_rotation_adds_one_file_of_the_same_size_however_many_there_are() {
    let place = Place::new("flat");
    let store = place.must_open();
    let mut revision = create(&store, uuid(1));
    let dir = place.data().join("keys/01").join(uuid(1).to_string());
    let mut sizes = Vec::new();
    for number in 2..=130 {
        let (facts, secret) = (version_facts(number), secret(number));
        let change = Change::Rotate { version: &facts, secret: &secret };
        kms_durable::faults::disarm();
        revision = done(store.commit(&uuid(1), revision, &change, None));
        let steps = kms_durable::faults::passed().len();
        let size = dir.join(format!("v{number}")).metadata().expect("a file").len();
        sizes.push((steps, size));
    }
    assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
    assert_eq!(files(&dir).len(), 131);
    drop(store);
    let store = place.must_open();
    let opened = store.unseal(&uuid(1), version(129)).expect("readable");
    assert_eq!(opened.expose(), secret(129).expose());
}

#[test]
fn copies_of_a_directory_seal_the_same_change_differently() {
    let sealed = |place: &Place| {
        let store = place.must_open();
        let revision = store.load(&uuid(1)).expect("readable").expect("there").revision;
        let change =
            Change::SetVersionState { version: Version::MIN, state: StoredState::Disabled };
        done(store.commit(&uuid(1), revision, &change, None));
        let dir = place.data().join("keys/01").join(uuid(1).to_string());
        std::fs::read(dir.join("v1")).expect("a file")
    };
    let place = Place::new("copies");
    create(&place.must_open(), uuid(1));
    let copy = Place::new("copies");
    std::fs::remove_dir_all(copy.data()).expect("removed");
    crate::support::copy_dir(&place.data(), &copy.data());
    std::fs::copy(place.anchor(), copy.anchor()).expect("copied");
    let (one, other) = (sealed(&place), sealed(&copy));
    // Salt, ciphertext and tag of a 32-byte secret, before the file's tag.
    let at = one.len() - 32 - 80;
    assert_eq!(one[..at], other[..at], "the same facts");
    assert_ne!(one[at..at + 32], other[at..at + 32], "salts");
    assert_ne!(one[at + 32..], other[at + 32..]);
}

/// `KMS_STORE_KEYS=100000` is the long form, which prints what opening took; making them takes minutes of syncs.
#[test]
fn a_store_with_many_keys_opens_with_an_index_only() {
    let count = std::env::var("KMS_STORE_KEYS").map_or(200, |it| it.parse().expect("a number"));
    let place = Place::new("many");
    let store = place.must_open();
    for number in 0..count {
        create(&store, uuid(number));
    }
    drop(store);
    let started = std::time::Instant::now();
    let (store, report) = place.open().expect("it opens");
    eprintln!("{count} keys opened in {:?}", started.elapsed());
    assert_eq!((report.keys as u128, report.versions as u128), (count, count));
    assert_eq!(store.key_count() as u128, count);
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        eprintln!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    }
}
