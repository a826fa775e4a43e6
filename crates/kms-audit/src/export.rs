//! Ships records to a sink within a second of their append.
//!
//! It reads the segments like any other reader, on a thread of its own, so a slow sink holds up nothing: not the
//! writer, not its flushes. What was pruned before the sink took it is skipped, and the sink is told.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{AuditError, Result};
use crate::json;
use crate::reader::{Entry, Follower};

/// How long to wait for new records, and after a failure of the sink.
const POLL: Duration = Duration::from_millis(200);

/// Where records go. It remembers its position itself, and gives it when export begins.
pub trait ExportSink: Send {
    /// The index of the first record that it has not got.
    ///
    /// # Errors
    /// When it cannot be reached; export does not begin.
    fn position(&mut self) -> io::Result<u64>;

    /// Takes a record. After an error the same record is offered again.
    ///
    /// # Errors
    /// When it cannot take it now.
    fn take(&mut self, entry: &Entry<'_>) -> io::Result<()>;

    /// All that there is for now was taken.
    ///
    /// # Errors
    /// When what it took is not where it belongs; tried again after the next records.
    fn flush(&mut self) -> io::Result<()>;
}

/// A running export; dropping it ships what is there and joins its thread.
pub struct Exporter {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    next: Arc<AtomicU64>,
}

impl Exporter {
    /// Begins to ship the log in a directory.
    ///
    /// # Errors
    /// `Io` from the sink's position and where no thread can be started.
    pub fn start(dir: &Path, mut sink: Box<dyn ExportSink>) -> Result<Exporter> {
        let fail = |error| AuditError::Io("start the export", error);
        let position = sink.position().map_err(fail)?;
        let next = Arc::new(AtomicU64::new(position));
        let (stop, stopped) = channel::<()>();
        let shipped = next.clone();
        let mut follower = Follower::new(dir, position);
        let run = move || loop {
            // Nobody else can be told; the gap shows in `next`, and the same records are tried again.
            let _ = ship(&mut follower, &mut *sink, &shipped);
            match stopped.recv_timeout(POLL) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => {
                    let _ = ship(&mut follower, &mut *sink, &shipped);
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("kms-audit-export".into()).spawn(run);
        Ok(Exporter { stop: Some(stop), thread: Some(thread.map_err(fail)?), next })
    }

    /// The index of the first record that was not shipped.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ship(follower: &mut Follower, sink: &mut dyn ExportSink, next: &AtomicU64) -> Result<()> {
    let fail = |error| AuditError::Io("export", error);
    let mut shipped = false;
    while follower.visit(&mut |entry| sink.take(entry).map_err(fail))? {
        next.store(follower.seq(), Ordering::Relaxed);
        shipped = true;
    }
    if shipped { sink.flush().map_err(fail) } else { Ok(()) }
}

/// JSON lines into anything that is written to: a file, standard output.
pub struct JsonLines<W> {
    out: W,
    position: u64,
}

impl<W: Write + Send> JsonLines<W> {
    /// Begins with record `position`.
    pub fn new(out: W, position: u64) -> Self {
        JsonLines { out, position }
    }
}

impl<W: Write + Send> ExportSink for JsonLines<W> {
    fn position(&mut self) -> io::Result<u64> {
        Ok(self.position)
    }

    fn take(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        // One call, so that a line is not begun and left where the disk is full.
        let line = format!("{}\n", json::record(&entry.record, &entry.leaf));
        self.out.write_all(line.as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
