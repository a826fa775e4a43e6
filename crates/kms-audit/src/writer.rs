//! Appending: one record after the other into the mapped segment, and the sync that callers share.
//!
//! One mutex orders appends; it is held for a copy, two clock readings and about six blocks of SHA-256, well under a
//! microsecond. Encoding is done before it is taken. Syncs are led by whichever caller comes first: it syncs
//! what was appended until then, for all who wait, while others append on. No thread is woken to do it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use kms_core::{Clock, ErrorCode};

use crate::config::{Config, Durability};
use crate::error::{AuditError, Malformed, Result};
use crate::layout::{FRAME, FrameKind, HEAD, PAGE, SegmentHeader, frame_len, head, put_frame_body};
use crate::merkle::{Frontier, Hash, leaf_hash};
use crate::record::{Body, Dropped, Record};
use crate::segment::Segment;

/// The longest that an append waits for the next segment while it is being prepared.
const SPARE_WAIT: Duration = Duration::from_secs(2);
/// Bytes at the end of a segment that only the record of dropped records may use: without it, a full disk could not
/// be relieved.
const RESERVE: usize = 64;

/// The end of the log, under the mutex that orders appends.
pub(crate) struct Tail {
    pub(crate) frontier: Frontier,
    pub(crate) segment: Arc<Segment>,
    pub(crate) number: u32,
    pub(crate) at: usize,
    /// The next segment, ready to be written.
    pub(crate) spare: Option<Arc<Segment>>,
    /// The last attempt to make a spare failed: waiting for one is pointless.
    pub(crate) no_space: bool,
    /// Segments before the current one that hold records which were not synced.
    pub(crate) unsynced: Vec<Arc<Segment>>,
    pub(crate) unsynced_bytes: u64,
    /// Leaves that are not in the hash files.
    pub(crate) leaves: Vec<Hash>,
    /// Records since the background thread was last told.
    pub(crate) untold: u64,
    pub(crate) closing: bool,
    /// Frames are built here, to be stored in one copy.
    pub(crate) frame: Vec<u8>,
}

/// What is durable.
pub(crate) struct Synced {
    /// Records.
    pub(crate) size: u64,
    /// Somebody syncs just now.
    busy: bool,
}

/// What appends work on; shared by callers and the background thread.
pub(crate) struct Writer {
    pub(crate) config: Config,
    clock: Arc<dyn Clock>,
    tail: Mutex<Tail>,
    /// Tells the background thread that a spare is needed, or a checkpoint due, or the log closing.
    pub(crate) work: Condvar,
    /// Tells appends that there is a spare, or that there will be none.
    pub(crate) spare_ready: Condvar,
    synced: Mutex<Synced>,
    synced_changed: Condvar,
    stopped: AtomicBool,
    /// Refusals before authentication since the last record of them, by code.
    pub(crate) refusals: [AtomicU64; ErrorCode::ALL.len()],
}

