//! Opening a log: what is there is checked against its checkpoints and its anchor before anything is written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kms_core::AnchorState;
use kms_durable::{Dir, DirLock};

use crate::changes::Changes;
use crate::checkpoint::{Checkpoint, is_device};
use crate::checkpoints::CheckpointFile;
use crate::config::{Config, OpenReport, Override, Parts};
use crate::device::{self, Sealed};
use crate::error::{AnchorFault, AuditError, Result};
use crate::hashes::HashFiles;
use crate::key_file::{check_device, check_signatures, keys_damaged, read_keys};
use crate::layout::{PAGE, SegmentHeader, parse_segment_name, segment_name};
use crate::merkle::{Frontier, Hash, empty_root};
use crate::note::NoteKey;
use crate::record::Body;
use crate::scan::{End, Image, Tolerance, damaged, scan};
use crate::segment::Segment;
use crate::writer::Tail;

/// An opened directory, before the first append.
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) dir: Dir,
    pub(crate) lock: DirLock,
    pub(crate) tail: Tail,
    /// `None` where leaves are missing that were pruned: no proofs then.
    pub(crate) hashes: Option<HashFiles>,
    pub(crate) checkpoints: CheckpointFile,
    /// Number of the first segment that is there.
    pub(crate) first_segment: u32,
    pub(crate) report: OpenReport,
    /// What the anchor said, where the operator overrode it.
    pub(crate) overridden: Option<AnchorState>,
    /// The keys in force, where the signers' are others: an override is to be recorded.
    pub(crate) new_keys: bool,
    /// Who seals from here on.
    pub(crate) device: Sealed,
}

pub(crate) fn io(what: &'static str) -> impl Fn(std::io::Error) -> AuditError {
    move |error| AuditError::Io(what, error)
}

pub(crate) fn durable(what: &'static str) -> impl Fn(kms_durable::Error) -> AuditError {
    move |error| match error {
        kms_durable::Error::Locked { .. } => AuditError::Locked,
        kms_durable::Error::DiskFull { .. } => AuditError::Full,
        error => AuditError::Io(what, std::io::Error::other(error)),
    }
}

