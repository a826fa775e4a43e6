//! How the writer reads its segments when it opens them: what is whole, what was torn, what was changed.
//!
//! A killed process leaves at most one frame without a head, at the very end. A machine that lost power leaves
//! what its disk had, in pages: a frame that ends in zeros, or, in `queued` durability, a page of zeros with later pages
//! behind it. All three are *torn* and are cut off, but only beyond what the last checkpoint covers, and lost pages
//! only where the machine was booted since the log was last opened. Everything else is damage.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::error::{AuditError, Damage, Result};
use crate::layout::{
    FRAME, FrameKind, HEAD, PAGE, SegmentHeader, check_frame_body, frame_len, parse_head,
    segment_name,
};
use crate::merkle::{Frontier, Hash};
use crate::record::{Body, MAX_RECORD, Record};

/// What may be cut off.
pub(crate) struct Tolerance {
    /// Records below this index are covered by a checkpoint: they must be whole.
    pub(crate) floor: u64,
    /// The boot of the machine now.
    pub(crate) boot: Option<[u8; 16]>,
}

/// Where a scan ended.
pub(crate) struct End {
    /// The tree of all whole records.
    pub(crate) frontier: Frontier,
    /// The segment that goes on, and where in it.
    pub(crate) segment: u32,
    pub(crate) len: u64,
    pub(crate) at: usize,
    /// Bytes of torn frames after that place.
    pub(crate) torn: u64,
    /// Whether the file has to be cleared from `at` on, or made longer.
    pub(crate) dirty: bool,
}

/// A segment's file in memory, with zeros for what was cut from its end.
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
    pub(crate) short: bool,
}

impl Image {
    /// Reads a file; `len` is what it was made with, where that is known.
    pub(crate) fn read(dir: &Path, number: u32, len: Option<u64>) -> Result<Image> {
        let fail = |error| AuditError::Io("read a segment", error);
        let mut bytes = Vec::new();
        let file = File::open(dir.join(segment_name(number))).map_err(fail)?;
        file.take(crate::layout::MAX_SEGMENT + 1).read_to_end(&mut bytes).map_err(fail)?;
        let known = SegmentHeader::decode(&bytes[..PAGE.min(bytes.len())]).ok().map(|it| it.len);
        let full = known.or(len).map_or(bytes.len(), |len| len as usize).max(PAGE);
        let short = bytes.len() < full;
        if bytes.len() > full {
            return Err(damaged(None, number, full, "longer than its header says"));
        }
        bytes.resize(full, 0);
        Ok(Image { bytes, short })
    }

    pub(crate) fn is_zero_from(&self, at: usize) -> bool {
        is_zero(&self.bytes[at.min(self.bytes.len())..])
    }
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

pub(crate) fn damaged(
    seq: Option<u64>,
    number: u32,
    offset: usize,
    why: &'static str,
) -> AuditError {
    AuditError::Damaged(Damage {
        seq,
        file: segment_name(number).into(),
        offset: offset as u64,
        why: why.into(),
    })
}

/// Directories whose log was written before the machine was booted, for tests.
#[cfg(test)]
mod rebooted {
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    static DIRS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

    pub(super) fn is(dir: &Path) -> bool {
        DIRS.lock().unwrap().iter().any(|it| it == dir)
    }

