//! Making a store, and opening one: everything that is not a secret is checked before anything is served.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use kms_core::anchor::Anchor;
use kms_core::custody::{RootKey, StoredKey};
use kms_core::{Clock, Entropy, KmsError, OsEntropy, Secret, SystemClock};
use kms_durable::{Dir, DirLock, FileKind};
use uuid::Uuid;

use super::answers::{Answers, Notes};
use super::read::{KeyFiles, damaged, read_head};
use super::tombstones::bury;
use super::{ANSWERS, Entry, FileStore, HEAD, HEADER, KEYS, WriterState, key_path, shard_path};
use crate::anchor::found;
use crate::digest::Digest;
use crate::error::{Result, Role, StoreError};
use crate::format::{HeadFile, max_len};
use crate::header::StoreKeys;
use crate::seal;

/// A directory that is locked, and whose header the root key opened.
pub struct Unlocked {
    pub(super) root: Dir,
    pub(super) lock: DirLock,
    pub(super) keys: StoreKeys,
    /// Opened by who only copies or checks it.
    to_read: bool,
}

impl Unlocked {
    /// Makes an empty store in a directory that is empty or missing (its parent is there).
    ///
    /// # Errors
    /// `NotEmpty`, `Disk`, those of the root key.
    pub fn create(path: &Path, root_key: &dyn RootKey, entropy: &dyn Entropy) -> Result<Unlocked> {
        let (root, lock) = lock_unused(path)?;
        let keys = StoreKeys::generate(entropy)?;
        prepare(&root)?;
        let head = HeadFile {
            store: keys.store,
            revision: 0,
            before: [0; 32],
            after: [0; 32],
            key: Uuid::nil(),
            anchored: false,
        };
        root.replace(HEAD, &head.encode(&keys.integrity))?;
        // Last, for it makes the directory a store.
        root.create_new(HEADER, &keys.seal(root_key, entropy)?)?;
        Ok(Unlocked { root, lock, keys, to_read: false })
    }

    /// Opens the header of a store.
    ///
    /// # Errors
    /// `NoStore`, `Disk` (`Locked` where another process has it open), `WrongRootKey`, `Damaged`, `Newer`, those of the
    /// root key.
    pub fn open(path: &Path, root_key: &dyn RootKey) -> Result<Unlocked> {
        Unlocked::open_locking(path, root_key, DirLock::acquire)
    }

    /// As [`Unlocked::open`], for who writes nothing: from a directory that cannot be written too.
    ///
    /// # Errors
    /// As there.
    pub(super) fn open_to_read(path: &Path, root_key: &dyn RootKey) -> Result<Unlocked> {
        let unlocked = Unlocked::open_locking(path, root_key, DirLock::acquire_to_read)?;
        Ok(Unlocked { to_read: true, ..unlocked })
    }

    fn open_locking(
        path: &Path,
        root_key: &dyn RootKey,
        acquire: fn(&Dir) -> kms_durable::Result<DirLock>,
    ) -> Result<Unlocked> {
        let root = match Dir::open(path) {
            Err(kms_durable::Error::NotFound) => return Err(StoreError::NoStore),
            root => root?,
        };
        // Before the lock, whose file would make an empty directory look used.
        if found(root.read(HEADER, max_len(Role::Header)))?.is_none() {
            return Err(StoreError::NoStore);
        }
        let lock = acquire(&root)?;
        let header = found(root.read(HEADER, max_len(Role::Header)))?.ok_or(StoreError::NoStore)?;
        let keys = StoreKeys::open(&header, root_key)?;
        Ok(Unlocked { root, lock, keys, to_read: false })
    }

    /// A key for another use, which this root key alone gives: `anchor` for [`crate::FileAnchor`].
    ///
    /// # Errors
    /// None today.
    pub fn subkey(&self, purpose: &str) -> Result<Secret<32>> {
        Ok(seal::subkey(&self.keys.integrity, purpose)?)
    }

