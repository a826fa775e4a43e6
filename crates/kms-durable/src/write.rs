//! The only writes. Each ends durable or says what it left.
//!
//! What the kernel sees of `replace("f", …)`, with `d` the directory:
//!
//! ```text
//! openat(d, ".tmp-<pid>-<n>", O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600) = t
//! write(t, …)                              until all is written
//! fsync(t)                                 the bytes, before any name leads to them
//! close(t)
//! renameat(d, ".tmp-<pid>-<n>", d, "f")    the one instant of the change
//! fsync(d)                                 the name
//! ```
//!
//! `create_new` has `linkat(d, ".tmp-…", d, "f", 0)` for the rename, which fails where `f` is there, and
//! `unlinkat(d, ".tmp-…")` before the last sync. `create_dir_atomic` does the first four steps for each file inside
//! `mkdirat(d, ".tmp-…", 0700) = s`, then `fsync(s)`, then the rename and `fsync(d)`. A crash leaves the old state or
//! the new one, and at most one `.tmp-…`, which the next start removes. `fsync` is F_FULLFSYNC on Apple's systems.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::dir::{DIR_MODE, Dir, TEMP_PREFIX};
use crate::error::{Error, Result};
use crate::faults::point;

const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

pub(crate) fn replace(dir: &Dir, name: &str, bytes: &[u8]) -> Result<()> {
    let temp = temp_file(dir, bytes)?;
    let placed = point("renameat")
        .and_then(|()| rustix::fs::renameat(&dir.0, &temp, &dir.0, name))
        .map_err(|reason| Error::placing("renameat", reason));
    cleaned(dir, &temp, false, placed)?;
    dir.sync()
}

pub(crate) fn create_new(dir: &Dir, name: &str, bytes: &[u8]) -> Result<()> {
    let temp = temp_file(dir, bytes)?;
    let placed = point("linkat")
        .and_then(|()| rustix::fs::linkat(&dir.0, &temp, &dir.0, name, AtFlags::empty()))
        .map_err(|reason| Error::placing("linkat", reason));
    cleaned(dir, &temp, false, placed)?;
    // Should this fail the second name is stale, and the next start removes it.
    let _ = unlink(dir, &temp, AtFlags::empty());
    dir.sync()
}

pub(crate) fn create_dir_atomic(dir: &Dir, name: &str, files: &[(&str, &[u8])]) -> Result<()> {
    let temp = temp_dir(dir)?;
    let filled = dir.open_dir(&temp).and_then(|inside| {
        for (name, bytes) in files {
            write_file(&inside, name, bytes)?;
        }
        synced(&inside.0)
    });
    cleaned(dir, &temp, true, filled)?;
    let placed = point("renameat")
        .and_then(|()| rustix::fs::renameat(&dir.0, &temp, &dir.0, name))
        .map_err(|reason| match reason {
            Errno::NOTEMPTY | Errno::NOTDIR => Error::Exists,
            reason => Error::placing("renameat", reason),
        });
    cleaned(dir, &temp, true, placed)?;
    dir.sync()
}

/// Removes what was not put in place. A failure to do so is not one of the change: the next start removes it.
fn cleaned(dir: &Dir, temp: &str, is_dir: bool, result: Result<()>) -> Result<()> {
    if result.is_err() {
        let _ = discard(dir, temp, is_dir);
    }
    result
}

/// Removes a temporary file, or a temporary directory with what is in it.
pub(crate) fn discard(dir: &Dir, temp: &str, is_dir: bool) -> Result<()> {
    if is_dir {
        let inside = dir.open_dir(temp)?;
        for (name, _) in inside.entries()? {
            inside.unlink(&name)?;
        }
    }
    unlink(dir, temp, if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() })
}

fn unlink(dir: &Dir, name: &str, flags: AtFlags) -> Result<()> {
    point("unlinkat")
        .and_then(|()| rustix::fs::unlinkat(&dir.0, name, flags))
        .map_err(|reason| Error::before("unlinkat", reason))
}

/// A synced file under a fresh temporary name.
fn temp_file(dir: &Dir, bytes: &[u8]) -> Result<String> {
    loop {
        let name = temp_name();
        match write_file(dir, &name, bytes) {
            // Of a process that had this id before.
            Err(Error::Exists) => {}
            result => return cleaned(dir, &name, false, result).map(|()| name),
        }
    }
}