thread_local! {
    static ENCODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Writer {
    pub(crate) fn new(config: Config, clock: Arc<dyn Clock>, tail: Tail) -> Writer {
        // What was found when the log was opened is synced before anything is appended.
        let size = tail.frontier.size();
        Writer {
            config,
            clock,
            tail: Mutex::new(tail),
            work: Condvar::new(),
            spare_ready: Condvar::new(),
            synced: Mutex::new(Synced { size, busy: false }),
            synced_changed: Condvar::new(),
            stopped: AtomicBool::new(false),
            refusals: Default::default(),
        }
    }

    /// The end of the log. A panic while it was changed stops the writer.
    pub(crate) fn tail(&self) -> Result<MutexGuard<'_, Tail>> {
        let tail = self.tail.lock().map_err(|_| AuditError::Stopped)?;
        if self.is_stopped() { Err(AuditError::Stopped) } else { Ok(tail) }
    }

    /// For good: nothing is appended or acknowledged any more.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.spare_ready.notify_all();
        self.synced_changed.notify_all();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Appends a record and waits for what the durability promises; gives its index.
    pub(crate) fn append(&self, body: Body<'_>) -> Result<u64> {
        let seq = self.submit(body)?;
        if self.config.durability == Durability::Fsync {
            self.wait_durable(seq)?;
        }
        Ok(seq)
    }

    /// Appends a record; a killed process does not lose it, a power cut may. Gives its index.
    pub(crate) fn submit(&self, body: Body<'_>) -> Result<u64> {
        ENCODED.with_borrow_mut(|encoded| {
            encoded.clear();
            Record { seq: 0, utc_ms: 0, mono_ms: 0, body }.encode(encoded)?;
            self.append_encoded(encoded, RESERVE)
        })
    }

    /// As [`Writer::submit`], for what may be left out: it takes no room that others may need.
    pub(crate) fn submit_droppable(&self, body: Body<'_>) -> Result<u64> {
        {
            let tail = self.tail()?;
            if tail.no_space || tail.unsynced_bytes > self.config.max_backlog_bytes / 2 {
                return Err(AuditError::Backlog);
            }
        }
        self.submit(body)
    }

    /// Appends what must be said before records are dropped, in the room that is kept for it.
    pub(crate) fn submit_dropped(&self, dropped: Dropped) -> Result<u64> {
        let mut encoded = Vec::with_capacity(RESERVE);
        let body = Body::Dropped(dropped);
        Record { seq: 0, utc_ms: 0, mono_ms: 0, body }.encode(&mut encoded)?;
        self.append_encoded(&mut encoded, 0)
    }

    fn append_encoded(&self, encoded: &mut [u8], reserve: usize) -> Result<u64> {
        let len = frame_len(encoded.len());
        let mut tail = self.tail()?;
        if tail.unsynced_bytes + len as u64 > self.config.max_backlog_bytes {
            return Err(AuditError::Backlog);
        }
        if !tail.fits(len + reserve) {
            tail = self.roll(tail, len + reserve)?;
        }
        let seq = tail.frontier.size();
        Record::stamp(encoded, seq, self.clock.unix_ms(), self.clock.monotonic_ms());
        let leaf = leaf_hash(encoded);
        tail.put(FrameKind::Record, encoded, &leaf);
        tail.frontier.push(leaf);
        tail.leaves.push(leaf);
        tail.untold += 1;
        if tail.untold >= self.config.checkpoint_interval_ops {
            tail.untold = 0;
            self.work.notify_one();
        }
        Ok(seq)
    }

    /// Ends the segment and goes on in the spare.
    fn roll<'a>(
        &'a self,
        mut tail: MutexGuard<'a, Tail>,
        len: usize,
    ) -> Result<MutexGuard<'a, Tail>> {
        // Somebody else may have rolled while this thread waited.
        while !tail.fits(len) {
            if let Some(spare) = tail.spare.take() {
                tail.begin(spare);
                self.work.notify_one();
                continue;
            }
            if tail.no_space {
                return Err(AuditError::Full);
            }
            self.work.notify_one();
            let (guard, waited) =
                self.spare_ready.wait_timeout(tail, SPARE_WAIT).map_err(|_| AuditError::Stopped)?;
            tail = guard;
            if self.is_stopped() {
                return Err(AuditError::Stopped);
            }
            if waited.timed_out() && tail.spare.is_none() {
                return Err(AuditError::Backlog);
            }
        }
        Ok(tail)
    }

    /// Waits until the record with this index is durable. Whoever comes first syncs for all.
    pub(crate) fn wait_durable(&self, seq: u64) -> Result<()> {
        let mut synced = self.synced.lock().map_err(|_| AuditError::Stopped)?;
        while synced.size <= seq {
            if self.is_stopped() {
                return Err(AuditError::Stopped);
            }
            if synced.busy {
                synced = self.synced_changed.wait(synced).map_err(|_| AuditError::Stopped)?;
                continue;
            }
            synced.busy = true;
            drop(synced);
            let result = self.sync_all();
            synced = self.synced.lock().map_err(|_| AuditError::Stopped)?;
            synced.busy = false;
            if let Ok(size) = &result {
                synced.size = *size;
            }
            self.synced_changed.notify_all();
            result?;
        }
        Ok(())
    }

    /// Makes everything that was appended before this call durable; gives the number of records that are.
    pub(crate) fn flush(&self) -> Result<u64> {
        let size = self.tail()?.frontier.size();
        if size > 0 {
            self.wait_durable(size - 1)?;
        }
        Ok(size)
    }

    fn sync_all(&self) -> Result<u64> {
        let (size, segments) = {
            let mut tail = self.tail()?;
            let mut segments = std::mem::take(&mut tail.unsynced);
            segments.push(tail.segment.clone());
            // What is appended from here on may be in this sync, and is counted for the next one.
            tail.unsynced_bytes = 0;
            (tail.frontier.size(), segments)
        };
        for segment in segments {
            segment.sync().map_err(|error| {
                self.stop();
                AuditError::Io("sync a segment", error)
            })?;
        }
        Ok(size)
    }

    /// Whether there are records that were not synced.
    pub(crate) fn is_behind(&self) -> bool {
        let size = self.tail().map_or(0, |tail| tail.frontier.size());
        self.synced.lock().is_ok_and(|synced| synced.size < size)
    }
}

/// Without one of its threads a log would append on, and sync or sign nothing: a panic of it stops the log.
pub(crate) struct StopOnPanic<'a>(pub(crate) &'a Writer);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

impl Tail {
    /// Whether a frame of this length, and an end frame after it, fit into the segment.
    pub(crate) fn fits(&self, len: usize) -> bool {
        self.at + len + FRAME <= self.segment.len()
    }

    /// Stores a frame: its body, then its head.
    fn put(&mut self, kind: FrameKind, payload: &[u8], leaf: &Hash) {
        self.frame.clear();
        put_frame_body(&mut self.frame, payload, leaf);
        self.segment.store(self.at + HEAD, &self.frame);
        self.segment.publish(self.at, head(kind, payload.len()));
        self.at += frame_len(payload.len());
        self.unsynced_bytes += frame_len(payload.len()) as u64;
    }

    /// Goes on in the next segment. Its header is whole before the end frame of the old one says that it is there.
    fn begin(&mut self, next: Arc<Segment>) {
        let number = self.number + 1;
        let frontier = self.frontier.clone();
        let header = SegmentHeader { number, len: next.len() as u64, frontier };
        next.store(0, &header.encode());
        self.put(FrameKind::End, &[], &leaf_hash(&[]));
        self.unsynced.push(std::mem::replace(&mut self.segment, next));
        self.number = number;
        self.at = PAGE;
    }
}

/// Longest text of a record.
const MAX_TEXT: usize = 255;

/// As much of a message as a record takes, without control characters.
pub(crate) fn fit(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace(|c: char| c.is_ascii_control(), " ")
}

/// The text, where a record takes it.
pub(crate) fn checked<'a>(field: &'static str, text: &'a str) -> Result<&'a str> {
    if text.len() > MAX_TEXT { Err(Malformed(field).into()) } else { Ok(text) }
}