    /// Refuses to go on without the anchor that the store had. For those who are about to write to one before the store is
    /// opened: it would not be found missing any more.
    ///
    /// # Errors
    /// `AnchorMissing`; `Damaged`, `Disk`, those of the anchor.
    pub fn check_anchor(&self, anchor: &dyn Anchor) -> Result<()> {
        let head = HeadFile::decode(&read_head(&self.root)?, &self.keys.integrity)?;
        if head.anchored && anchor.load()?.is_none() {
            return Err(StoreError::AnchorMissing);
        }
        Ok(())
    }

    /// The store's own id, made with it.
    pub fn store_id(&self) -> Uuid {
        self.keys.store
    }
}

/// The empty directories of a store, in a directory that holds no more than an unfinished attempt to make one.
pub(super) fn prepare(root: &Dir) -> Result<()> {
    check_unused(root)?;
    root.remove_stale()?;
    root.ensure_dir(KEYS)?;
    root.ensure_dir(ANSWERS)?;
    Ok(root.sync()?)
}

/// Refuses a directory with anything in it but an unfinished attempt to make a store, and leaves it as it is.
fn check_unused(root: &Dir) -> Result<()> {
    for (name, kind) in root.entries()? {
        let left_over = match (name.as_str(), kind) {
            ("lock" | HEAD, FileKind::File) => true,
            (KEYS | ANSWERS, FileKind::Dir) => root.open_dir(&name)?.entries()?.is_empty(),
            _ => false,
        };
        if !left_over {
            return Err(StoreError::NotEmpty);
        }
    }
    Ok(())
}

/// A directory that a store is to be made in, locked. One in use is left as it is, so this looks before it locks, and
/// whoever prepares it looks again.
pub(super) fn lock_unused(path: &Path) -> Result<(Dir, DirLock)> {
    let root = Dir::open_or_create(path)?;
    check_unused(&root)?;
    let lock = DirLock::acquire(&root)?;
    Ok((root, lock))
}

/// Takes note of a fault that an operator's decision overrides.
pub type OnOverride = Box<dyn FnMut(&StoreError) -> Result<(), KmsError>>;

/// How a store is opened.
pub struct Options {
    /// Tells how old answers are.
    pub clock: Arc<dyn Clock>,
    /// Gives salts and data keys.
    pub entropy: Arc<dyn Entropy>,
    /// The second place; without it an older copy of the directory is not found out.
    pub anchor: Option<Arc<dyn Anchor>>,
    /// Opens a store that is older than its anchor, or whose anchor is missing. It goes on from the anchor's revision; tombstones hold all the same.
    pub accept_older: bool,
    /// Told what `accept_older` overrides, before anything is written; where it fails nothing is.
    pub on_override: Option<OnOverride>,
    /// Most recorded answers.
    pub max_answers: usize,
    /// Most bytes of recorded answers.
    pub max_answer_bytes: u64,
}

impl Default for Options {
    /// The system's clock and randomness, no anchor, 65,536 answers and 256 MiB of them.
    fn default() -> Options {
        Options {
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(OsEntropy),
            anchor: None,
            accept_older: false,
            on_override: None,
            max_answers: 65_536,
            max_answer_bytes: 256 * 1024 * 1024,
        }
    }
}

/// What was found and done while opening. All of it is worth a line in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// How many keys there are, destroyed ones included.
    pub keys: usize,
    /// How many versions they have.
    pub versions: u64,
    /// The revision of the store.
    pub revision: u64,
    /// The last change had begun and was not made; nobody was told that it was. (A destruction that had got as far as
    /// its tombstone was made now.)
    pub unfinished_change: bool,
    /// A rekey had begun: [`FileStore::finish_rekey`] ends it.
    pub unfinished_rekey: bool,
    /// The anchor's revision that `accept_older` overrode.
    pub overridden: Option<u64>,
    /// The kids whose destruction the anchor remembered, and which are destroyed now.
    pub destroyed: Vec<String>,
}

