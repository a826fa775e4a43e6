//! The allocator: slots of a power of two, from regions that hold one size each.

use std::panic::resume_unwind;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::canary::is_forked;
use super::pages::{Bytes, Region};
use super::report;
use crate::error::KmsError;

/// log2 of the smallest slot and of the largest one that shares a region.
const SMALLEST: u32 = 5;
const LARGEST: u32 = 17;
const SIZES: usize = (LARGEST - SMALLEST + 1) as usize;
/// Regions begin between these, and double up to the last with every further one of a size.
const FIRST_REGION: usize = 16 * 1024;
const LARGE_FIRST_REGION: usize = 256 * 1024;
const MOST_REGION: usize = 1024 * 1024;

/// By size; the last has regions of one slot, for whatever is larger. Each lock is held for some nanoseconds, or for the
/// system calls of one region.
static POOLS: [Mutex<Pool>; SIZES + 1] = [const { Mutex::new(Pool::new()) }; SIZES + 1];

/// Some secret bytes: zero when they are taken, wiped and given back when dropped.
pub(crate) struct Slot {
    bytes: Bytes,
    pool: u8,
    region: u32,
    index: u32,
}

/// Takes `len` zero bytes, aligned to `len` rounded up to a power of two, or to 4 KiB.
///
/// # Panics
/// Unwinds with a [`KmsError`], `StoreUnavailable`, when there is no memory, or none that can be locked where that is
/// required.
pub(super) fn take(len: usize) -> Slot {
    // Before the first secret, so that no fork after it goes unnoticed.
    is_forked();
    let pool = pool_of(len);
    let slot = lock(pool).take(pool, len);
    slot.unwrap_or_else(|error| resume_unwind(Box::new(error)))
}

fn pool_of(len: usize) -> usize {
    let size = len.max(1).checked_next_power_of_two();
    let exponent = size.map_or(usize::BITS, usize::trailing_zeros).max(SMALLEST);
    (exponent.min(LARGEST + 1) - SMALLEST) as usize
}

fn lock(pool: usize) -> MutexGuard<'static, Pool> {
    POOLS[pool].lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    pub(crate) fn new(len: usize) -> Slot {
        take(len)
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.as_mut_slice()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // A forked child has zeros already, and perhaps a lock that no thread will ever release.
        if is_forked() {
            return;
        }
        self.bytes.wipe();
        lock(usize::from(self.pool)).give_back(self.region, self.index);
    }
}

/// All regions of one size.
struct Pool {
    regions: Vec<Option<Partition>>,
    /// Positions in `regions` without a region.
    vacant: Vec<u32>,
    /// Regions with a free slot; the last is taken from.
    open: Vec<u32>,
    /// Free slots of all regions.
    free: usize,
    live_regions: u32,
}

/// A region and its slots.
struct Partition {
    region: Region,
    slots: u32,
    /// Slots from here on were never taken.
    fresh: u32,
    returned: Vec<u32>,
}

impl Partition {
    fn free(&self) -> u32 {
        self.slots - self.fresh + self.returned.len() as u32
    }
}

impl Pool {
    const fn new() -> Pool {
        Pool { regions: Vec::new(), vacant: Vec::new(), open: Vec::new(), free: 0, live_regions: 0 }
    }

    fn take(&mut self, pool: usize, len: usize) -> Result<Slot, KmsError> {
        let size = if pool < SIZES { 1 << (SMALLEST as usize + pool) } else { len };
        if self.open.is_empty() {
            self.grow(size)?;
        }
        let (Some(&at), true) = (self.open.last(), self.free > 0) else {
            return Err(report::exhausted());
        };
        let Some(partition) = &mut self.regions[at as usize] else {
            return Err(report::exhausted());
        };
        let index = partition.returned.pop().unwrap_or_else(|| {
            partition.fresh += 1;
            partition.fresh - 1
        });
        if partition.free() == 0 {
            self.open.pop();
        }
        self.free -= 1;
        let bytes = partition.region.bytes(index as usize * size, len);
        Ok(Slot { bytes, pool: pool as u8, region: at, index })
    }

    fn grow(&mut self, size: usize) -> Result<(), KmsError> {
        let (first, wanted) = self.lengths(size);
        let less = std::iter::successors(Some(wanted), |len| (*len > first).then_some(len / 2));
        let locked =
            less.filter_map(|len| Region::map(len.max(first))).find(|region| region.got().locked);
        let region = match locked {
            Some(region) => region,
            None if report::is_required() => return Err(report::unlocked()),
            None => Region::map(wanted).ok_or_else(report::exhausted)?,
        };
        let slots = (region.len() / size) as u32;
        let partition = Partition { region, slots, fresh: 0, returned: Vec::new() };
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.regions.push(None);
            self.regions.len() as u32 - 1
        });
        self.regions[at as usize] = Some(partition);
        self.open.push(at);
        self.free += slots as usize;
        self.live_regions += 1;
        Ok(())
    }

    /// The least length of a further region, and what it should have, in bytes.
    fn lengths(&self, size: usize) -> (usize, usize) {
        if size > 1 << LARGEST {
            return (size, size);
        }
        let first = (64 * size).clamp(FIRST_REGION, LARGE_FIRST_REGION).max(8 * size);
        (first, (first << self.live_regions.min(6)).min(MOST_REGION))
    }

    fn give_back(&mut self, at: u32, index: u32) {
        let Some(partition) = &mut self.regions[at as usize] else { return };
        if partition.free() == 0 {
            self.open.push(at);
        }
        partition.returned.push(index);
        self.free += 1;
        let (free, slots) = (partition.free(), partition.slots);
        // What is left must do for a while, or the next secret would map the region again.
        if free == slots && (slots == 1 || self.free - slots as usize >= slots as usize / 2) {
            self.regions[at as usize] = None;
            self.open.retain(|open| *open != at);
            self.vacant.push(at);
            self.free -= slots as usize;
            self.live_regions -= 1;
        }
    }
}
