//! A store in a temporary directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kms_core::anchor::Anchor;
use kms_core::custody::{MetaStore, RootKey, StoredKey};
use kms_core::{OsEntropy, SecretBytes};
use kms_store::root_key::KeyFile;
use kms_store::{FileAnchor, FileStore, OpenReport, Options, StoreError, Unlocked};
use kms_testkit::clock::ManualClock;
use kms_testkit::custody::Harness;
use kms_testkit::temp_dir::TempDir;

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

pub fn root_key(number: u8) -> KeyFile {
    KeyFile::parse(&SecretBytes::copy_of(&[number; 32])).expect("32 bytes")
}

/// Where the directory and the anchor are.
pub struct Place {
    pub temp: TempDir,
    pub clock: Arc<ManualClock>,
}

impl Place {
    /// With an empty store.
    pub fn new(name: &str) -> Place {
        let place = Place { temp: TempDir::new(name), clock: Arc::default() };
        Unlocked::create(&place.data(), &root_key(1), &OsEntropy).expect("an empty directory");
        place
    }

    pub fn data(&self) -> PathBuf {
        self.temp.path().join("data")
    }

    pub fn anchor(&self) -> PathBuf {
        self.temp.path().join("anchor")
    }

    pub fn open(&self) -> Result<(FileStore, OpenReport)> {
        open_at(&self.data(), Some(&self.anchor()), &root_key(1), Options::default(), &self.clock)
    }

    pub fn must_open(&self) -> FileStore {
        self.open().expect("the store opens").0
    }
}

pub fn open_at(
    data: &Path,
    anchor: Option<&Path>,
    root: &dyn RootKey,
    options: Options,
    clock: &Arc<ManualClock>,
) -> Result<(FileStore, OpenReport)> {
    let unlocked = unlock(data, root)?;
    let anchor: Option<Arc<dyn Anchor>> = match anchor {
        None => None,
        Some(path) => Some(Arc::new(FileAnchor::open(path, unlocked.subkey("anchor")?)?)),
    };
    let options = Options { anchor, clock: clock.clone(), ..options };
    FileStore::open(unlocked, options, &mut |_| Ok(()))
}

/// Until no child of another test, forked and not yet at its `exec`, has our handle of the lock.
fn unlock(data: &Path, root: &dyn RootKey) -> Result<Unlocked> {
    for _ in 0..500 {
        match Unlocked::open(data, root) {
            Err(StoreError::Disk(kms_durable::Error::Locked { .. })) => {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            result => return result,
        }
    }
    Unlocked::open(data, root)
}

/// Every key, sorted.
pub fn all(store: &dyn MetaStore) -> Vec<StoredKey> {
    let mut keys = Vec::new();
    let visit = &mut |key| {
        keys.push(key);
        Ok(())
    };
    store.load_all(visit).expect("readable");
    keys.sort_by_key(|key: &StoredKey| key.facts.id.uuid);
    keys
}

/// Every file below a directory, but the lock.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in dir.read_dir().expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false if path.ends_with("lock") => {}
            false => found.push(path),
        }
    }
    found.sort();
    found
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a new directory");
    for entry in from.read_dir().expect("a directory") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        match path.is_dir() {
            true => copy_dir(&path, &target),
            false => drop(std::fs::copy(&path, &target).expect("a copy")),
        }
    }
}

/// A file store that keeps four answers, for the conformance suite.
pub struct FileHarness {
    pub place: Place,
    pub store: Option<FileStore>,
}

impl FileHarness {
    pub fn new() -> FileHarness {
        let mut harness = FileHarness { place: Place::new("conforms"), store: None };
        harness.reopen();
        harness
    }
}

impl Harness for FileHarness {
    fn store(&self) -> &dyn MetaStore {
        self.store.as_ref().expect("open")
    }

    fn clock(&self) -> &ManualClock {
        &self.place.clock
    }

    fn reopen(&mut self) {
        self.store = None;
        let options = Options { max_answers: 4, ..Options::default() };
        let place = &self.place;
        let anchor = place.anchor();
        let opened = open_at(&place.data(), Some(&anchor), &root_key(1), options, &place.clock);
        self.store = Some(opened.expect("the store opens").0);
    }
}
