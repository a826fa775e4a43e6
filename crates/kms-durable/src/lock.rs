//! One writer a directory.

use std::os::fd::OwnedFd;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::dir::Dir;
use crate::error::{Error, Result};

/// The file that is locked; it holds the holder's process id, for messages only.
const NAME: &str = "lock";

/// An exclusive lock (`flock`) on a directory, held until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct DirLock(#[expect(dead_code, reason = "held for its lock")] OwnedFd);

impl DirLock {
    /// Takes the lock, without waiting.
    ///
    /// # Errors
    /// `Locked` while another holder lives, in this process too; `DiskFull`, `Io`.
    pub fn acquire(dir: &Dir) -> Result<DirLock> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let fail = |reason| Error::before("openat", reason);
        let file = retry_on_intr(|| rustix::fs::openat(&dir.0, NAME, flags, mode)).map_err(fail)?;
        match retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(Error::Locked { pid: read_pid(dir) }),
            Err(reason) => return Err(Error::before("flock", reason)),
        }
        // The id serves a message only, so a full disk does not keep the lock from being taken.
        let _ = rustix::fs::ftruncate(&file, 0)
            .and_then(|()| rustix::io::write(&file, std::process::id().to_string().as_bytes()));
        Ok(DirLock(file))
    }

    /// As [`DirLock::acquire`], for who only reads: a directory that this process cannot write, because of its medium or its
    /// permissions, is kept from writers elsewhere as far as that can be, and others may read it too.
    ///
    /// # Errors
    /// `Locked` while a writer has it; `DiskFull`, `Io`.
    pub fn acquire_to_read(dir: &Dir) -> Result<DirLock> {
        match DirLock::acquire(dir) {
            Err(Error::Io { reason: Errno::ROFS | Errno::ACCESS | Errno::PERM, .. }) => {}
            acquired => return acquired,
        }
        let fail = |reason| Error::before("openat", reason);
        let open = |name, flags| {
            let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            retry_on_intr(|| rustix::fs::openat(&dir.0, name, flags, Mode::empty()))
        };
        let file = match open(NAME, OFlags::empty()) {
            // Never opened by a writer, then: the directory itself stands for it.
            Err(Errno::NOENT) => open(".", OFlags::DIRECTORY),
            file => file,
        };
        let file = file.map_err(fail)?;
        match retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)) {
            Ok(()) => Ok(DirLock(file)),
            Err(Errno::WOULDBLOCK) => Err(Error::Locked { pid: read_pid(dir) }),
            Err(reason) => Err(Error::before("flock", reason)),
        }
    }
}

fn read_pid(dir: &Dir) -> Option<u32> {
    let bytes = dir.read(NAME, 16).ok()?;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}
