//! Tables of the public keys that are verified most, in bounded memory.
//!
//! A table makes verification several times as fast and costs 97 or 387 KiB and up to half a
//! millisecond to build. So one is built only for a key that verified successfully often enough: nothing
//! that a stranger sends costs a table, unless it is validly signed [`SMALL_AFTER`] times by one key.
//! When memory runs out, a table gives way if it went unused while as many other keys asked for one as
//! there are tables; else a full table shrinks to a small one; else the asker goes without. A flood of
//! keys can thus not push out the keys in use.
//!
//! Tables are a pure function of public bytes, so one cache serves the whole process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};

use arc_swap::{ArcSwapOption, Guard};
use kms_ed25519_simd::{KeyTable, TableSize, Tier};

use super::key::PublicKey;

/// Successful verifications after which a key gets a small table: it has then paid for it.
pub const SMALL_AFTER: u32 = 8;
/// Successful verifications after which it gets a full one, if there is room.
pub const FULL_AFTER: u32 = 256;
/// Memory for all tables unless set otherwise: 64 MiB.
pub const DEFAULT_CACHE_BYTES: usize = 64 << 20;
/// Keys of unknown origin that are counted at a time.
const CANDIDATES: usize = 4096;

/// A public key that remembers how often it verified, and its table once it has one.
///
/// Safe to share; a table that is being used stays alive until the call ends.
pub struct KeyHandle {
    public: PublicKey,
    successes: AtomicU32,
    last_used: AtomicU64,
    table: ArcSwapOption<Held>,
}

/// A table, counted in the cache's memory for as long as it lives.
pub(super) struct Held(KeyTable);

impl Held {
    pub(super) fn table(&self) -> &KeyTable {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        cache().bytes.fetch_sub(self.0.size().bytes(), Relaxed);
    }
}

impl KeyHandle {
    /// A handle for a key that is expected to verify often: it gets a table at its first success. A key
    /// that has a handle already is given that one, so that it never has two tables.
    pub fn import(public: PublicKey) -> Arc<KeyHandle> {
        if let Some(handle) = lookup(public.as_bytes()) {
            handle.successes.fetch_max(SMALL_AFTER - 1, Relaxed);
            return handle;
        }
        let handle = KeyHandle::with_successes(public, SMALL_AFTER - 1);
        cache().register(&handle);
        handle
    }

    /// A handle for a key of the service, which gets a table once it verified often enough.
    pub fn new(public: PublicKey) -> Arc<KeyHandle> {
        KeyHandle::with_successes(public, 0)
    }

    fn with_successes(public: PublicKey, successes: u32) -> Arc<KeyHandle> {
        Arc::new(KeyHandle {
            public,
            successes: AtomicU32::new(successes),
            last_used: AtomicU64::new(0),
            table: ArcSwapOption::empty(),
        })
    }

    /// The key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The table, if there is one now.
    pub(super) fn table(&self) -> Guard<Option<Arc<Held>>> {
        let table = self.table.load();
        if table.is_some() {
            let cache = cache();
            cache.hits.fetch_add(1, Relaxed);
            self.last_used.store(cache.tick.load(Relaxed), Relaxed);
        }
        table
    }

    /// Counts signatures that verified, and gets the key a table when it is due.
    pub(super) fn succeeded(self: &Arc<Self>, count: u32) {
        if count == 0 || self.successes.load(Relaxed) >= FULL_AFTER {
            return;
        }
        let before = self.successes.fetch_add(count, Relaxed);
        let after = before.saturating_add(count);
        let due = before < SMALL_AFTER && after >= SMALL_AFTER;
        if due && !cache().build_small(self, false) {
            return;
        }
        if after >= FULL_AFTER {
            cache().upgrade(self);
        }
    }
}

/// What the tables cost and bring, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableStats {
    /// Verifications and batch items that found a table.
    pub hits: u64,
    /// Tables built.
    pub builds: u64,
    /// Tables that gave way to others.
    pub evictions: u64,
    /// Memory of all tables now, in bytes.
    pub bytes: usize,
}

/// The counters of the process.
pub fn table_stats() -> TableStats {
    let cache = cache();
    TableStats {
        hits: cache.hits.load(Relaxed),
        builds: cache.builds.load(Relaxed),
        evictions: cache.evictions.load(Relaxed),
        bytes: cache.bytes.load(Relaxed),
    }
}

/// Bounds the memory of all tables, in bytes; 0 builds none. Tables over a lowered bound go as others
/// ask for room.
pub fn set_table_cache_bytes(limit: usize) {
    cache().limit.store(limit, Relaxed);
}

struct Cache {
    limit: AtomicUsize,
    bytes: AtomicUsize,
    hits: AtomicU64,
    builds: AtomicU64,
    evictions: AtomicU64,
    /// Wishes for tables so far: the clock by which use is measured.
    tick: AtomicU64,
    /// Who has a table. Building happens under this lock, so that the bound holds.
    owners: Mutex<Vec<Owner>>,
    /// Imported keys and owners, for callers that give bytes.
    by_bytes: RwLock<HashMap<[u8; 32], Weak<KeyHandle>>>,
    /// Successes of keys that came as bytes. A slot that is contended starts anew.
    candidates: Mutex<Vec<Candidate>>,
}

struct Owner {
    handle: Weak<KeyHandle>,
    /// Keeps the handle of a key that came as bytes.
    _keep: Option<Arc<KeyHandle>>,
}