impl FileStore {
    /// Shows every key of a store to `visit`, for a service that only verifies. Nothing is written; what the anchor
    /// remembers as destroyed is shown so.
    ///
    /// # Errors
    /// `Damaged`, `Newer`, `Altered`, `Disk`, those of the anchor and of `visit`.
    pub fn show(
        unlocked: &Unlocked,
        anchor: Option<&dyn Anchor>,
        visit: &mut dyn FnMut(StoredKey) -> Result<(), KmsError>,
    ) -> Result<()> {
        let Unlocked { root, keys, .. } = unlocked;
        let head = HeadFile::decode(&read_head(root)?, &keys.integrity)?;
        let anchored =
            anchor.map(|anchor| anchor.load()).transpose()?.flatten().unwrap_or_default();
        let mut scan = Scan { index: HashMap::new(), digest: Digest::default(), scrub: Vec::new() };
        scan_keys(root, keys, &mut |files| {
            scan.take(keys, &files);
            let mut stored = files.stored();
            bury(&mut stored, &anchored.tombstones);
            Ok(visit(stored)?)
        })?;
        let sum = scan.digest.to_bytes();
        if sum == head.after || sum == head.before { Ok(()) } else { Err(StoreError::Altered) }
    }

    /// Opens a store and shows every key to `visit` on the way, which saves a second reading. What was visited is
    /// worth nothing if this fails.
    ///
    /// # Errors
    /// `Damaged`, `Newer`, `Altered`, `OlderThanAnchor`, `Disk`, those of the anchor and of `visit`.
    pub fn open(
        unlocked: Unlocked,
        mut options: Options,
        visit: &mut dyn FnMut(StoredKey) -> Result<(), KmsError>,
    ) -> Result<(FileStore, OpenReport)> {
        let Unlocked { root, lock, keys, to_read } = unlocked;
        root.remove_stale()?;
        let head = HeadFile::decode(&read_head(&root)?, &keys.integrity)?;
        if head.store != keys.store {
            return Err(damaged(Role::Head, "it is of another store"));
        }
        sync_after_crash(&root, &head.key)?;

        let mut report =
            OpenReport { unfinished_rekey: keys.wrapping.len() > 1, ..OpenReport::default() };
        let anchored = options.anchor.as_ref().map(|anchor| anchor.load()).transpose()?.flatten();
        let mut overrides =
            |fault: StoreError| match (options.accept_older, &mut options.on_override) {
                (false, _) => Err(fault),
                (true, Some(note)) => note(&fault).map_err(StoreError::from),
                (true, None) => Ok(()),
            };
        let missing = head.anchored && anchored.is_none();
        if missing && !options.accept_older {
            return Err(StoreError::AnchorMissing);
        }
        let anchored = anchored.unwrap_or_default();
        let mut scan = Scan { index: HashMap::new(), digest: Digest::default(), scrub: Vec::new() };
        let tombstones = &anchored.tombstones;
        scan_keys(&root, &keys, &mut |files| {
            report.versions += files.versions.len() as u64;
            report.revision = report.revision.max(files.revision());
            scan.take(&keys, &files);
            let mut stored = files.stored();
            bury(&mut stored, tombstones);
            Ok(visit(stored)?)
        })?;
        report.keys = scan.index.len();

        let sum = scan.digest.to_bytes();
        report.unfinished_change = sum != head.after && sum == head.before;
        if sum != head.after && !report.unfinished_change {
            return Err(StoreError::Altered);
        }
        if missing {
            overrides(StoreError::AnchorMissing)?;
        }
        if head.revision < anchored.store_revision {
            let (store, anchor) = (head.revision, anchored.store_revision);
            overrides(StoreError::OlderThanAnchor { store, anchor })?;
            report.overridden = Some(anchor);
        }
        // A restored copy goes on with numbers that were never used, so nothing of the lost branch fits in.
        report.revision = report.revision.max(head.revision).max(anchored.store_revision);

        let answers =
            Answers::new(root.open_dir(ANSWERS)?, options.max_answers, options.max_answer_bytes);

        let store = FileStore {
            root,
            _lock: lock,
            keys: RwLock::new(keys),
            clock: options.clock,
            entropy: options.entropy,
            anchor: options.anchor,
            index: RwLock::new(scan.index),
            answers,
            writer: Mutex::new(WriterState { revision: report.revision, digest: scan.digest }),
            rekeying: Mutex::new(()),
            in_doubt: AtomicBool::new(false),
            was_anchored: head.anchored,
        };
        if report.unfinished_change && store.finish_destruction(&head, tombstones)? {
            report.unfinished_change = false;
        }
        let committed = head.revision - u64::from(report.unfinished_change);
        // Without an anchor, or with a new one (which the audit log may have begun), nothing says that there is no newer
        // copy. Before the anchor takes this one for it.
        let is_newest = anchored.store_revision > 0 && report.overridden.is_none();
        let notes = match (is_newest, to_read) {
            (true, _) => Notes::Held,
            // It may be the store of a stopped service, whose next start needs them.
            (false, true) => Notes::Left,
            (false, false) => Notes::Removed,
        };
        store.load_answers(committed, notes)?;
        for uuid in scan.scrub {
            store.scrub(&uuid)?;
        }
        if report.revision != head.revision {
            store.settle(report.revision)?;
        }
        if let Some(anchor) = &store.anchor {
            anchor.advance_store(report.revision)?;
        }
        if !head.accepts_only(report.revision, store.is_anchored()) {
            // A full disk does not keep a store from being opened.
            match store.settle(report.revision) {
                Ok(()) | Err(StoreError::Disk(kms_durable::Error::DiskFull { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        for kid in tombstones {
            if store.destroy_again(kid)? {
                report.destroyed.push(kid.to_string());
            }
        }
        report.revision = store.writer.lock().unwrap_or_else(PoisonError::into_inner).revision;
        Ok((store, report))
    }
}

struct Scan {
    index: HashMap<Uuid, Entry>,
    digest: Digest,
    /// Destroyed keys with secrets left.
    scrub: Vec<Uuid>,
}

impl Scan {
    fn take(&mut self, keys: &StoreKeys, files: &KeyFiles) {
        files.add_to(&mut self.digest, &keys.integrity);
        let uuid = files.key.facts.id.uuid;
        if files.key.data_key.is_none() && files.versions.iter().any(|file| file.secret.is_some()) {
            self.scrub.push(uuid);
        }
        if let Some(newest) = files.versions.last() {
            let newest = newest.facts.version;
            self.index.insert(uuid, Entry { revision: files.revision(), newest });
        }
    }
}

/// What a killed process put in place without syncing it: at most one change, and answers.
fn sync_after_crash(root: &Dir, key: &Uuid) -> Result<()> {
    root.sync()?;
    for path in [KEYS, ANSWERS, &shard_path(key), &key_path(key)] {
        match root.open_dir(path) {
            Err(kms_durable::Error::NotFound) => {}
            dir => dir?.sync()?,
        }
    }
    Ok(())
}

/// Reads every key, one after the other.
pub(super) fn scan_keys(
    root: &Dir,
    keys: &StoreKeys,
    visit: &mut dyn FnMut(KeyFiles) -> Result<()>,
) -> Result<()> {
    walk(root, &mut |shard, name| {
        let uuid = parse_uuid(name, shard)?;
        let dir = root.open_dir(&key_path(&uuid))?;
        visit(KeyFiles::read(&dir, &uuid, keys, true)?)
    })
}

/// Names every directory of a key, with the one it lies in.
pub(super) fn walk(root: &Dir, visit: &mut dyn FnMut(&str, &str) -> Result<()>) -> Result<()> {
    let foreign = || damaged(Role::Key, "a foreign file is where keys are");
    let all = root.open_dir(KEYS)?;
    for (shard, kind) in all.entries_removing_stale()? {
        if kind != FileKind::Dir {
            return Err(foreign());
        }
        for (name, kind) in all.open_dir(&shard)?.entries_removing_stale()? {
            if kind != FileKind::Dir {
                return Err(foreign());
            }
            visit(&shard, &name)?;
        }
    }
    Ok(())
}

/// The UUID of a directory, if it is named as one and lies where it belongs.
pub(super) fn parse_uuid(name: &str, shard: &str) -> Result<Uuid> {
    Uuid::try_parse(name)
        .ok()
        .filter(|uuid| key_path(uuid) == format!("{KEYS}/{shard}/{name}"))
        .ok_or_else(|| damaged(Role::Key, "its directory is misnamed"))
}
