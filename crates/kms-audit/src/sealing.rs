//! Checkpoints of a log that a device seals: a thread of their own waits for the device, and what happens while it signs
//! nothing.
//!
//! No checkpoint is made without the device's line. From the first one that failed for want of it until the next that is
//! made, operations are refused: else a device that was taken away would leave a log that grows unsealed. Refusals are
//! still recorded, and verifications, which change nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use kms_core::{ErrorCode, KmsError};

use crate::checkpoint::{Checkpoint, Signed, signed_by};
use crate::error::Result;
use crate::note::{Note, NoteSigner, NoteVerifier};
use crate::open;
use crate::shared::Shared;
use crate::writer::StopOnPanic;

/// How long to wait before a device that did not sign is asked again.
pub(crate) const RETRY: Duration = Duration::from_millis(500);
/// When a caller may come back, in milliseconds.
const RETRY_AFTER_MS: u32 = 1000;

/// The device of an open log.
pub(crate) struct Sealing {
    device: Arc<dyn NoteSigner>,
    /// The last checkpoint failed because of the device.
    failing: AtomicBool,
    why: Mutex<Option<KmsError>>,
    work: Mutex<Work>,
    asked: Condvar,
}

#[derive(Default)]
struct Work {
    wanted: bool,
    closing: bool,
}

impl Sealing {
    pub(crate) fn new(device: Arc<dyn NoteSigner>) -> Sealing {
        let (failing, why) = (AtomicBool::new(false), Mutex::default());
        Sealing { device, failing, why, work: Mutex::default(), asked: Condvar::new() }
    }

    pub(crate) fn device(&self) -> &dyn NoteSigner {
        &*self.device
    }

    /// Has a checkpoint made soon, without waiting for it.
    pub(crate) fn ask(&self) {
        self.work().wanted = true;
        self.asked.notify_one();
    }

    pub(crate) fn close(&self) {
        self.work().closing = true;
        self.asked.notify_one();
    }

    /// Whether operations may be recorded.
    ///
    /// # Errors
    /// `StoreUnavailable` while the device does not sign.
    pub(crate) fn check(&self) -> Result<(), KmsError> {
        if !self.failing.load(Ordering::Relaxed) {
            return Ok(());
        }
        let cause = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        let cause = cause.as_ref().map_or("", |it| &it.message);
        let text = format!("the device that seals the audit log does not sign: {cause}");
        let error = KmsError::new(ErrorCode::StoreUnavailable, text);
        Err(error.retry_after_ms(RETRY_AFTER_MS))
    }

    /// Whether the device did not sign the last time.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// A checkpoint was made.
    pub(crate) fn made(&self) {
        self.failing.store(false, Ordering::Relaxed);
    }

    /// Adds the device's line, which is verified: what a device gives is not believed.
    pub(crate) fn add_line(
        &self,
        checkpoint: &Checkpoint,
        note: &mut Note,
        unix_s: u64,
        verifier: &dyn NoteVerifier,
    ) -> kms_core::Result<()> {
        let line = checkpoint.line(self.device(), &note.text, unix_s).and_then(|line| {
            note.signatures.push(line);
            match signed_by(note, self.device.key(), verifier) {
                Signed::Yes(_) => Ok(()),
                _ => Err(KmsError::internal("the device gave a signature that does not hold")),
            }
        });
        line.inspect_err(|error| {
            *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
            self.failing.store(true, Ordering::Relaxed);
        })
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        // Nothing panics while it is held.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a checkpoint is wanted; false when none will be.
    fn next(&self) -> bool {
        let mut work = self.work();
        while !work.wanted && !work.closing {
            work = self.asked.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
        work.wanted = false;
        !work.closing
    }
}

/// Starts the thread that waits for the device, where there is one: the log's own has other duties meanwhile.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<Option<JoinHandle<()>>> {
    if shared.sealing.is_none() {
        return Ok(None);
    }
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("kms-audit-seal".into()).spawn(move || {
        let _guard = StopOnPanic(&shared.writer);
        while shared.sealing.as_ref().is_some_and(Sealing::next) && !shared.writer.is_stopped() {
            // It is counted, and asked for again.
            let _ = shared.checkpoint();
        }
    });
    Ok(Some(thread.map_err(open::io("start the thread"))?))
}
