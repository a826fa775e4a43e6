//! Reads the file of checkpoints, one after the other; shares no code with the writer.

use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::error::{AuditError, Damage, Result};
use crate::layout::{CHECKPOINTS, FrameKind, HEAD, check_frame_body, frame_len, parse_head};
use crate::note::{MAX_NOTE, Note};
use crate::reader::read_up_to;

/// A checkpoint, the note that it was signed in, and where that lies.
pub(crate) struct Stored {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) note: Note,
    /// The byte in the file.
    pub(crate) offset: u64,
}

/// The checkpoints of a log, as far as the file went when it was opened.
pub(crate) struct CheckpointReader {
    file: Option<BufReader<File>>,
    at: u64,
    len: u64,
    torn: bool,
}

impl CheckpointReader {
    /// Begins with the first; a log without the file has none.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn open(dir: &Path) -> Result<CheckpointReader> {
        match File::open(dir.join(CHECKPOINTS)) {
            Ok(file) => {
                let len = file.metadata().map_err(fail)?.len();
                Ok(CheckpointReader { file: Some(BufReader::new(file)), at: 0, len, torn: false })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(CheckpointReader { file: None, at: 0, len: 0, torn: false })
            }
            Err(error) => Err(fail(error)),
        }
    }

    /// Where the file ends in a torn checkpoint, as a crash leaves it.
    pub(crate) fn torn_at(&self) -> Option<u64> {
        self.torn.then_some(self.at)
    }

    /// The next one; none at the end and where the file is torn.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub(crate) fn next(&mut self) -> Result<Option<Stored>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        if self.torn || self.at >= self.len {
            return Ok(None);
        }
        let (left, offset) = (self.len - self.at, self.at);
        let mut head = [0; HEAD];
        if read_up_to(file, &mut head).map_err(fail)? < HEAD {
            self.torn = true;
            return Ok(None);
        }
        let changed = || damaged(offset, "the checkpoint is not as it was written");
        let Some((FrameKind::Checkpoint, len @ ..=MAX_NOTE)) = parse_head(u64::from_le_bytes(head))
        else {
            return Err(changed());
        };
        let mut body = vec![0; frame_len(len) - HEAD];
        let read = read_up_to(file, &mut body).map_err(fail)?;
        if check_frame_body(&body, len).is_none() {
            let unfinished = read < body.len() || body.last() == Some(&0);
            self.torn = left <= frame_len(len) as u64 && unfinished;
            return if self.torn { Ok(None) } else { Err(changed()) };
        }
        self.at += frame_len(len) as u64;
        let parsed = Note::parse(&body[..len]).and_then(|note| {
            Ok(Stored { checkpoint: Checkpoint::parse(&note.text)?, note, offset })
        });
        match parsed {
            Ok(stored) => Ok(Some(stored)),
            Err(_) => Err(damaged(offset, "the checkpoint is malformed")),
        }
    }
}

fn fail(error: std::io::Error) -> AuditError {
    AuditError::Io("read the checkpoints", error)
}

fn damaged(offset: u64, why: &'static str) -> AuditError {
    AuditError::Damaged(Damage { seq: None, file: CHECKPOINTS.into(), offset, why: why.into() })
}
