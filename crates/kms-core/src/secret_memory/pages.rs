//! Pages of secret memory from the operating system.

use std::io;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::AtomicU32;

use super::canary::ALIVE;
use super::report::{Call, TOTALS};

/// What the operating system gave to a region.
#[derive(Clone, Copy, Default)]
pub(super) struct Protection {
    pub(super) locked: bool,
    pub(super) dontdump: bool,
    pub(super) wipeonfork: bool,
}

/// Whole pages, zero at first, unmapped when dropped.
pub(super) struct Region {
    start: NonNull<u8>,
    len: usize,
    got: Protection,
}

// SAFETY: a region is an address range that it alone owns; what is in it is reached through `Bytes`.
unsafe impl Send for Region {}

impl Region {
    /// Maps `len` bytes, rounded up to whole pages, between two pages without access. `None` when there is no memory.
    pub(super) fn map(len: usize) -> Option<Region> {
        let page = sys::page_size();
        let len = len.checked_next_multiple_of(page)?;
        let start = sys::map(len, page).inspect_err(|error| TOTALS.refused(Call::Map, error));
        let start = start.ok()?;
        let got = sys::protect(start, len);
        TOTALS.mapped(len, got);
        Some(Region { start, len, got })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn got(&self) -> Protection {
        self.got
    }

    /// The `len` bytes at `offset`. The caller gives them to nobody else, and keeps the region until they are dropped.
    pub(super) fn bytes(&self, offset: usize, len: usize) -> Bytes {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len));
        // SAFETY: inside of the mapping, as was just checked.
        Bytes { start: unsafe { self.start.add(offset) }, len }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        TOTALS.unmapped(self.len, self.got);
        sys::unmap(self.start, self.len, sys::page_size());
    }
}

/// Part of a region, owned.
pub(super) struct Bytes {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: owned bytes without interior mutability, whose address does not depend on the thread.
unsafe impl Send for Bytes {}
// SAFETY: as above; a shared reference only reads.
unsafe impl Sync for Bytes {}

impl Bytes {
    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped, initialised (zero at first) and, by the promise of `Region::bytes`, nobody else's.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    #[inline]
    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Zeroes the bytes, by word: `zeroize` goes by byte, which takes longer than the rest of a small secret's life.
    #[inline]
    pub(super) fn wipe(&mut self) {
        // Slots are aligned to 32 bytes and hold whole words, so the last word may be wiped whole.
        for word in 0..self.len.div_ceil(size_of::<u64>()) {
            // SAFETY: inside of the slot. Volatile, so that it happens although nobody reads it.
            unsafe { self.start.cast::<u64>().add(word).write_volatile(0) };
        }
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    }
}

/// No protection, for want of the calls.
#[cfg(not(target_os = "linux"))]
fn not_here(calls: &[Call]) -> Protection {
    for call in calls {
        TOTALS.refused(*call, &io::ErrorKind::Unsupported.into());
    }
    Protection::default()
}

/// A word that is [`ALIVE`] in this process, and nothing in a child of it.
pub(super) fn canary() -> &'static AtomicU32 {
    sys::canary().unwrap_or(&sys::FALLBACK_CANARY)
}

#[cfg(unix)]
mod sys {
    use super::*;

    pub(super) static FALLBACK_CANARY: AtomicU32 = AtomicU32::new(ALIVE);

    pub(super) fn page_size() -> usize {
        // SAFETY: a question.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).unwrap_or(16 * 1024)
    }