fn temp_dir(dir: &Dir) -> Result<String> {
    loop {
        let name = temp_name();
        let made = point("mkdirat").and_then(|()| rustix::fs::mkdirat(&dir.0, &name, DIR_MODE));
        match made {
            Ok(()) => return Ok(name),
            Err(Errno::EXIST) => {}
            Err(reason) => return Err(Error::before("mkdirat", reason)),
        }
    }
}

fn temp_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{TEMP_PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Makes a file, writes all of it and syncs it.
fn write_file(dir: &Dir, name: &str, bytes: &[u8]) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = point("openat")
        .and_then(|()| retry_on_intr(|| rustix::fs::openat(&dir.0, name, flags, FILE_MODE)))
        .map_err(|reason| Error::before("openat", reason))?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = point("write")
            .and_then(|()| retry_on_intr(|| rustix::io::write(&file, rest)))
            .and_then(|written| if written == 0 { Err(Errno::IO) } else { Ok(written) })
            .map_err(|reason| Error::before("write", reason))?;
        rest = rest.get(written..).unwrap_or_default();
    }
    synced(&file)
}

/// Syncs what no name leads to yet. No space (where the file system allocates late) is no more than that: the file is
/// thrown away. Any other failure means that the disk, or the kernel's view of it, is not to be trusted.
fn synced(file: &OwnedFd) -> Result<()> {
    match point("fsync").and_then(|()| fsync(file)) {
        Ok(()) => Ok(()),
        Err(reason) => match Error::before("fsync", reason) {
            full @ Error::DiskFull { .. } => Err(full),
            _ => Err(Error::unsynced(reason)),
        },
    }
}

#[cfg(target_vendor = "apple")]
pub(crate) fn fsync(file: impl AsFd) -> Result<(), Errno> {
    // Their fsync does not reach the medium.
    rustix::fs::fcntl_fullfsync(file)
}

#[cfg(not(target_vendor = "apple"))]
pub(crate) fn fsync(file: impl AsFd) -> Result<(), Errno> {
    rustix::fs::fsync(file)
}

