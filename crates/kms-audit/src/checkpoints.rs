//! The file of checkpoints: frames, appended and synced one by one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::Checkpoint;
use crate::error::{AuditError, Damage, Malformed, Result};
use crate::layout::{
    CHECKPOINTS, FrameKind, HEAD, check_frame_body, frame_len, head, parse_head, put_frame_body,
};
use crate::merkle::leaf_hash;
use crate::note::{MAX_NOTE, Note};

/// A checkpoint and the note that it was signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// The head of the tree.
    pub checkpoint: Checkpoint,
    /// The note, as bytes that any C2SP verifier reads.
    pub note: String,
}

impl SignedCheckpoint {
    pub(crate) fn parse(bytes: &[u8]) -> Result<(SignedCheckpoint, Note), Malformed> {
        let note = Note::parse(bytes)?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        Ok((SignedCheckpoint { checkpoint, note: note.to_string() }, note))
    }
}

/// The file.
pub(crate) struct CheckpointFile {
    file: File,
    len: u64,
    /// The last one that was in it when it was opened.
    pub(crate) latest: Option<Arc<SignedCheckpoint>>,
    /// Bytes of a torn frame that were dropped when the file was opened.
    pub(crate) dropped: u64,
}

impl CheckpointFile {
    /// Opens or makes the file; the caller syncs the directory. A last frame that is not whole is dropped.
    pub(crate) fn open(dir: &Path) -> Result<CheckpointFile> {
        let fail = |error| AuditError::Io("open the checkpoints", error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(dir.join(CHECKPOINTS)).map_err(fail)?;
        let len = file.metadata().map_err(fail)?.len();
        let mut it = CheckpointFile { file, len: 0, latest: None, dropped: 0 };
        while it.len < len {
            match it.read_frame(it.len, len).map_err(fail)? {
                Frame::Whole(payload) => {
                    let bad = |why: Malformed| it.damaged(why.to_string());
                    let (signed, _) = SignedCheckpoint::parse(&payload).map_err(bad)?;
                    let before = it.latest.as_ref().map(|latest| &latest.checkpoint);
                    if let Some(why) = before.and_then(|it| it.contradicts(&signed.checkpoint)) {
                        return Err(it.damaged(why.into()));
                    }
                    it.latest = Some(Arc::new(signed));
                    it.len += frame_len(payload.len()) as u64;
                }
                Frame::Torn => {
                    it.dropped = len - it.len;
                    it.file.set_len(it.len).map_err(fail)?;
                    break;
                }
                Frame::Bad => {
                    return Err(it.damaged("the checkpoint is not as it was written".into()));
                }
            }
        }
        it.file.sync_all().map_err(fail)?;
        Ok(it)
    }

    fn damaged(&self, why: String) -> AuditError {
        AuditError::Damaged(Damage {
            seq: None,
            file: CHECKPOINTS.into(),
            offset: self.len,
            why: why.into(),
        })
    }

    fn read_frame(&self, at: u64, len: u64) -> io::Result<Frame> {
        // A head that was cut short: what is there of it must be zeros or the start of one; it cannot be told.
        if len - at < HEAD as u64 {
            return Ok(Frame::Torn);
        }
        let mut word = [0; HEAD];
        self.file.read_exact_at(&mut word, at)?;
        let Some((FrameKind::Checkpoint, payload)) = parse_head(u64::from_le_bytes(word)) else {
            // Space that was taken and not written, when the machine lost power.
            let mut rest = vec![0; (len - at).min(1 << 20) as usize];
            self.file.read_exact_at(&mut rest, at)?;
            let zeros = rest.iter().all(|byte| *byte == 0) && rest.len() as u64 == len - at;
            return Ok(if zeros { Frame::Torn } else { Frame::Bad });
        };
        let end = at + frame_len(payload) as u64;
        if payload > MAX_NOTE {
            return Ok(Frame::Bad);
        }
        let mut body = vec![0; frame_len(payload) - HEAD];
        let there = (body.len() as u64).min(len - at - HEAD as u64) as usize;
        self.file.read_exact_at(&mut body[..there], at + HEAD as u64)?;
        if check_frame_body(&body, payload).is_some() {
            body.truncate(payload);
            return Ok(Frame::Whole(body));
        }
        let torn = body.last() == Some(&0) && len <= end;
        Ok(if torn { Frame::Torn } else { Frame::Bad })
    }

    /// Appends a checkpoint and syncs it.
    ///
    /// # Errors
    /// With `false` where the file is as before (no space), with `true` where nothing is known about it any more.
    pub(crate) fn append(&mut self, note: &str) -> Result<(), (bool, io::Error)> {
        let payload = note.as_bytes();
        let mut frame = head(FrameKind::Checkpoint, payload.len()).to_le_bytes().to_vec();
        put_frame_body(&mut frame, payload, &leaf_hash(payload));
        if let Err(error) = self.file.write_all_at(&frame, self.len) {
            return match self.file.set_len(self.len) {
                Ok(()) => Err((false, error)),
                Err(error) => Err((true, error)),
            };
        }
        self.file.sync_data().map_err(|error| (true, error))?;
        self.len += frame.len() as u64;
        Ok(())
    }
}

enum Frame {
    Whole(Vec<u8>),
    Torn,
    Bad,
}