    pub(super) fn add(dir: &Path) {
        DIRS.lock().unwrap().push(dir.into());
    }
}

#[cfg(test)]
pub(crate) fn pretend_reboot(dir: &Path) {
    rebooted::add(dir);
}

/// Reads segments `first..=last` and calls `visit` for each record, in order, with its leaf hash and the tree
/// that it was added to.
pub(crate) fn scan(
    dir: &Path,
    first: u32,
    last: u32,
    tolerance: &Tolerance,
    visit: &mut dyn FnMut(&Record<'_>, &Hash, &Frontier) -> Result<()>,
) -> Result<End> {
    let mut frontier: Option<Frontier> = None;
    let mut boot = None;
    for number in first..=last {
        let image = Image::read(dir, number, None)?;
        let seq = frontier.as_ref().map(Frontier::size);
        let header = SegmentHeader::decode(&image.bytes[..PAGE])
            .map_err(|_| damaged(seq, number, 0, "the segment header is not as it was written"))?;
        let mut tree = header.frontier.clone();
        if header.number != number || frontier.as_ref().is_some_and(|before| *before != tree) {
            return Err(damaged(seq, number, 0, "the segment does not follow the one before it"));
        }
        let mut at = PAGE;
        loop {
            match next(&image.bytes, at) {
                Next::Record(payload, leaf) => {
                    let record = Record::decode(payload).map_err(|_| {
                        damaged(Some(tree.size()), number, at, "the record is malformed")
                    })?;
                    if record.seq != tree.size() {
                        let seq = Some(tree.size());
                        return Err(damaged(seq, number, at, "the record is out of sequence"));
                    }
                    if let Body::Opened(opened) = &record.body {
                        boot = opened.boot;
                        #[cfg(test)]
                        if rebooted::is(dir) {
                            boot = None;
                        }
                    }
                    tree.push(leaf);
                    visit(&record, &leaf, &tree)?;
                    at += frame_len(payload.len());
                }
                Next::End if image.is_zero_from(at + FRAME) && number < last => break,
                Next::End => {
                    return Err(damaged(
                        Some(tree.size()),
                        number,
                        at,
                        "a segment is missing after its end",
                    ));
                }
                Next::Nothing | Next::Bad => {
                    let rebooted = boot.is_none() || boot != tolerance.boot;
                    let later = later_segments(dir, number, last, header.len)?;
                    let torn = torn_bytes(&image, at, later, rebooted).ok_or_else(|| {
                        damaged(
                            Some(tree.size()),
                            number,
                            at,
                            "the record is not as it was written",
                        )
                    })?;
                    if torn > 0 && tree.size() < tolerance.floor {
                        let why = "the record is torn, and a checkpoint covers it";
                        return Err(damaged(Some(tree.size()), number, at, why));
                    }
                    return Ok(End {
                        frontier: tree,
                        segment: number,
                        len: header.len,
                        at,
                        torn,
                        dirty: torn > 0 || image.short,
                    });
                }
            }
        }
        frontier = Some(tree);
    }
    Err(damaged(frontier.as_ref().map(Frontier::size), last, 0, "the segment has no end"))
}

enum Next<'a> {
    Record(&'a [u8], Hash),
    End,
    /// Zeros to the end.
    Nothing,
    Bad,
}

/// The frame at `at`.
fn next(bytes: &[u8], at: usize) -> Next<'_> {
    let Some(head) = bytes.get(at..at + HEAD) else { return Next::Bad };
    let word = u64::from_le_bytes(head.try_into().unwrap_or_default());
    if word == 0 {
        return if is_zero(&bytes[at..]) { Next::Nothing } else { Next::Bad };
    }
    let Some((kind, len)) = parse_head(word) else { return Next::Bad };
    let Some(body) = bytes.get(at + HEAD..at + frame_len(len)) else { return Next::Bad };
    match (kind, check_frame_body(body, len)) {
        (FrameKind::Record, Some(leaf)) => Next::Record(&body[..len], leaf),
        (FrameKind::End, Some(_)) => Next::End,
        _ => Next::Bad,
    }
}

/// What lies in the segments after the one that goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Later {
    /// Zeros, or no more than a header: a spare, or one that was about to be begun.
    Unused,
    /// Records.
    Used,
}

fn later_segments(dir: &Path, number: u32, last: u32, len: u64) -> Result<Later> {
    for later in number + 1..=last {
        if !Image::read(dir, later, Some(len))?.is_zero_from(PAGE) {
            return Ok(Later::Used);
        }
    }
    Ok(Later::Unused)
}

/// How many bytes from `at` on were torn, by the rules above; `None` for damage.
fn torn_bytes(image: &Image, at: usize, later: Later, rebooted: bool) -> Option<u64> {
    let bytes = &image.bytes;
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let torn = used.saturating_sub(at) as u64;
    let head = bytes.get(at..at + HEAD)?;
    let word = u64::from_le_bytes(head.try_into().ok()?);
    let at_the_end = match (word, parse_head(word)) {
        // Not published: one record may be there without its head.
        (0, _) => used <= at + frame_len(MAX_RECORD),
        // Published, and its end is missing.
        (_, Some((_, len))) => used < at + frame_len(len),
        // The head itself was cut.
        (_, None) => used <= at + HEAD,
    };
    if at_the_end && later == Later::Unused {
        return Some(torn);
    }
    (rebooted && lost_page(bytes, at)).then_some(torn.max(1))
}

/// Whether a page that the frame at `at` lies in, or what is left of it from `at` on, is all zeros.
fn lost_page(bytes: &[u8], at: usize) -> bool {
    let head = bytes.get(at..at + HEAD).and_then(|head| head.try_into().ok());
    let len = head.and_then(|head| parse_head(u64::from_le_bytes(head))).map_or(0, |(_, len)| len);
    let end = (at + frame_len(len)).min(bytes.len());
    let mut from = at;
    while from < end {
        let to = (from + 1).next_multiple_of(PAGE).min(bytes.len());
        if is_zero(&bytes[from..to]) {
            return true;
        }
        from = to;
    }
    false
}
