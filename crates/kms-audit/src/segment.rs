//! A segment as the writer holds it: a preallocated file, mapped into memory. The crate's only unsafe code.
//!
//! A store into a mapping has nowhere to report a full disk: the process gets SIGBUS. So every byte of a segment is
//! allocated, written as zeros and synced before it is mapped, and the file never shrinks while it is.
//! (File systems that copy on write, such as btrfs, may still run out of space at writeback; that failure comes
//! back from the sync, and stops the writer.) Having been written once, a page is overwritten in place, so a flush
//! of records changes no metadata and waits for no journal.
#![expect(unsafe_code, reason = "stores into a mapped file")]

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::FallocateFlags;
use rustix::io::{Errno, retry_on_intr};

/// A mapped file of fixed length. Stores go through the mapping, by the one writer that the caller sees to; reads
/// through the file, at any time, of what was published.
pub(crate) struct Segment {
    file: File,
    map: MmapRaw,
    #[cfg(test)]
    pub(crate) sync_fails: std::sync::atomic::AtomicBool,
}

impl Segment {
    /// Makes a file of `first` and zeros, `len` bytes in all, allocated and synced. The caller puts it in place and syncs the
    /// directory.
    pub(crate) fn preallocate(path: &Path, first: &[u8], len: u64) -> io::Result<()> {
        #[cfg(test)]
        if full::is(path) {
            return Err(Errno::NOSPC.into());
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        allocate(&file, len)?;
        file.write_all(first)?;
        write_zeros(&mut file, len.saturating_sub(first.len() as u64))?;
        file.sync_all()
    }

    /// Makes a file of `len` bytes of one that may be shorter: as it is up to `at`, and zeros from there.
    pub(crate) fn cut(path: &Path, at: u64, len: u64) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        allocate(&file, len)?;
        file.seek(SeekFrom::Start(at))?;
        write_zeros(&mut file, len.saturating_sub(at))?;
        file.sync_all()
    }

    /// Maps a file that [`Segment::preallocate`] made.
    pub(crate) fn map(path: &Path, len: u64) -> io::Result<Segment> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if file.metadata()?.len() != len {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        // The file is inside the log directory, whose lock this process holds, and nothing of ours shortens it while it is
        // mapped. A raw mapping makes no reference, so nothing in Rust assumes that the bytes stay as they are.
        let map = MmapOptions::new().map_raw(&file)?;
        Ok(Segment {
            file,
            map,
            #[cfg(test)]
            sync_fails: false.into(),
        })
    }

    /// Bytes of the file.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Stores bytes that nobody reads until [`Segment::publish`]. The caller is the only writer.
    ///
    /// # Panics
    /// Where they do not fit.
    pub(crate) fn store(&self, at: usize, bytes: &[u8]) {
        let end = at.checked_add(bytes.len());
        assert!(end.is_some_and(|end| end <= self.map.len()), "a store outside the segment");
        // SAFETY: the range is inside the mapping (just checked), which lives as long as `self`; `bytes` is memory of Rust's
        // and cannot overlap it. There are no references to the mapping.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.map.as_mut_ptr().add(at),
                bytes.len(),
            )
        }
    }

    /// Stores a frame's head, at once and after all stores before it: whoever sees it sees them.
    ///
    /// # Panics
    /// Where it does not fit or is not aligned.
    pub(crate) fn publish(&self, at: usize, head: u64) {
        assert!(at.is_multiple_of(8) && at + 8 <= self.map.len(), "a head outside the segment");
        // SAFETY: inside the mapping and aligned to 8 (just checked; mappings begin at a page). All accesses from
        // Rust to this word after the file was mapped are this atomic one; readers use the file.
        let word = unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(at).cast()) };
        word.store(head.to_le(), Ordering::Release);
    }

    /// Makes all stores before this call durable. After a failure nothing is known about any of them: the kernel may
    /// have thrown the pages away and would report success the next time.
    pub(crate) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.sync_fails.load(Ordering::SeqCst) {
            return Err(Errno::IO.into());
        }
        if cfg!(target_os = "linux") {
            // Pages written through a mapping are pages of the file: fdatasync writes them back (mm/filemap.c).
            return self.file.sync_data();
        }
        self.map.flush()?;
        self.file.sync_all()
    }
}

/// Takes the blocks, so that a full disk shows before anything is written; not every file system can.
fn allocate(file: &File, len: u64) -> io::Result<()> {
    match retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len)) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn write_zeros(file: &mut File, len: u64) -> io::Result<()> {
    let zeros = vec![0; 256 * 1024];
    let mut left = len;
    while left > 0 {
        let chunk = zeros.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.write_all(&zeros[..chunk])?;
        left -= chunk as u64;
    }
    Ok(())
}

/// Directories whose disk is full, for tests.
#[cfg(test)]
pub(crate) mod full {
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    static FULL: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

    pub(crate) fn set(dir: &Path, full: bool) {
        let mut dirs = FULL.lock().unwrap();
        dirs.retain(|it| it != dir);
        if full {
            dirs.push(dir.into());
        }
    }

    pub(super) fn is(path: &Path) -> bool {
        FULL.lock().unwrap().iter().any(|dir| path.starts_with(dir))
    }
}