#[cfg(all(test, feature = "faults"))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use kms_testkit::temp_dir::TempDir;

    use super::*;
    use crate::faults::{self, Fault};

    fn open(root: &TempDir) -> Dir {
        Dir::open(root.path()).expect("it was just made")
    }

    #[test]
    fn the_traces_are_those_of_the_comment() {
        let root = TempDir::new("trace");
        let dir = open(&root);
        faults::disarm();
        dir.replace("f", b"1").unwrap();
        assert_eq!(faults::passed(), ["openat", "write", "fsync", "renameat", "fsync"]);
        faults::disarm();
        dir.create_new("g", b"1").unwrap();
        assert_eq!(faults::passed(), ["openat", "write", "fsync", "linkat", "unlinkat", "fsync"]);
        faults::disarm();
        dir.create_dir_atomic("d", &[("a", b"1"), ("b", b"2")]).unwrap();
        let file = ["openat", "write", "fsync"];
        let all = [&["mkdirat"][..], &file, &file, &["fsync", "renameat", "fsync"]].concat();
        assert_eq!(faults::passed(), all);
    }

    #[test]
    fn only_the_owner_may_read() {
        let root = TempDir::new("mode");
        let dir = open(&root);
        dir.create_new("f", b"1").unwrap();
        dir.create_dir_atomic("d", &[("a", b"1")]).unwrap();
        let mode = |name| root.path().join(name).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("f"), mode("d"), mode("d/a")), (0o600, 0o700, 0o600));
    }

    #[test]
    fn of_two_creators_one_wins() {
        let root = TempDir::new("race");
        let dir = open(&root);
        dir.create_new("f", b"first").unwrap();
        assert_eq!(dir.create_new("f", b"second"), Err(Error::Exists));
        assert_eq!(dir.read("f", 9).unwrap(), b"first");
        dir.create_dir_atomic("d", &[("a", b"first")]).unwrap();
        assert_eq!(dir.create_dir_atomic("d", &[("a", b"second")]), Err(Error::Exists));
        assert_eq!(dir.read("d/a", 9).unwrap(), b"first");
        assert_eq!(dir.create_dir_atomic("f", &[("a", b"second")]), Err(Error::Exists));
        assert_eq!(dir.remove_stale(), Ok(0), "the losers cleaned up");
    }

    /// One change, tried with each of its steps failing: the name has old bytes or new, and whoever was told that
    /// nothing changed was told the truth.
    fn each_step_fails(errno: Errno, change: impl Fn(&Dir) -> Result<()>, name: &str) {
        for step in 0.. {
            let root = TempDir::new("fail");
            let dir = open(&root);
            dir.create_new("f", b"old").expect("no fault yet");
            let old = dir.read(name, 9).ok();
            faults::arm(step, Fault::Fail(errno));
            let result = change(&dir);
            let reached = faults::passed().len() > step;
            faults::disarm();
            let now = dir.read(name, 9).ok();
            match result {
                Ok(()) => assert_eq!(now.as_deref(), Some(&b"new"[..])),
                Err(Error::InDoubt { .. }) => assert!(now == old || now.as_deref() == Some(b"new")),
                Err(_) => assert_eq!(now, old),
            }
            dir.remove_stale().expect("no fault any more");
            assert!(dir.entries().expect("a directory").len() <= 2);
            if !reached {
                return;
            }
        }
    }

    #[test]
    fn whichever_step_fails_the_file_is_the_old_one_or_the_new() {
        for errno in [Errno::IO, Errno::NOSPC] {
            each_step_fails(errno, |dir| dir.replace("f", b"new"), "f");
            each_step_fails(errno, |dir| dir.create_new("g", b"new"), "g");
            each_step_fails(errno, |dir| dir.create_dir_atomic("d", &[("a", b"new")]), "d/a");
        }
    }

    #[test]
    fn a_full_disk_is_told_apart_and_changes_nothing() {
        let root = TempDir::new("full");
        let dir = open(&root);
        for (step, call) in ["openat", "write", "fsync", "renameat"].into_iter().enumerate() {
            faults::arm(step, Fault::Fail(Errno::NOSPC));
            assert_eq!(dir.replace("f", b"new"), Err(Error::DiskFull { step: call }));
            assert_eq!(dir.read("f", 9), Err(Error::NotFound));
        }
        faults::arm(4, Fault::Fail(Errno::NOSPC));
        assert!(dir.replace("f", b"new").unwrap_err().is_in_doubt(), "it is in place, unsynced");
        faults::arm(2, Fault::Fail(Errno::IO));
        assert!(dir.replace("f", b"new").unwrap_err().is_in_doubt(), "the disk failed a sync");
        faults::disarm();
    }

    #[test]
    fn what_a_crash_left_is_removed() {
        let root = TempDir::new("stale");
        let dir = open(&root);
        std::fs::write(root.path().join(".tmp-1-1"), b"torn").unwrap();
        std::fs::create_dir(root.path().join(".tmp-1-2")).unwrap();
        std::fs::write(root.path().join(".tmp-1-2/a"), b"torn").unwrap();
        assert!(dir.entries().unwrap().is_empty());
        assert_eq!(dir.remove_stale(), Ok(2));
        assert_eq!(root.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn links_fifos_and_long_files_are_not_read() {
        let root = TempDir::new("read");
        let dir = open(&root);
        dir.create_new("f", b"12345").unwrap();
        std::os::unix::fs::symlink("f", root.path().join("link")).unwrap();
        assert_eq!(dir.read("f", 4), Err(Error::TooLong));
        assert_eq!(dir.read("f", 5).unwrap(), b"12345");
        assert!(matches!(dir.read("link", 9), Err(Error::Io { .. })));
        let fifo = root.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        assert!(matches!(dir.read("fifo", 9), Err(Error::Io { .. })));
        assert!(matches!(dir.open_dir("link"), Err(Error::Io { .. })));
    }

    #[test]
    fn a_second_holder_of_the_lock_is_told_who_has_it() {
        let root = TempDir::new("lock");
        let dir = open(&root);
        let held = crate::DirLock::acquire(&dir).unwrap();
        let refused = crate::DirLock::acquire(&open(&root)).unwrap_err();
        assert_eq!(refused, Error::Locked { pid: Some(std::process::id()) });
        drop(held);
        assert!(crate::DirLock::acquire(&dir).is_ok());
    }
}
