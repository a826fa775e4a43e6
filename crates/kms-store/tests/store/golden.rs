//! Stores written by earlier versions are read bit by bit as they were meant. `test/vectors/store/README.md` says what
//! is in them; `KMS_WRITE_GOLDEN=<directory>` writes new ones.

use std::path::Path;

use kms_core::anchor::Anchor;
use kms_core::custody::{
    Activation, Change, MetaStore, RootKey, StoredKey, StoredState, VersionFacts,
};
use kms_core::{KmsError, OsEntropy, SecretBytes, Version};
use kms_store::root_key::{AgeIdentity, Cost, KeyFile, Passphrase};
use kms_store::{FileAnchor, FileStore, Options, Unlocked, check};
use kms_testkit::clock::ManualClock;
use kms_testkit::custody::{answer, create, done, secret, version, version_facts};
use kms_testkit::temp_dir::TempDir;
use kms_testkit::vectors;
use std::sync::Arc;
use uuid::Uuid;

use crate::support::{all, copy_dir};

const KEY: Uuid = Uuid::from_u128(0x0b2e_7c1e_1111_4222_8333_4444_5555_6666);
const GONE: Uuid = Uuid::from_u128(0xfb2e_7c1e_1111_4222_8333_4444_5555_6666);
const IDENTITY: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";

/// By the names of their directories.
fn root_keys() -> [(&'static str, Box<dyn RootKey>); 3] {
    let bytes: Vec<u8> = (0..32).collect();
    let key_file = KeyFile::parse(&SecretBytes::copy_of(&bytes)).expect("32 bytes");
    let words = SecretBytes::copy_of(b"correct horse battery staple");
    let passphrase = Passphrase::new(words, Cost::LEAST).expect("long enough");
    let identity = AgeIdentity::parse(&SecretBytes::copy_of(IDENTITY.as_bytes())).expect("good");
    [
        ("key-file", Box::new(key_file)),
        ("passphrase", Box::new(passphrase)),
        ("age-identity", Box::new(identity)),
    ]
}

fn pending() -> VersionFacts {
    let activation = Activation::At { unix_ms: 1_800_000_000_000 };
    let public = vec![vec![3; 32], vec![4; 1952]];
    VersionFacts { suite: "hybrid".into(), activation, public, ..version_facts(3) }
}

fn open(dir: &Path, root: &dyn RootKey) -> (FileStore, Arc<FileAnchor>) {
    let unlocked = Unlocked::open(&dir.join("data"), root).expect("it opens");
    let key = unlocked.subkey("anchor").expect("a key");
    let anchor = Arc::new(FileAnchor::open(&dir.join("anchor"), key).expect("it opens"));
    let clock = Arc::<ManualClock>::default();
    let options = Options { anchor: Some(anchor.clone()), clock, ..Options::default() };
    let (store, _) = FileStore::open(unlocked, options, &mut |_| Ok(())).expect("it opens");
    (store, anchor)
}

fn write(dir: &Path, root: &dyn RootKey) -> Result<(), KmsError> {
    std::fs::create_dir_all(dir).expect("made");
    drop(Unlocked::create(&dir.join("data"), root, &OsEntropy)?);
    let (store, anchor) = open(dir, root);
    let commit = |key, expected, change: &Change<'_>, op_id| {
        let given = answer(op_id, 1_700_000_000_000);
        done(store.commit(&key, expected, change, Some(&given)))
    };
    let revision = create(&store, KEY);
    let (second, third, second_secret) = (version_facts(2), pending(), secret(2));
    let change = Change::Rotate { version: &second, secret: &second_secret };
    let revision = commit(KEY, revision, &change, 1);
    let third_secret = SecretBytes::fill(64, |out| out.fill(0x83));
    let change = Change::Rotate { version: &third, secret: &third_secret };
    let revision = commit(KEY, revision, &change, 2);
    let state = StoredState::Destroyed;
    let change = Change::SetVersionState { version: Version::MIN, state };
    let revision = commit(KEY, revision, &change, 3);
    let at_unix_ms = 1_900_000_000_000;
    let state = StoredState::DestroyScheduled { at_unix_ms };
    let change = Change::SetVersionState { version: version(2), state };
    let revision = commit(KEY, revision, &change, 4);
    commit(KEY, revision, &Change::SetKeyState(StoredState::Disabled), 5);
    let revision = create(&store, GONE);
    commit(GONE, revision, &Change::SetKeyState(StoredState::Destroyed), 6);
    anchor.advance_log(1234, &[0xab; 32])
}

/// What [`write`] wrote.
fn expected() -> Vec<StoredKey> {
    use kms_testkit::custody::key_facts;
    let destroyed = StoredState::Destroyed;
    let at_unix_ms = 1_900_000_000_000;
    let scheduled = StoredState::DestroyScheduled { at_unix_ms };
    vec![
        StoredKey {
            facts: key_facts(KEY),
            state: StoredState::Disabled,
            revision: 6,
            versions: vec![
                VersionFacts { state: destroyed, ..version_facts(1) },
                VersionFacts { state: scheduled, ..version_facts(2) },
                pending(),
            ],
        },
        StoredKey {
            facts: key_facts(GONE),
            state: destroyed,
            revision: 8,
            versions: vec![version_facts(1)],
        },
    ]
}

#[test]
fn stores_of_format_1_are_read_bit_by_bit() {
    if let Ok(dir) = std::env::var("KMS_WRITE_GOLDEN") {
        for (name, root) in root_keys() {
            write(&Path::new(&dir).join(name), &*root).expect("written");
        }
        return;
    }
    for (name, root) in root_keys() {
        let temp = TempDir::new("golden");
        let dir = temp.path().join(name);
        copy_dir(&vectors::path("store/v1").join(name), &dir);
        let (store, anchor) = open(&dir, &*root);
        assert_eq!(all(&store), expected(), "{name}");
        assert_eq!(store.revision(), 8);
        for (number, byte, len) in [(2, 0x82, 32), (3, 0x83, 64)] {
            let opened = store.unseal(&KEY, version(number)).expect("there");
            assert_eq!(opened.expose(), vec![byte; len]);
        }
        for number in 1..=6 {
            let given = answer(number, 1_700_000_000_000);
            assert_eq!(store.answer(&given.scope), Ok(Some(given)));
        }
        let state = anchor.load().expect("readable").expect("there");
        assert_eq!((state.log_size, state.log_root), (1234, [0xab; 32]));
        assert_eq!((state.store_revision, state.tombstones.len()), (8, 2));
        drop(store);
        let report = check(&dir.join("data"), &*root).expect("checked");
        assert_eq!((report.problems, report.keys, report.answers), (vec![], 2, 6));
    }
}