pub(crate) fn open(
    path: &Path,
    config: &Config,
    parts: &Parts,
    decision: Option<&Override>,
) -> Result<Opened> {
    config.check()?;
    let own_name = |key: &NoteKey| key.name() == config.origin.as_str();
    if parts.signers.is_empty() || !parts.signers.iter().all(|it| own_name(it.key())) {
        return Err(AuditError::AuditKey("its name is not the log's origin"));
    }
    let dir = Dir::open_or_create(path).map_err(durable("open the directory"))?;
    let lock = DirLock::acquire(&dir).map_err(durable("lock the directory"))?;
    dir.remove_stale().map_err(durable("clean the directory"))?;
    let anchor = parts.anchor.load()?;
    let checkpoints = CheckpointFile::open(path)?;
    let segments = segments(&dir)?;
    let begun = match segments {
        Some((first, _)) => checkpoints.latest.is_some() || !is_unused(path, first, config)?,
        None => checkpoints.latest.is_some(),
    };
    let overrides = |fault: AnchorFault| match decision {
        Some(it) if it.rollback => Ok(fault.to_string()),
        _ => Err(AuditError::Anchor(fault)),
    };
    let mut report = OpenReport {
        records: 0,
        first: 0,
        dropped_bytes: 0,
        dropped_checkpoint_bytes: checkpoints.dropped,
        overridden: Vec::new(),
    };
    let device = |before| device::decide(config.attested, parts.device.as_ref(), before, decision);
    if !begun {
        let device = device(None)?;
        return fresh(
            path,
            dir,
            lock,
            config,
            parts,
            anchor,
            checkpoints,
            overrides,
            report,
            device,
        );
    }
    let Some((first, last)) = segments else {
        return Err(damaged(Some(0), 0, 0, "there are checkpoints and no records"));
    };
    let latest = checkpoints.latest.as_ref().map(|it| it.checkpoint.clone());
    let (keys, sealed_by) = match read_keys(&dir)? {
        None => (None, None),
        Some(mut keys) => {
            let device = keys.pop_if(|key| is_device(key));
            (Some(keys), device)
        }
    };
    let accept_keys = decision.is_some_and(|it| it.audit_key);
    if let (Some(latest), Some(keys), false) = (&checkpoints.latest, &keys, accept_keys) {
        check_signatures(latest, keys, config, parts)?;
    }
    if latest.is_some() && keys.is_none() {
        return Err(keys_damaged("there are checkpoints and no keys"));
    }
    // Everything that the last checkpoint or the anchor does not cover is read, and what they cover compared; and
    // more where hashes for proofs are missing.
    let anchored = anchor.as_ref().map_or(0, |it| it.log_size);
    let covered = latest.as_ref().map_or(0, |it| it.size);
    let base = if anchored == 0 { covered } else { covered.min(anchored) };
    let mut hashes = HashFiles::open(path).map_err(io("open the hashes"))?;
    let complete = hashes.size() >= header_of(path, first)?.frontier.size();
    let base = if complete { base.min(hashes.size()) } else { base };
    let start = start_segment(path, first, last, base);
    let begin = header_of(path, start)?.frontier;
    let tolerance = Tolerance { floor: covered, boot: boot_id() };
    let mut leaves: Vec<Hash> = Vec::new();
    let mut roots = Roots::new(&begin, &[covered, anchored]);
    let mut chain_keys = None;
    let mut changes = Changes::new(checkpoints.latest.as_deref(), sealed_by.as_ref(), parts)?;
    let end = scan(path, start, last, &tolerance, &mut |record, leaf, tree| {
        if complete && leaves.len() < MOST_LEAVES {
            leaves.push(*leaf);
        }
        if let Body::AuditKeys(it) = &record.body {
            let key = |key: &crate::record::AuditKey<'_>| {
                NoteKey::new(it.origin, key.algorithm, key.public)
            };
            chain_keys = Some(it.keys.iter().map(key).collect::<Result<Vec<_>, _>>()?);
        }
        changes.see(record)?;
        roots.see(tree);
        Ok(())
    })?;
    let size = end.frontier.size();
    report.records = size;
    report.first = header_of(path, first)?.frontier.size();
    report.dropped_bytes = end.torn;
    check_latest(latest.as_ref(), size, &roots)?;
    let mut overridden = None;
    if let Some(fault) = compare(anchor.as_ref(), size, &roots) {
        report.overridden.push(overrides(fault)?);
        overridden = Some(anchor.unwrap_or_default());
    }
    let signers: Vec<_> = parts.signers.iter().map(|it| it.key().clone()).collect();
    let new_keys = chain_keys.or(keys).is_none_or(|keys| keys != signers);
    if new_keys {
        if !accept_keys {
            return Err(AuditError::AuditKey("the log names another"));
        }
        report.overridden.push("the audit key is not the one that the log names".into());
    }
    match changes.fault() {
        Some(why) if accept_keys => report.overridden.push(why.into()),
        Some(why) => return Err(AuditError::Sealing(why)),
        None => {}
    }
    if let (Some(latest), false) = (&checkpoints.latest, accept_keys)
        && let Some(device) = changes.at_checkpoint(sealed_by.as_ref())
    {
        check_device(latest, device, config, parts)?;
    }
    let sealed_by = changes.now(sealed_by);
    let device = device(sealed_by.as_ref())?;
    let overridden_device = device.change.as_ref().and_then(|it| it.overridden);
    report.overridden.extend(overridden_device.map(String::from));
    // What was kept for proofs is touched only now that the log is accepted.
    hashes.truncate(begin.size()).map_err(io("cut the hashes"))?;
    if complete {
        hashes.push(&leaves).map_err(io("write the hashes"))?;
        let rest = end.frontier.size() - hashes.size();
        if rest > 0 {
            push_rest(path, start, last, &tolerance, &mut hashes)?;
        }
    }
    let tail = go_on(path, &dir, last, end, Vec::new())?;
    Ok(Opened {
        path: path.into(),
        dir,
        lock,
        tail,
        hashes: complete.then_some(hashes),
        checkpoints,
        first_segment: first,
        report,
        overridden,
        new_keys,
        device,
    })
}

/// Leaves that are remembered while a log is checked: 32 MiB. Where more hashes are missing it is read once more.
const MOST_LEAVES: usize = 1 << 20;

