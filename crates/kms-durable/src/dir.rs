//! A directory by handle: what is read and listed in it, and what is changed in it.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::error::{Error, Result};
use crate::faults::point;
use crate::write;

/// Mode of directories made here.
pub(crate) const DIR_MODE: Mode = Mode::RWXU;
/// The prefix of names that are being written; nothing else may begin with it.
pub(crate) const TEMP_PREFIX: &str = ".tmp-";

/// An open directory. Names are relative to it and may have several parts; only the last is refused where it is a
/// symbolic link. Calls may come from many threads at once; two changes of one name need an order from the caller.
#[derive(Debug)]
pub struct Dir(pub(crate) OwnedFd);

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A link, a socket, anything else.
    Other,
}

const OPEN_DIR: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

impl Dir {
    /// Opens a directory by path. A link at its end is followed: where the data lives is the operator's choice.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub fn open(path: &Path) -> Result<Dir> {
        let flags = OPEN_DIR.difference(OFlags::NOFOLLOW);
        let opened = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()));
        opened.map(Dir).map_err(|reason| Error::before("openat", reason))
    }

    /// Opens a directory by path, made with mode 0700 where it is missing; its parent must be there, and is synced.
    ///
    /// # Errors
    /// As [`Dir::ensure_dir`]; `NotFound` without a parent.
    pub fn open_or_create(path: &Path) -> Result<Dir> {
        match Dir::open(path) {
            Err(Error::NotFound) => {}
            opened => return opened,
        }
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(Error::NotFound)?;
        Dir::open(parent)?.ensure_dir(name)?;
        Dir::open(path)
    }

    /// Opens a directory in this one.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub fn open_dir(&self, name: &str) -> Result<Dir> {
        let opened = retry_on_intr(|| rustix::fs::openat(&self.0, name, OPEN_DIR, Mode::empty()));
        opened.map(Dir).map_err(|reason| Error::before("openat", reason))
    }

    /// The bytes of a regular file of at most `max` bytes.
    ///
    /// # Errors
    /// `NotFound`, `TooLong`, `Io`.
    pub fn read(&self, name: &str, max: usize) -> Result<Vec<u8>> {
        // Without NONBLOCK the open of a fifo would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let fail = |reason| Error::before("openat", reason);
        let file = retry_on_intr(|| rustix::fs::openat(&self.0, name, flags, Mode::empty()))
            .map_err(fail)?;
        let stat = rustix::fs::fstat(&file).map_err(fail)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(fail(Errno::INVAL));
        }
        let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
        if size > max {
            return Err(Error::TooLong);
        }
        // One byte more than there is, so that the end shows.
        let mut bytes = vec![0; size + 1];
        let mut len = 0;
        loop {
            let read = retry_on_intr(|| rustix::io::read(&file, &mut bytes[len..]))
                .map_err(|reason| Error::before("read", reason))?;
            len += read;
            if read == 0 {
                bytes.truncate(len);
                return Ok(bytes);
            }
            if len > size {
                return Err(Error::TooLong);
            }
        }
    }

    /// Every name in the directory but those being written, in no order. A name that is not UTF-8 is shown with
    /// replacement characters, so it fits no name that was made here.
    ///
    /// # Errors
    /// `Io`.
    pub fn entries(&self) -> Result<Vec<(String, FileKind)>> {
        let mut entries = self.all_entries()?;
        entries.retain(|(name, _)| !name.starts_with(TEMP_PREFIX));
        Ok(entries)
    }

    /// [`Dir::entries`] and [`Dir::remove_stale`] in one listing.
    ///
    /// # Errors
    /// As both.
    pub fn entries_removing_stale(&self) -> Result<Vec<(String, FileKind)>> {
        let (stale, entries): (Vec<_>, Vec<_>) =
            self.all_entries()?.into_iter().partition(|(name, _)| name.starts_with(TEMP_PREFIX));
        for (name, kind) in stale {
            write::discard(self, &name, kind == FileKind::Dir)?;
        }
        Ok(entries)
    }

    /// Puts `bytes` in the place of `name`, or makes it: readers see the old file or the new one.
    ///
    /// # Errors
    /// `DiskFull` and `Io` change nothing; `InDoubt`.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write::replace(self, name, bytes)
    }

    /// Makes `name`, which must not be there: of two writers one wins, and the loser changes nothing.
    ///
    /// # Errors
    /// `Exists`, `DiskFull` and `Io` change nothing; `InDoubt`.
    pub fn create_new(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write::create_new(self, name, bytes)
    }

    /// Makes the directory `name` with all its files at once; it must not be there, unless it is empty.
    ///
    /// # Errors
    /// As [`Dir::create_new`].
    pub fn create_dir_atomic(&self, name: &str, files: &[(&str, &[u8])]) -> Result<()> {
        write::create_dir_atomic(self, name, files)
    }

    /// Makes an empty directory where it is missing.
    ///
    /// # Errors
    /// As [`Dir::replace`].
    pub fn ensure_dir(&self, name: &str) -> Result<()> {
        point("mkdirat").map_err(|reason| Error::placing("mkdirat", reason))?;
        match rustix::fs::mkdirat(&self.0, name, DIR_MODE) {
            Ok(()) => self.sync(),
            Err(Errno::EXIST) => Ok(()),
            Err(reason) => Err(Error::placing("mkdirat", reason)),
        }
    }

    /// Removes a file; one that is missing is removed already, and its directory is synced all the same.
    ///
    /// # Errors
    /// `InDoubt`, `Io`.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.unlink(name)?;
        self.sync()
    }

    /// Removes a file without a sync: after a power cut it may be there again. For what is ignored then.
    ///
    /// # Errors
    /// `InDoubt`, `Io`.
    pub fn unlink(&self, name: &str) -> Result<()> {
        point("unlinkat").map_err(|reason| Error::placing("unlinkat", reason))?;
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(reason) => Err(Error::placing("unlinkat", reason)),
        }
    }

    /// Makes what was put in place and removed here outlive a power cut.
    ///
    /// # Errors
    /// `InDoubt`.
    pub fn sync(&self) -> Result<()> {
        point("fsync").map_err(Error::unsynced)?;
        write::fsync(&self.0).map_err(Error::unsynced)
    }

    /// Removes what an interrupted change left behind, and answers how much that was. Only for the one process that
    /// holds the lock, while nothing is being written.
    ///
    /// # Errors
    /// `InDoubt`, `Io`.
    pub fn remove_stale(&self) -> Result<usize> {
        let mut count = 0;
        for (name, kind) in self.all_entries()? {
            if name.starts_with(TEMP_PREFIX) {
                write::discard(self, &name, kind == FileKind::Dir)?;
                count += 1;
            }
        }
        Ok(count)
    }

    fn all_entries(&self) -> Result<Vec<(String, FileKind)>> {
        // A handle of its own: positions are kept by open file, and other threads list too.
        let own = self.open_dir(".")?;
        let fail = |reason| Error::before("getdents64", reason);
        let mut entries = Vec::new();
        list(&own.0, |name, kind| {
            if name != "." && name != ".." {
                entries.push((name.to_owned(), kind));
            }
        })
        .map_err(fail)?;
        Ok(entries)
    }
}

fn list(dir: &OwnedFd, mut found: impl FnMut(&str, FileKind)) -> Result<(), Errno> {
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        found(&entry.file_name().to_string_lossy(), kind(entry.file_type()));
    }
    Ok(())
}

/// A file system that does not say (`DT_UNKNOWN`) counts as other; those that do not are not for key stores.
fn kind(kind: FileType) -> FileKind {
    match kind {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Dir,
        _ => FileKind::Other,
    }
}
