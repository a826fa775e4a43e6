//! Tables of the public keys that are verified most, in bounded memory.
//!
//! A table makes verification several times as fast and costs 97 or 387 KiB and up to half a
//! millisecond to build. So one is built only for a key that verified successfully often enough: nothing
//! that a stranger sends costs a table, unless it is validly signed [`SMALL_AFTER`] times by one key, and then the
//! building adds a quarter to what those verifications cost.
//!
//! When memory has run out, a key goes without, and asks again after twice as many successes, until it has verified
//! [`FULL_AFTER`] times. Then a table gives way to it that went unused while as many other keys asked for one as there
//! are tables; else the full table that was unused longest shrinks. A flood of keys can thus neither push out the keys
//! in use nor keep the processor busy with building.
//!
//! Tables are a pure function of public bytes, so one cache serves the whole process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};

use arc_swap::{ArcSwapOption, Guard};
use kms_ed25519_simd::{KeyTable, TableSize, Tier};

use super::key::PublicKey;

/// Successful verifications after which a key gets a small table: it has then paid for it.
pub const SMALL_AFTER: u32 = 64;
/// Successful verifications after which it gets a full one, if there is room.
pub const FULL_AFTER: u32 = 512;
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
        let size = self.table.load().as_ref().map(|held| held.0.size());
        // A key with a full table, which is most of them, is not counted.
        if count == 0 || size == Some(TableSize::Full) {
            return;
        }
        let before = self.successes.fetch_add(count, Relaxed);
        let after = before.saturating_add(count);
        let often = before / FULL_AFTER < after / FULL_AFTER;
        if size.is_none() && !(asks(before, after) && cache().build_small(self, after, false)) {
            return;
        }
        if often {
            cache().upgrade(self);
        }
    }
}

/// Whether a key without a table asks for one on its way from `before` to `after` successes: at [`SMALL_AFTER`], and
/// then each time that they have doubled, up to [`FULL_AFTER`]; past that each time that as many have come again.
fn asks(before: u32, after: u32) -> bool {
    let mut step = SMALL_AFTER;
    while step < FULL_AFTER {
        if before < step && after >= step {
            return true;
        }
        step *= 2;
    }
    before / FULL_AFTER < after / FULL_AFTER
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
pub(super) fn stranger_succeeded(key: &[u8; 32], count: u32) {
    let cache = cache();
    let slot = usize::from(u16::from_le_bytes([key[3], key[17]])) % CANDIDATES;
    let successes = {
        let mut candidates = cache.candidates.lock().unwrap_or_else(PoisonError::into_inner);
        let candidate = &mut candidates[slot];
        if candidate.key != *key {
            *candidate = Candidate { key: *key, successes: 0 };
        }
        let before = candidate.successes;
        candidate.successes = before.saturating_add(count);
        if !asks(before, candidate.successes) {
            return;
        }
        candidate.successes
    };
    // Decoded only now: most strangers never get here.
    let Some(public) = PublicKey::decode(key) else { return };
    let handle = KeyHandle::with_successes(public, successes);
    if cache.build_small(&handle, successes, true) {
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

    /// Builds a small table if there is, or can be made, room.
    fn build_small(&self, handle: &Arc<KeyHandle>, successes: u32, keep: bool) -> bool {
        let tick = self.tick.fetch_add(1, Relaxed) + 1;
        let size = TableSize::Small;
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.retain(|owner| owner.handle.upgrade().is_some_and(|key| key.table.load().is_some()));
        let room = if successes >= FULL_AFTER {
            self.make_room(&mut owners, size.bytes(), tick)
        } else {
            self.bytes.load(Relaxed) + size.bytes() <= self.limit.load(Relaxed)
        };
        if !room || !self.build(handle, size) {
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

    /// Makes room for `bytes`: takes tables that went unused for long enough, the longest unused first; where there
    /// is none, shrinks a full one.
    fn make_room(&self, owners: &mut Vec<Owner>, bytes: usize, tick: u64) -> bool {
        let limit = self.limit.load(Relaxed);
        while self.bytes.load(Relaxed) + bytes > limit {
            let patience = owners.len() as u64;
            let oldest = owners.iter().enumerate().min_by_key(|(_, owner)| last_used(owner));
            let Some((i, owner)) = oldest else { return false };
            if last_used(owner) + patience <= tick {
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

    /// Replaces the full table that was unused longest by a small one. Its key may earn a full one again.
    fn shrink_one(&self, owners: &[Owner]) -> bool {
        let full = owners
            .iter()
            .filter_map(|owner| owner.handle.upgrade())
            .filter(|key| {
                let table = key.table.load();
                table.as_ref().is_some_and(|held| held.0.size() == TableSize::Full)
            })
            .min_by_key(|key| key.last_used.load(Relaxed));
        full.is_some_and(|key| {
            key.successes.store(SMALL_AFTER, Relaxed);
            self.build(&key, TableSize::Small)
        })
    }
}

fn last_used(owner: &Owner) -> u64 {
    owner.handle.upgrade().map_or(0, |key| key.last_used.load(Relaxed))
}
