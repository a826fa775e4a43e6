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

    /// Begins at record `seq`, or at the first that is there if that is later. Of the records before it in their
    /// segment only lengths are read.
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

    fn segment(dir: &Path, number: u32) -> Result<Records> {
        let name = segment_name(number);
        let fail = |error| AuditError::Io("read a segment", error);
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
        let fail = |error| AuditError::Io("read a segment", error);
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
                if word == 0 {
                    return Ok(Next::End);
                }
                return Ok(self.broken("the record is not as it was written", true));
            }
            let Some((kind, len)) = parse_head(word).filter(|_| read == HEAD) else {
                let torn = word == 0 && self.used().map_err(fail)? <= frame_len(MAX_RECORD) as u64;
                return Ok(self.broken("the record is not as it was written", torn));
            };
            let mut body = std::mem::take(&mut self.payload);
            body.clear();
            body.resize(frame_len(len) - HEAD, 0);
            let there = read_up_to(&mut self.file, &mut body).map_err(fail)?;
            let leaf = if len > MAX_RECORD { None } else { check_frame_body(&body, len) };
            let marked = body.last().is_some_and(|byte| *byte != 0) && there == body.len();
            self.payload = body;
            let Some(leaf) = leaf else {
                let torn = !marked && self.rest_is_zero().map_err(fail)?;
                return Ok(self.broken("the record is not as it was written", torn));
            };
            match kind {
                FrameKind::Record => return Ok(self.entry(len, leaf)),
                FrameKind::End => match Records::segment(&self.dir, self.number + 1) {
                    Ok(next) if next.seq == self.seq => *self = next,
                    Ok(_) => return Ok(self.broken("the next segment does not follow", false)),
                    Err(AuditError::Damaged(damage)) => {
                        return Ok(Next::Broken {
                            damage: Damage { seq: Some(self.seq), ..damage },
                            torn: false,
                        });
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
        let (offset, seq) = (self.at, self.seq);
        let why = match Record::decode(&self.payload[..len]) {
            Ok(record) if record.seq == seq => None,
            Ok(_) => Some("the record is out of sequence"),
            Err(_) => Some("the record is malformed"),
        };
        if let Some(why) = why {
            return self.broken(why, false);
        }
        self.at += frame_len(len) as u64;
        self.seq += 1;
        let bytes = &self.payload[..len];
        match Record::decode(bytes) {
            Ok(record) => Next::Record(Entry { record, bytes, leaf, segment: self.number, offset }),
            Err(_) => unreachable!("it was decoded before"),
        }
    }

    fn broken(&mut self, why: &'static str, torn: bool) -> Next<'static> {
        self.stale = true;
        let damage = Damage {
            seq: Some(self.seq),
            file: segment_name(self.number).into(),
            offset: self.at,
            why: why.into(),
        };
        Next::Broken { damage, torn }
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