    /// `len` bytes between two guards of `guard` bytes.
    pub(super) fn map(len: usize, guard: usize) -> io::Result<NonNull<u8>> {
        let whole = len.checked_add(2 * guard).ok_or(io::ErrorKind::OutOfMemory)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
        // SAFETY: a new mapping, at an address of the system's choice.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), whole, libc::PROT_NONE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: inside of that mapping.
        let start = unsafe { base.cast::<u8>().add(guard) };
        // SAFETY: whole pages inside of that mapping, which nobody else knows yet.
        let opened =
            unsafe { libc::mprotect(start.cast(), len, libc::PROT_READ | libc::PROT_WRITE) };
        if opened != 0 {
            let error = io::Error::last_os_error();
            // SAFETY: the mapping that was just made.
            unsafe { libc::munmap(base, whole) };
            return Err(error);
        }
        NonNull::new(start).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    pub(super) fn unmap(start: NonNull<u8>, len: usize, guard: usize) {
        // SAFETY: what `map` gave, guards included, and nobody uses any more.
        unsafe { libc::munmap(start.as_ptr().sub(guard).cast(), len + 2 * guard) };
    }

    pub(super) fn protect(start: NonNull<u8>, len: usize) -> Protection {
        let at = start.as_ptr().cast();
        // SAFETY: pages of ours, which the call does not change.
        let locked = ask(Call::Lock, || unsafe { libc::mlock(at, len) });
        #[cfg(target_os = "linux")]
        let advise = |call, advice| {
            // SAFETY: pages of ours; the advice changes neither them nor what may be done with them here.
            ask(call, || unsafe { libc::madvise(at, len, advice) })
        };
        #[cfg(target_os = "linux")]
        return Protection {
            locked,
            dontdump: advise(Call::DontDump, libc::MADV_DONTDUMP),
            wipeonfork: advise(Call::WipeOnFork, libc::MADV_WIPEONFORK),
        };
        #[cfg(not(target_os = "linux"))]
        Protection { locked, ..not_here(&[Call::DontDump, Call::WipeOnFork]) }
    }

    fn ask(call: Call, system_call: impl FnOnce() -> libc::c_int) -> bool {
        let given = system_call() == 0;
        if !given {
            TOTALS.refused(call, &io::Error::last_os_error());
        }
        given
    }

    /// A page that the system wipes in a child, or else a word that `fork` itself changes there.
    pub(super) fn canary() -> Option<&'static AtomicU32> {
        #[cfg(target_os = "linux")]
        if let Some(word) = wiped_word() {
            return Some(word);
        }
        extern "C" fn in_child() {
            FALLBACK_CANARY.store(0, std::sync::atomic::Ordering::Relaxed);
        }
        // SAFETY: the handler only stores to a static, which is safe in a forked child.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        None
    }

    #[cfg(target_os = "linux")]
    fn wiped_word() -> Option<&'static AtomicU32> {
        let page = page_size();
        let start = map(page, page).ok()?;
        // SAFETY: a page of ours.
        if unsafe { libc::madvise(start.as_ptr().cast(), page, libc::MADV_WIPEONFORK) } != 0 {
            unmap(start, page, page);
            return None;
        }
        // SAFETY: aligned, zero at first, and never unmapped.
        let word: &'static AtomicU32 = unsafe { start.cast().as_ref() };
        word.store(ALIVE, std::sync::atomic::Ordering::Relaxed);
        Some(word)
    }
}

/// The heap, unlocked, where there is no `mmap`; and no `fork` either.
#[cfg(not(unix))]
mod sys {
    use std::alloc::{Layout, alloc_zeroed, dealloc};

    use super::*;

    pub(super) static FALLBACK_CANARY: AtomicU32 = AtomicU32::new(ALIVE);

    pub(super) fn page_size() -> usize {
        4096
    }

    fn layout(len: usize) -> io::Result<Layout> {
        Layout::from_size_align(len, page_size()).map_err(|_| io::ErrorKind::OutOfMemory.into())
    }

    pub(super) fn map(len: usize, _guard: usize) -> io::Result<NonNull<u8>> {
        // SAFETY: no layout here is empty: regions have a page or more.
        NonNull::new(unsafe { alloc_zeroed(layout(len)?) })
            .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    pub(super) fn unmap(start: NonNull<u8>, len: usize, _guard: usize) {
        if let Ok(layout) = layout(len) {
            // SAFETY: what `map` gave, with the same layout.
            unsafe { dealloc(start.as_ptr(), layout) };
        }
    }

    pub(super) fn protect(_start: NonNull<u8>, _len: usize) -> Protection {
        not_here(&[Call::Lock, Call::DontDump, Call::WipeOnFork])
    }

    pub(super) fn canary() -> Option<&'static AtomicU32> {
        None
    }
}
