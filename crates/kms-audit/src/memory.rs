//! The log of a service that writes nothing: the last records and the compact tree, in memory only.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use kms_core::{
    AuditEvent, AuditSink, Clock, ContinuityEvent, KmsError, Result, Rotation, VerificationEvent,
};

use crate::checkpoint::Origin;
use crate::error::Malformed;
use crate::merkle::{Frontier, Hash, leaf_hash};
use crate::record::{Body, Record};
use crate::sink::{Names, continuity, operation, statement, verifications};
use crate::writer::fit;

/// A ring of records. Its tree covers all that were ever appended; nothing of it outlives the process.
pub struct MemoryLog {
    origin: Origin,
    clock: Arc<dyn Clock>,
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    tree: Frontier,
    records: VecDeque<Vec<u8>>,
}

impl MemoryLog {
    /// One that keeps the last `capacity` records.
    pub fn new(origin: Origin, capacity: usize, clock: Arc<dyn Clock>) -> MemoryLog {
        MemoryLog { origin, clock, capacity, inner: Mutex::default() }
    }

    /// Size and root of the tree.
    ///
    /// # Errors
    /// `Internal` after a panic.
    pub fn head(&self) -> Result<(u64, Hash)> {
        let inner = self.inner.lock().map_err(|_| poisoned())?;
        Ok((inner.tree.size(), inner.tree.root()))
    }

    /// The bytes of the records that are kept, the oldest first.
    ///
    /// # Errors
    /// `Internal` after a panic.
    pub fn records(&self) -> Result<Vec<Vec<u8>>> {
        let inner = self.inner.lock().map_err(|_| poisoned())?;
        Ok(inner.records.iter().cloned().collect())
    }
}

fn poisoned() -> KmsError {
    KmsError::internal("the audit log stopped after a fault")
}

impl MemoryLog {
    fn take(&self, body: Body<'_>) -> Result<Option<u64>> {
        let mut inner = self.inner.lock().map_err(|_| poisoned())?;
        let seq = inner.tree.size();
        let (utc_ms, mono_ms) = (self.clock.unix_ms(), self.clock.monotonic_ms());
        let mut bytes = Vec::new();
        let record = Record { seq, utc_ms, mono_ms, body };
        record.encode(&mut bytes).map_err(|fault: Malformed| KmsError::from(fault))?;
        inner.tree.push(leaf_hash(&bytes));
        if inner.records.len() == self.capacity {
            inner.records.pop_front();
        }
        inner.records.push_back(bytes);
        Ok(Some(seq))
    }
}

impl AuditSink for MemoryLog {
    fn log(&self) -> Option<&str> {
        Some(self.origin.as_str())
    }

    fn append(&self, event: &AuditEvent<'_>) -> Result<Option<u64>> {
        let reason = event.refusal.map_or(String::new(), |it| fit(&it.message));
        self.take(Body::Operation(operation(event, &reason)?))
    }

    fn continuity_statement(&self, rotation: &Rotation<'_>) -> Result<Option<Vec<u8>>> {
        statement(rotation)
    }

    fn append_continuity(&self, event: &ContinuityEvent<'_>) -> Result<Option<u64>> {
        self.take(continuity(event)?)
    }

    fn verified(&self, event: &VerificationEvent<'_>) {
        let names = Names::of(event.context);
        // It may be dropped.
        let _ = self.take(verifications(event, &names));
    }
}
