//! Reads a log from its files, one record after the other, in bounded memory; beside a writer or offline.
//!
//! For `tail`, `export` and the verifier. It shares no code with the writer but the definitions of files, records and
//! tree.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{AuditError, Damage, Result};
use crate::layout::{
    FrameKind, HEAD, PAGE, SegmentHeader, check_frame_body, frame_len, parse_head,
    parse_segment_name, segment_name,
};
use crate::merkle::{Frontier, Hash};
use crate::record::{MAX_RECORD, Record};

/// A position in a log, and the records after it.
pub struct Records {
    dir: PathBuf,
    file: BufReader<File>,
    number: u32,
    at: u64,
    seq: u64,
    payload: Vec<u8>,
    begins: SegmentHeader,
    /// The file is not at `at` any more.
    stale: bool,
}

/// What is read next.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack")]
pub enum Next<'a> {
    /// A record whose bytes are whole.
    Record(Entry<'a>),
    /// The end of what was written so far; the same call may find more later.
    End,
    /// Bytes that are no record: a torn one where they end the log, and damage elsewhere.
    Broken {
        /// The record that is missing, and where.
        damage: Damage,
        /// Whether this is how a crash leaves the end of a log: nothing but zeros where the record goes on.
        torn: bool,
    },
}

/// What [`Records::step`] found; the record is in `payload`.
enum Step {
    Record(usize, Hash),
    End,
    Broken(Damage, bool),
}

const NOT_AS_WRITTEN: &str = "the record is not as it was written";

/// A record and where it lies.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The record.
    pub record: Record<'a>,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Their hash as a leaf.
    pub leaf: Hash,
    /// The segment's number.
    pub segment: u32,
    /// The byte in the segment at which its frame begins.
    pub offset: u64,
}

impl Entry<'_> {
    /// Bytes that the record takes in its segment.
    pub fn frame_len(&self) -> u64 {
        frame_len(self.bytes.len()) as u64
    }
}

/// Reads a log on and on, beside a writer that may prune what was not read yet. Where a record is broken it stays
/// before it: the writer may be about to finish it.
pub struct Follower {
    dir: PathBuf,
    seq: u64,
    records: Option<Records>,
    /// What is in the way now, and whether it is how a crash leaves the end of a log.
    broken: Option<(Damage, bool)>,
}

impl Follower {
    /// Begins with record `seq`, or with the first that is there if that is later.
    pub fn new(dir: &Path, seq: u64) -> Follower {
        Follower { dir: dir.into(), seq, records: None, broken: None }
    }

    /// The index of the next record.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// What is in the way of the next record, since the last call of [`Follower::visit`], and whether it is torn as in
    /// [`Next::Broken`].
    pub fn broken(&self) -> Option<&(Damage, bool)> {
        self.broken.as_ref()
    }

    /// Shows the next record, where there is one now. One that was not taken is shown again.
    ///
    /// # Errors
    /// Those of [`Records::from`] and of `take`.
    pub fn visit(&mut self, take: &mut dyn FnMut(&Entry<'_>) -> Result<()>) -> Result<bool> {
        self.broken = None;
        let records = match &mut self.records {
            Some(records) => records,
            none => none.insert(Records::from(&self.dir, self.seq)?),
        };
        let taken = match records.next() {
            Ok(Next::Record(entry)) => take(&entry).map(|()| Some(entry.record.seq + 1)),
            Ok(Next::End) => Ok(None),
            Ok(Next::Broken { damage, torn }) => {
                self.broken = Some((damage, torn));
                // Or the segment that comes next was pruned meanwhile: looked for afresh.
                self.records = None;
                return Ok(false);
            }
            Err(error) => Err(error),
        };
        match taken {
            Ok(Some(next)) => {
                self.seq = next;
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => {
                self.records = None;
                Err(error)
            }
        }
    }
}

/// The numbers of the segments in a directory, in order.
///
/// # Errors
/// `Io`; `NotFound` where there are none.
pub fn segments(dir: &Path) -> Result<Vec<u32>> {
    let fail = |error| AuditError::Io("list the directory", error);
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        numbers.extend(name.to_str().and_then(parse_segment_name));
    }
    numbers.sort_unstable();
    if numbers.is_empty() {
        Err(AuditError::NotFound("log in this directory"))
    } else {
        Ok(numbers)
    }
}

impl Records {
    /// Begins at the first record that is there.
    ///
    /// # Errors
    /// `Io`; `NotFound` without a log; `Damaged` for its first header.
    pub fn first(dir: &Path) -> Result<Records> {
        let first = segments(dir)?[0];
        Records::segment(dir, first)
    }