#[derive(Clone, Copy)]
struct Candidate {
    key: [u8; 32],
    successes: u32,
}

fn cache() -> &'static Cache {
    static CACHE: OnceLock<Cache> = OnceLock::new();
    CACHE.get_or_init(|| Cache {
        limit: AtomicUsize::new(DEFAULT_CACHE_BYTES),
        bytes: AtomicUsize::new(0),
        hits: AtomicU64::new(0),
        builds: AtomicU64::new(0),
        evictions: AtomicU64::new(0),
        tick: AtomicU64::new(0),
        owners: Mutex::default(),
        by_bytes: RwLock::default(),
        candidates: Mutex::new(vec![Candidate { key: [0; 32], successes: 0 }; CANDIDATES]),
    })
}

/// The handle of a key that came as bytes, if it has earned one.
pub(super) fn lookup(key: &[u8; 32]) -> Option<Arc<KeyHandle>> {
    cache().by_bytes.read().unwrap_or_else(PoisonError::into_inner).get(key)?.upgrade()
}

/// Counts signatures that verified under a key that came as bytes and has no handle.
pub(super) fn stranger_succeeded(public: &PublicKey, count: u32) {
    let cache = cache();
    let key = public.as_bytes();
    let slot = usize::from(u16::from_le_bytes([key[3], key[17]])) % CANDIDATES;
    {
        let mut candidates = cache.candidates.lock().unwrap_or_else(PoisonError::into_inner);
        let candidate = &mut candidates[slot];
        if candidate.key != *key {
            *candidate = Candidate { key: *key, successes: 0 };
        }
        candidate.successes = candidate.successes.saturating_add(count);
        if candidate.successes < SMALL_AFTER {
            return;
        }
        candidate.successes = 0;
    }
    let handle = KeyHandle::with_successes(*public, SMALL_AFTER);
    if cache.build_small(&handle, true) {
        cache.register(&handle);
    }
}

impl Cache {
    fn register(&self, handle: &Arc<KeyHandle>) {
        let mut by_bytes = self.by_bytes.write().unwrap_or_else(PoisonError::into_inner);
        if by_bytes.len() == by_bytes.capacity() {
            by_bytes.retain(|_, handle| handle.strong_count() > 0);
        }
        by_bytes.insert(*handle.public.as_bytes(), Arc::downgrade(handle));
    }

    /// Builds a small table if there is, or can be made, room; else the key starts counting anew.
    fn build_small(&self, handle: &Arc<KeyHandle>, keep: bool) -> bool {
        let tick = self.tick.fetch_add(1, Relaxed) + 1;
        let size = TableSize::Small;
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.retain(|owner| owner.handle.upgrade().is_some_and(|key| key.table.load().is_some()));
        let room = self.make_room(&mut owners, size.bytes(), tick);
        if !room || !self.build(handle, size) {
            handle.successes.store(0, Relaxed);
            return false;
        }
        handle.last_used.store(tick, Relaxed);
        let _keep = keep.then(|| Arc::clone(handle));
        owners.push(Owner { handle: Arc::downgrade(handle), _keep });
        true
    }

    /// Replaces a small table by a full one, if there is room without taking any.
    fn upgrade(&self, handle: &Arc<KeyHandle>) {
        let _owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let growth = TableSize::Full.bytes();
        let fits = self.bytes.load(Relaxed) + growth <= self.limit.load(Relaxed);
        if fits && handle.table.load().is_some() {
            self.build(handle, TableSize::Full);
        }
    }

    fn build(&self, handle: &KeyHandle, size: TableSize) -> bool {
        let table = KeyTable::build(Tier::detect(), handle.public.as_bytes(), size);
        let Some(table) = table else { return false };
        self.bytes.fetch_add(size.bytes(), Relaxed);
        self.builds.fetch_add(1, Relaxed);
        handle.table.store(Some(Arc::new(Held(table))));
        true
    }

    /// Makes room for `bytes`: takes tables that went unused for long enough, the longest unused first;
    /// where there is none, shrinks a full one.
    fn make_room(&self, owners: &mut Vec<Owner>, bytes: usize, tick: u64) -> bool {
        let limit = self.limit.load(Relaxed);
        while self.bytes.load(Relaxed) + bytes > limit {
            let patience = owners.len() as u64;
            let used =
                |owner: &Owner| owner.handle.upgrade().map_or(0, |key| key.last_used.load(Relaxed));
            let oldest = owners.iter().enumerate().min_by_key(|(_, owner)| used(owner));
            let Some((i, owner)) = oldest else { return false };
            if used(owner) + patience <= tick {
                if let Some(key) = owners.swap_remove(i).handle.upgrade() {
                    key.table.store(None);
                    key.successes.store(0, Relaxed);
                    self.evictions.fetch_add(1, Relaxed);
                }
            } else if !self.shrink_one(owners) {
                return false;
            }
        }
        true
    }

    /// Replaces a full table by a small one. Its key stays above [`FULL_AFTER`] and asks no more.
    fn shrink_one(&self, owners: &[Owner]) -> bool {
        let full = owners.iter().filter_map(|owner| owner.handle.upgrade()).find(|key| {
            key.table.load().as_ref().is_some_and(|held| held.0.size() == TableSize::Full)
        });
        full.is_some_and(|key| self.build(&key, TableSize::Small))
    }
}
