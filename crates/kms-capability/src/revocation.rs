//! The list of revoked capabilities: a file that an operator, or `ronctl cap revoke`, writes.
//!
//! One id a line, with any note after a space; lines that are empty or begin with `#` are left out. The file is looked at
//! once a second, by whoever asks for admission then, so a revocation is in force well within five seconds. A file that is
//! gone, too long or that has any other line denies everybody until it is mended: nobody knows what it would have said.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::identifier::parse_id;

/// Longest list in bytes: some 400,000 ids.
pub const MAX_LIST_LEN: u64 = 16 * 1024 * 1024;
/// Time between two looks, in milliseconds.
pub const POLL_MS: u64 = 1000;
/// A file that changed less than this before it was read may have changed again within the same tick of its clock.
const TICK: Duration = Duration::from_secs(2);

/// The list, as it was read last.
pub(crate) struct Revocations {
    path: PathBuf,
    ids: Option<HashSet<Uuid>>,
    stamp: Option<Stamp>,
    looked_ms: Option<u64>,
}

#[derive(PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: SystemTime,
    inode: u64,
    /// Whether a change after this would show.
    is_settled: bool,
}

impl Revocations {
    pub(crate) fn new(path: PathBuf) -> Revocations {
        Revocations { path, ids: None, stamp: None, looked_ms: None }
    }

    /// Whether the list can be read.
    pub(crate) fn is_known(&self) -> bool {
        self.ids.is_some()
    }

    pub(crate) fn contains(&self, ids: &[Uuid]) -> bool {
        self.ids.as_ref().is_none_or(|revoked| ids.iter().any(|id| revoked.contains(id)))
    }

    /// Looks at the file if it is time to. Returns whether anything changed.
    pub(crate) fn look(&mut self, now_ms: u64) -> bool {
        if self.looked_ms.is_some_and(|looked| now_ms < looked.saturating_add(POLL_MS)) {
            return false;
        }
        self.looked_ms = Some(now_ms);
        let stamp = fs::metadata(&self.path).ok().and_then(|found| stamp(&found));
        if self.is_known() && stamp.as_ref().is_some_and(|it| it.is_settled) && stamp == self.stamp
        {
            return false;
        }
        let ids = stamp.as_ref().and_then(|_| self.read());
        self.stamp = stamp;
        let changed = ids != self.ids;
        self.ids = ids;
        changed
    }

    fn read(&self) -> Option<HashSet<Uuid>> {
        let mut text = String::new();
        let file = File::open(&self.path).ok()?;
        file.take(MAX_LIST_LEN + 1).read_to_string(&mut text).ok()?;
        if text.len() as u64 > MAX_LIST_LEN { None } else { parse(&text) }
    }
}

fn stamp(found: &Metadata) -> Option<Stamp> {
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(found);
    #[cfg(not(unix))]
    let inode = 0;
    let modified = found.modified().ok()?;
    let is_settled = SystemTime::now().duration_since(modified).is_ok_and(|age| age > TICK);
    found.is_file().then_some(Stamp { len: found.len(), modified, inode, is_settled })
}

/// The ids of a list; `None` where any line is not of one.
pub fn parse(text: &str) -> Option<HashSet<Uuid>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| parse_id(line.split(' ').next().unwrap_or_default())).collect()
}