    /// Begins at record `seq`, or at the first that is there if that is later. The records before it in their segment are
    /// read too; where one is broken, the position is there.
    ///
    /// # Errors
    /// As [`Records::first`].
    pub fn from(dir: &Path, seq: u64) -> Result<Records> {
        let mut records = Records::first(dir)?;
        for number in segments(dir)?.into_iter().rev() {
            // One whose header cannot be read is the spare, or will be found damaged on the way.
            if let Ok(found) = Records::segment(dir, number)
                && found.seq <= seq
            {
                records = found;
                break;
            }
        }
        while records.seq < seq {
            match records.next()? {
                Next::Record(_) => {}
                _ => break,
            }
        }
        Ok(records)
    }

    /// Begins so that `count` records are left, or at the first that is there. Reads the last segment.
    ///
    /// # Errors
    /// As [`Records::first`].
    pub fn last(dir: &Path, count: u64) -> Result<Records> {
        let mut records = Records::from(dir, u64::MAX)?;
        while let Next::Record(_) = records.next()? {}
        let end = records.seq;
        Records::from(dir, end.saturating_sub(count))
    }

    fn segment(dir: &Path, number: u32) -> Result<Records> {
        let name = segment_name(number);
        let mut file =
            BufReader::with_capacity(256 * 1024, File::open(dir.join(&name)).map_err(fail)?);
        let mut page = vec![0; PAGE];
        let read = read_up_to(&mut file, &mut page).map_err(fail)?;
        let header = SegmentHeader::decode(&page[..read]).map_err(|_| Damage {
            seq: None,
            file: name.clone().into(),
            offset: 0,
            why: "the segment header is not as it was written".into(),
        });
        let begins = header.map_err(AuditError::Damaged)?;
        if begins.number != number {
            return Err(AuditError::Damaged(Damage {
                seq: Some(begins.frontier.size()),
                file: name.into(),
                offset: 0,
                why: "the segment header belongs to another segment".into(),
            }));
        }
        let seq = begins.frontier.size();
        Ok(Records {
            dir: dir.into(),
            file,
            number,
            at: PAGE as u64,
            seq,
            payload: Vec::new(),
            begins,
            stale: false,
        })
    }

    /// The index of the next record.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Bytes of the segments from this one on that hold records, or are about to.
    pub(crate) fn bytes_from_here(&self) -> Result<u64> {
        let mut bytes = 0;
        for number in segments(&self.dir)?.into_iter().filter(|number| *number >= self.number) {
            bytes +=
                Records::segment(&self.dir, number).map_or(0, |it| it.begins.len - PAGE as u64);
        }
        Ok(bytes)
    }

    /// The tree before the first record of the segment that is being read, as its header has it.
    pub(crate) fn segment_frontier(&self) -> &Frontier {
        &self.begins.frontier
    }

    /// The number of that segment.
    pub(crate) fn segment_number(&self) -> u32 {
        self.number
    }

    /// Reads on.
    ///
    /// # Errors
    /// `Io`.
    #[expect(clippy::should_implement_trait, reason = "an item borrows from the reader")]
    pub fn next(&mut self) -> Result<Next<'_>> {
        let mut step = self.step()?;
        if let Step::Broken(..) = step {
            // Beside a writer: what was copied may be half of a record that is whole by now.
            step = self.step()?;
        }
        match step {
            Step::Record(len, leaf) => Ok(self.entry(len, leaf)),
            Step::End => Ok(Next::End),
            Step::Broken(damage, torn) => Ok(Next::Broken { damage, torn }),
        }
    }

