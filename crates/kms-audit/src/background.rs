//! The log's own thread: makes the next segment, flushes, makes checkpoints, keeps hashes. Nothing that an append
//! waits for, except a segment that comes too late.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kms_core::ErrorCode;

use crate::config::OnFull;
use crate::error::{AuditError, Result};
use crate::layout::segment_name;
use crate::open::{self, durable, make_segment};
use crate::record::{Body, Refusals};
use crate::sealing::{self, Sealing};
use crate::segment::Segment;
use crate::shared::Shared;
use crate::writer::StopOnPanic;

/// How often refusals before authentication are written down.
const REFUSALS: Duration = Duration::from_secs(1);
/// How long to wait before trying again for space.
const RETRY: Duration = Duration::from_millis(200);

pub(crate) fn start(shared: Arc<Shared>) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("kms-audit".into())
        .spawn(move || run(&shared))
        .map_err(open::io("start the thread"))
}

/// When each duty was last done.
struct Times {
    flush: Instant,
    refusals: Instant,
    checkpoint: Instant,
    no_space: Option<Instant>,
}

fn run(shared: &Shared) {
    let _guard = StopOnPanic(&shared.writer);
    let now = Instant::now();
    let mut times = Times { flush: now, refusals: now, checkpoint: now, no_space: None };
    while let Ok(closing) = wait(shared, &times) {
        // What fails here is tried again, or has stopped the writer; callers meet it in their own calls.
        let _ = duties(shared, &mut times, closing);
        if closing || shared.writer.is_stopped() {
            return;
        }
    }
}

/// Sleeps until something is to be done; whether that is to close.
fn wait(shared: &Shared, times: &Times) -> Result<bool> {
    let tail = shared.writer.tail()?;
    if tail.closing {
        return Ok(true);
    }
    if tail.spare.is_none() && times.no_space.is_none() {
        return Ok(false);
    }
    let longest = shared.writer.config.flush_interval.min(RETRY);
    let (tail, _) =
        shared.writer.work.wait_timeout(tail, longest).map_err(|_| AuditError::Stopped)?;
    Ok(tail.closing)
}

fn duties(shared: &Shared, times: &mut Times, closing: bool) -> Result<()> {
    let now = Instant::now();
    let due = |last: Instant, interval: Duration| closing || now.duration_since(last) >= interval;
    if !closing && times.no_space.is_none_or(|last| due(last, RETRY)) {
        times.no_space = match reserve(shared)? {
            true => None,
            false => Some(now),
        };
    }
    if due(times.refusals, REFUSALS) {
        times.refusals = now;
        // They are kept where they find no room; what follows does not wait for that.
        let _ = write_refusals(shared);
    }
    let hashes = shared.write_hashes();
    if due(times.flush, shared.writer.config.flush_interval) && shared.writer.is_behind() {
        times.flush = now;
        shared.writer.flush()?;
    }
    let size = shared.writer.tail()?.frontier.size();
    let covered = shared.covered()?;
    let config = &shared.writer.config;
    let many = size.saturating_sub(covered) >= config.checkpoint_interval_ops;
    let failing = shared.sealing.as_ref().is_some_and(Sealing::is_failing);
    let is_due = match failing && !closing {
        true => due(times.checkpoint, sealing::RETRY),
        false => many || due(times.checkpoint, config.checkpoint_interval),
    };
    if size > covered && is_due {
        times.checkpoint = now;
        match &shared.sealing {
            Some(sealing) if !closing => sealing.ask(),
            _ => drop(shared.checkpoint()?),
        }
    }
    hashes
}

/// Sees to it that there is a spare; false where there is no space for one.
pub(crate) fn reserve(shared: &Shared) -> Result<bool> {
    let writer = &shared.writer;
    let number = {
        let tail = writer.tail()?;
        if tail.spare.is_some() {
            return Ok(true);
        }
        tail.number + 1
    };
    let len = writer.config.segment_bytes;
    let made = match make_segment(&shared.path, &shared.dir, number, &[], len) {
        Err(AuditError::Full) if writer.config.on_full == OnFull::DropOldest => {
            recycle(shared, number, len)
        }
        made => made,
    };
    let spare = made.and_then(|()| {
        Segment::map(&shared.path.join(segment_name(number)), len)
            .map_err(open::io("map a segment"))
    });
    let result = match spare {
        Ok(spare) => {
            let mut tail = writer.tail()?;
            tail.spare = Some(Arc::new(spare));
            tail.no_space = false;
            Ok(true)
        }
        Err(AuditError::Full) => {
            writer.tail()?.no_space = true;
            Ok(false)
        }
        Err(error) => {
            writer.stop();
            Err(error)
        }
    };
    writer.spare_ready.notify_all();
    result
}

/// Makes the next segment out of the oldest, whose records are dropped. It is out of the log before it is cleared, and
/// is in its new place when all is zeros.
fn recycle(shared: &Shared, number: u32, len: u64) -> Result<()> {
    let mut first = shared.first_segment.lock().map_err(|_| AuditError::Stopped)?;
    // Records can be dropped once a checkpoint covers them.
    let Some(end) = shared.droppable(*first)? else { return Err(AuditError::Full) };
    let begin = open::header_of(&shared.path, *first)?.frontier.size();
    shared.say_dropped(begin, end).map_err(|error| match error {
        // The hashes found no space.
        AuditError::Io("write the hashes", _) => AuditError::Full,
        error => error,
    })?;
    let temp = shared.path.join(".tmp-recycled");
    let fail = || open::io("reuse a segment");
    std::fs::rename(shared.path.join(segment_name(*first)), &temp).map_err(fail())?;
    *first += 1;
    shared.dir.sync().map_err(durable("sync the directory"))?;
    Segment::cut(&temp, 0, len).map_err(fail())?;
    std::fs::rename(&temp, shared.path.join(segment_name(number))).map_err(fail())?;
    shared.dir.sync().map_err(durable("sync the directory"))
}

/// One record of all refusals since the last; counts that cannot be written now are kept.
fn write_refusals(shared: &Shared) -> Result<()> {
    let refusals = &shared.writer.refusals;
    let counts: Vec<_> = ErrorCode::ALL
        .into_iter()
        .zip(refusals)
        .map(|(code, count)| (code, count.swap(0, Ordering::Relaxed)))
        .filter(|(_, count)| *count > 0)
        .collect();
    if counts.is_empty() {
        return Ok(());
    }
    let written = shared.writer.submit(Body::Refusals(Refusals { counts: counts.clone() }));
    if written.is_err() {
        for (code, count) in counts {
            refusals[code as usize].fetch_add(count, Ordering::Relaxed);
        }
    }
    written.map(|_| ())
}