/// Keeps the hashes of the leaves after those that are kept.
fn push_rest(
    path: &Path,
    start: u32,
    last: u32,
    tolerance: &Tolerance,
    hashes: &mut HashFiles,
) -> Result<()> {
    let mut leaves = Vec::with_capacity(4096);
    let mut next = header_of(path, start)?.frontier.size();
    let mut push = |leaves: &mut Vec<Hash>| {
        let pushed = hashes.push(leaves).map_err(io("write the hashes"));
        leaves.clear();
        pushed.map(|()| hashes.size())
    };
    let mut kept = push(&mut leaves)?;
    scan(path, start, last, tolerance, &mut |_, leaf, _| {
        if next >= kept {
            leaves.push(*leaf);
        }
        next += 1;
        if leaves.len() == 4096 {
            kept = push(&mut leaves)?;
        }
        Ok(())
    })?;
    push(&mut leaves).map(drop)
}

#[expect(clippy::too_many_arguments, reason = "what open has found so far")]
fn fresh(
    path: &Path,
    dir: Dir,
    lock: DirLock,
    config: &Config,
    parts: &Parts,
    anchor: Option<AnchorState>,
    checkpoints: CheckpointFile,
    overrides: impl Fn(AnchorFault) -> Result<String>,
    mut report: OpenReport,
    device: Sealed,
) -> Result<Opened> {
    let mut overridden = None;
    match anchor {
        Some(state) if state.log_size > 0 => {
            let fault = AnchorFault::LogOlder { log: 0, anchor: state.log_size };
            report.overridden.push(overrides(fault)?);
            overridden = Some(state);
        }
        // From here on, a log with records and no anchor is one whose anchor was taken away.
        _ => parts.anchor.advance_log(0, &empty_root())?,
    }
    let name = segment_name(0);
    dir.remove(&name).map_err(durable("remove an unused segment"))?;
    let len = config.segment_bytes;
    let header = SegmentHeader { number: 0, len, frontier: Frontier::default() }.encode();
    make_segment(path, &dir, 0, &header, len)?;
    let segment =
        Segment::map(&path.join(name), config.segment_bytes).map_err(io("map a segment"))?;
    let mut hashes = HashFiles::open(path).map_err(io("open the hashes"))?;
    hashes.truncate(0).map_err(io("cut the hashes"))?;
    let tail = new_tail(Frontier::default(), segment, 0, PAGE, Vec::new());
    Ok(Opened {
        path: path.into(),
        dir,
        lock,
        tail,
        hashes: Some(hashes),
        checkpoints,
        first_segment: 0,
        report,
        overridden,
        new_keys: true,
        device,
    })
}

fn new_tail(
    frontier: Frontier,
    segment: Segment,
    number: u32,
    at: usize,
    leaves: Vec<Hash>,
) -> Tail {
    Tail {
        frontier,
        segment: Arc::new(segment),
        number,
        at,
        spare: None,
        no_space: false,
        unsynced: Vec::new(),
        unsynced_bytes: 0,
        leaves,
        untold: 0,
        closing: false,
        frame: Vec::new(),
    }
}

/// Clears what was torn, removes what follows, and maps the segment that goes on.
fn go_on(path: &Path, dir: &Dir, last: u32, end: End, leaves: Vec<Hash>) -> Result<Tail> {
    for unused in (end.segment + 1..=last).rev() {
        dir.remove(&segment_name(unused)).map_err(durable("remove an unused segment"))?;
    }
    let file = path.join(segment_name(end.segment));
    if end.dirty {
        Segment::cut(&file, end.at as u64, end.len).map_err(io("clear a torn record"))?;
    }
    let segment = Segment::map(&file, end.len).map_err(io("map a segment"))?;
    // A killed process may have left what it never synced: from here on it counts as durable.
    segment.sync().map_err(io("sync a segment"))?;
    Ok(new_tail(end.frontier, segment, end.segment, end.at, leaves))
}

/// Preallocates a segment under its name, with these first bytes.
pub(crate) fn make_segment(
    path: &Path,
    dir: &Dir,
    number: u32,
    first: &[u8],
    len: u64,
) -> Result<()> {
    const TEMP: &str = ".tmp-segment";
    let temp = path.join(TEMP);
    let made = Segment::preallocate(&temp, first, len)
        .and_then(|()| std::fs::rename(&temp, path.join(segment_name(number))));
    if let Err(error) = made {
        // What could not be removed the next start removes.
        let _ = std::fs::remove_file(&temp);
        return Err(match error.kind() {
            std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::QuotaExceeded
            | std::io::ErrorKind::FileTooLarge => AuditError::Full,
            _ => AuditError::Io("make a segment", error),
        });
    }
    dir.sync().map_err(durable("sync the directory"))
}