    fn step(&mut self) -> Result<Step> {
        loop {
            if std::mem::take(&mut self.stale) {
                // Zeros that were read ahead may have been written to since.
                self.file.seek(SeekFrom::Start(self.at)).map_err(fail)?;
            }
            let mut head = [0; HEAD];
            let read = read_up_to(&mut self.file, &mut head).map_err(fail)?;
            let word = u64::from_le_bytes(head);
            let rest_is_zero = word == 0 || parse_head(word).is_none();
            if rest_is_zero && self.rest_is_zero().map_err(fail)? {
                return Ok(match word {
                    0 => Step::End,
                    _ => self.broken(NOT_AS_WRITTEN, true),
                });
            }
            let Some((kind, len)) = parse_head(word).filter(|_| read == HEAD) else {
                let torn = word == 0 && self.used().map_err(fail)? <= frame_len(MAX_RECORD) as u64;
                return Ok(self.broken(NOT_AS_WRITTEN, torn));
            };
            let body = &mut self.payload;
            body.clear();
            body.resize(frame_len(len) - HEAD, 0);
            let there = read_up_to(&mut self.file, body).map_err(fail)?;
            let leaf = if len > MAX_RECORD { None } else { check_frame_body(body, len) };
            let marked = body.last().is_some_and(|byte| *byte != 0) && there == body.len();
            let Some(leaf) = leaf else {
                let torn = !marked && self.rest_is_zero().map_err(fail)?;
                return Ok(self.broken(NOT_AS_WRITTEN, torn));
            };
            match kind {
                FrameKind::Record => return Ok(Step::Record(len, leaf)),
                FrameKind::End => match Records::segment(&self.dir, self.number + 1) {
                    Ok(next) if next.seq == self.seq => *self = next,
                    Ok(_) => return Ok(self.broken("the next segment does not follow", false)),
                    Err(AuditError::Damaged(damage)) => {
                        self.stale = true;
                        let damage = Damage { seq: Some(self.seq), ..damage };
                        return Ok(Step::Broken(damage, false));
                    }
                    Err(AuditError::Io(_, error)) if error.kind() == ErrorKind::NotFound => {
                        return Ok(self.broken("the segment after this one is missing", false));
                    }
                    Err(error) => return Err(error),
                },
                FrameKind::Checkpoint => {
                    return Ok(self.broken("a checkpoint where a record belongs", false));
                }
            }
        }
    }

    fn entry(&mut self, len: usize, leaf: Hash) -> Next<'_> {
        let (offset, seq, segment) = (self.at, self.seq, self.number);
        let bytes = &self.payload[..len];
        let why = match Record::decode(bytes) {
            Ok(record) if record.seq == seq => {
                self.at += frame_len(len) as u64;
                self.seq += 1;
                return Next::Record(Entry { record, bytes, leaf, segment, offset });
            }
            Ok(_) => "the record is out of sequence",
            Err(_) => "the record is malformed",
        };
        self.stale = true;
        Next::Broken { damage: damage(seq, segment, offset, why), torn: false }
    }

    fn broken(&mut self, why: &'static str, torn: bool) -> Step {
        self.stale = true;
        Step::Broken(damage(self.seq, self.number, self.at, why), torn)
    }

    /// Whether the file has only zeros from here on.
    fn rest_is_zero(&mut self) -> io::Result<bool> {
        self.stale = true;
        let mut chunk = [0; 64 * 1024];
        loop {
            let read = read_up_to(&mut self.file, &mut chunk)?;
            if chunk[..read].iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            if read < chunk.len() {
                return Ok(true);
            }
        }
    }

    /// How far after the position the last byte lies that is not zero.
    fn used(&mut self) -> io::Result<u64> {
        self.file.seek(SeekFrom::Start(self.at))?;
        let (mut used, mut seen) = (0, 0);
        let mut chunk = [0; 64 * 1024];
        loop {
            let read = read_up_to(&mut self.file, &mut chunk)?;
            if let Some(last) = chunk[..read].iter().rposition(|byte| *byte != 0) {
                used = seen + last as u64 + 1;
            }
            seen += read as u64;
            if read < chunk.len() {
                return Ok(used);
            }
        }
    }
}

fn damage(seq: u64, segment: u32, offset: u64, why: &'static str) -> Damage {
    Damage { seq: Some(seq), file: segment_name(segment).into(), offset, why: why.into() }
}

fn fail(error: io::Error) -> AuditError {
    AuditError::Io("read a segment", error)
}

/// Fills `out`, or as much of it as there is.
pub(crate) fn read_up_to(file: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match file.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
