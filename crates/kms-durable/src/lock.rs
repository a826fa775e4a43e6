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
}

fn read_pid(dir: &Dir) -> Option<u32> {
    let bytes = dir.read(NAME, 16).ok()?;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}