/// The first and the last number; all between are there.
fn segments(dir: &Dir) -> Result<Option<(u32, u32)>> {
    let entries = dir.entries().map_err(durable("list the directory"))?;
    let mut numbers: Vec<_> =
        entries.iter().filter_map(|(name, _)| parse_segment_name(name)).collect();
    numbers.sort_unstable();
    let (Some(&first), Some(&last)) = (numbers.first(), numbers.last()) else { return Ok(None) };
    for (number, found) in (first..=last).zip(&numbers) {
        if number != *found {
            return Err(damaged(None, number, 0, "the segment is missing"));
        }
    }
    Ok(Some((first, last)))
}

/// Whether the first segment holds nothing: the log was being made when the process ended.
fn is_unused(path: &Path, first: u32, config: &Config) -> Result<bool> {
    Ok(first == 0 && Image::read(path, first, Some(config.segment_bytes))?.is_zero_from(PAGE))
}

/// The header of a segment, without the rest of it.
pub(crate) fn header_of(path: &Path, number: u32) -> Result<SegmentHeader> {
    let mut page = vec![0; PAGE];
    std::fs::File::open(path.join(segment_name(number)))
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut page))
        .map_err(io("read a segment"))?;
    SegmentHeader::decode(&page)
        .map_err(|_| damaged(None, number, 0, "the segment header is not as it was written"))
}

/// The last segment that begins at or before `size`. One whose header cannot be read is a spare, or is found damaged
/// when it is scanned.
fn start_segment(path: &Path, first: u32, last: u32, size: u64) -> u32 {
    let begins_before =
        |number: &u32| header_of(path, *number).is_ok_and(|header| header.frontier.size() <= size);
    (first..=last).rev().find(begins_before).unwrap_or(first)
}

/// The roots that a scan passes at given sizes.
struct Roots(Vec<(u64, Option<Hash>)>);

impl Roots {
    fn new(begin: &Frontier, sizes: &[u64]) -> Roots {
        let mut roots = Roots(sizes.iter().map(|size| (*size, None)).collect());
        roots.see(begin);
        roots
    }

    fn see(&mut self, tree: &Frontier) {
        for (size, root) in &mut self.0 {
            if *size == tree.size() {
                *root = Some(tree.root());
            }
        }
    }

    fn at(&self, size: u64) -> Option<Hash> {
        self.0.iter().find(|(it, _)| *it == size).and_then(|(_, root)| *root)
    }
}

fn check_latest(latest: Option<&Checkpoint>, size: u64, roots: &Roots) -> Result<()> {
    let Some(latest) = latest else { return Ok(()) };
    let refuse = |why: String| Err(AuditError::Checkpoint(why.into()));
    match roots.at(latest.size) {
        Some(root) if root == latest.root => Ok(()),
        Some(_) => refuse(format!("another root at the last checkpoint's size ({})", latest.size)),
        None => refuse(format!(
            "fewer records than the last checkpoint: {size} records, the checkpoint has {}",
            latest.size
        )),
    }
}

fn compare(anchor: Option<&AnchorState>, size: u64, roots: &Roots) -> Option<AnchorFault> {
    let Some(anchor) = anchor else { return Some(AnchorFault::Missing) };
    if anchor.log_size == 0 {
        // An anchor that only the key store ever used has seen no log at all.
        return (anchor.log_root != empty_root()).then_some(AnchorFault::Missing);
    }
    let at = anchor.log_size;
    match roots.at(at) {
        Some(root) if root == anchor.log_root => None,
        Some(_) => Some(AnchorFault::OtherRoot { anchor: at }),
        None if size < at => Some(AnchorFault::LogOlder { log: size, anchor: at }),
        None => Some(AnchorFault::Pruned { anchor: at }),
    }
}

/// The boot of the machine, where the system tells.
pub(crate) fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(uuid::Uuid::try_parse(text.trim()).ok()?.into_bytes())
}
