//! Changes of the device that no checkpoint covers yet: what a record says counts only by its signatures.
//!
//! Whoever can write to the directory can append a record with a right hash, and nothing but the signatures tells it from
//! one of ours.

use crate::checkpoint::{Checkpoint, Signed, device_name, signed_by, verify_raw};
use crate::checkpoints::SignedCheckpoint;
use crate::config::Parts;
use crate::error::Result;
use crate::note::{Note, NoteKey};
use crate::record::{Body, Record, Sealing};

/// The device in force, while a log is read to be opened.
pub(crate) struct Changes<'a> {
    parts: &'a Parts,
    latest: Option<&'a Checkpoint>,
    /// The device that signed the last checkpoint, where that is known; the last `None` is nobody.
    before: Option<Option<NoteKey>>,
    /// By the last record that the checkpoint covers.
    covered: Option<Option<NoteKey>>,
    /// By the last record after the checkpoint.
    after: Option<Option<NoteKey>>,
    /// An operator decided since the log was opened there.
    decided: bool,
    fault: Option<&'static str>,
}

impl<'a> Changes<'a> {
    /// `named` is the device that the file of keys names, which is the next one already where a process ended in a change.
    ///
    /// # Errors
    /// `Malformed` for a last checkpoint that is no note.
    pub(crate) fn new(
        latest: Option<&'a SignedCheckpoint>,
        named: Option<&NoteKey>,
        parts: &'a Parts,
    ) -> Result<Self> {
        let before = match latest {
            None => Some(None),
            Some(latest) => {
                let note = Note::parse(latest.note.as_bytes())?;
                let name = device_name(&latest.checkpoint.origin);
                let yes = |key: &&NoteKey| {
                    matches!(signed_by(&note, key, &*parts.verifier), Signed::Yes(_))
                };
                match named.filter(yes) {
                    Some(key) => Some(Some(key.clone())),
                    None if note.signatures.iter().any(|line| line.name == name) => None,
                    None => Some(None),
                }
            }
        };
        let latest = latest.map(|it| &it.checkpoint);
        let (covered, after, decided, fault) = (None, None, false, None);
        Ok(Changes { parts, latest, before, covered, after, decided, fault })
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// `Malformed` for a device with no key.
    pub(crate) fn see(&mut self, record: &Record<'_>) -> Result<()> {
        match &record.body {
            Body::Opened(_) => self.decided = false,
            Body::Override(_) => self.decided = true,
            Body::Sealing(it) => {
                let name = device_name(it.origin);
                let key = it.device.as_ref();
                let by = key.map(|it| NoteKey::new(&name, it.algorithm, it.public)).transpose()?;
                if record.seq < self.latest.map_or(0, |it| it.size) {
                    self.covered = Some(by.clone());
                } else {
                    let fault = self.vouched(it)?.err();
                    self.fault = self.fault.or(fault);
                    self.after = Some(by.clone());
                }
                self.before = Some(by);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the audit keys signed a change, for this place, and the device before; that may be missing where an operator
    /// decided.
    fn vouched(&self, record: &Sealing<'_>) -> Result<Result<(), &'static str>> {
        let statement = record.statement()?;
        let mut signatures = record.signatures.iter();
        let holds = |key: &NoteKey, signature: Option<&&[u8]>| {
            signature.is_some_and(|it| verify_raw(key, &statement, it, &*self.parts.verifier))
        };
        let after = self.latest.map_or((0, [0; 32]), |it| (it.size, it.root));
        if after != (record.after_size, record.after_root) {
            return Ok(Err("a change of the device was signed for another place in the log"));
        }
        let mut keys = self.parts.signers.iter().map(|it| it.key());
        let by_keys = |key: &NoteKey| key.name() == record.origin && holds(key, signatures.next());
        if !keys.all(by_keys) {
            return Ok(Err("the audit keys did not sign a change of the device"));
        }
        let (by_device, more) = (signatures.next(), signatures.next());
        let fits = match (&self.before, by_device) {
            (Some(None), signature) => signature.is_none(),
            (_, None) => self.decided,
            (Some(Some(before)), signature) => holds(before, signature),
            // Nothing is left that names it; the audit keys have signed.
            (None, Some(_)) => true,
        };
        let why = "the device before did not sign a change of the device";
        Ok((fits && more.is_none()).then_some(()).ok_or(why))
    }

    /// Why a change is not one that the log made.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        self.fault
    }

    /// The device that the last checkpoint must be signed by. `named` as in [`Changes::new`]. `None` where nothing tells.
    pub(crate) fn at_checkpoint<'b>(
        &'b self,
        named: Option<&'b NoteKey>,
    ) -> Option<Option<&'b NoteKey>> {
        match (&self.covered, &self.after) {
            (Some(device), _) => Some(device.as_ref()),
            (None, None) => Some(named),
            (None, Some(_)) => None,
        }
    }

    /// Who seals now.
    pub(crate) fn now(self, named: Option<NoteKey>) -> Option<NoteKey> {
        self.after.or(self.covered).unwrap_or(named)
    }
}
