//! Who signs: checkpoints, and the records that say whose signatures they carry from here on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kms_core::KmsError;

use crate::checkpoint::{Checkpoint, verify_raw};
use crate::checkpoints::{CheckpointFile, SignedCheckpoint};
use crate::config::{OpenReport, Override};
use crate::device::{Sealed, Sealer};
use crate::error::{AuditError, Result};
use crate::layout::KEYS;
use crate::merkle::Hash;
use crate::note::NoteSigner;
use crate::open::{boot_id, durable};
use crate::record::{
    AuditKey, AuditKeys, Body, DeviceKey, Opened, Override as OverrideRecord,
    Sealing as SealingRecord,
};
use crate::sealing::Sealing;
use crate::shared::Shared;
use crate::writer::{checked, fit};

impl Shared {
    /// Says in the log that it was begun or opened, and what was overridden.
    pub(crate) fn first_records(
        &self,
        report: &mut OpenReport,
        began: bool,
        new_keys: bool,
        overridden: Option<&kms_core::AnchorState>,
        decision: Option<&Override>,
        device: Sealed,
    ) -> Result<()> {
        if began {
            self.submit_keys(&[])?;
        }
        let opened = Opened {
            software: env!("CARGO_PKG_VERSION"),
            boot: boot_id(),
            dropped_bytes: report.dropped_bytes,
        };
        self.writer.submit(Body::Opened(opened))?;
        let record_override = |refused: &str| {
            let record = OverrideRecord {
                actor: checked("actor", decision.map_or("", |it| &it.actor))?,
                refused: &fit(refused),
                anchor_size: overridden.map_or(0, |it| it.log_size),
                anchor_root: overridden.map_or([0; 32], |it| it.log_root),
            };
            self.writer.submit(Body::Override(record)).map(drop)
        };
        report.overridden.iter().try_for_each(|it| record_override(it))?;
        if new_keys && !began {
            self.submit_keys(&[])?;
        }
        let Some(change) = device.change else { return Ok(()) };
        let accepted = decision.is_some_and(|it| it.audit_key);
        self.submit_sealing(device.by.as_ref(), change.before.as_deref(), &mut |error| {
            if !accepted {
                return Err(error.into());
            }
            let refused = "the device that sealed the log until now does not sign that this ends";
            report.overridden.push(refused.into());
            record_override(refused)
        })
    }

    /// Says which device signs checkpoints from here on, if any. The audit keys sign that, and the device before; `unsigned` is
    /// asked whether to go on where that does not.
    fn submit_sealing(
        &self,
        by: Option<&Sealer>,
        before: Option<&dyn NoteSigner>,
        unsigned: &mut dyn FnMut(KmsError) -> Result<()>,
    ) -> Result<()> {
        let after = self.latest()?;
        let facts = by.map(|it| it.facts.iter().map(|(name, value)| (fit(name), fit(value))));
        let facts: Vec<_> = facts.into_iter().flatten().collect();
        let device = by.map(|it| DeviceKey {
            algorithm: it.signer.key().algorithm(),
            public: it.signer.key().public(),
            class: &it.class,
            facts: facts.iter().map(|(name, value)| (&**name, &**value)).collect(),
        });
        let mut record = SealingRecord {
            origin: self.writer.config.origin.as_str(),
            device,
            after_size: after.as_ref().map_or(0, |it| it.checkpoint.size),
            after_root: after.map_or([0; 32], |it| it.checkpoint.root),
            signatures: Vec::new(),
        };
        let statement = record.statement()?;
        let sign = |it: &dyn NoteSigner| {
            let signature = it.sign(&statement)?;
            // What a token gives is not believed, and a wrong one would be on record for ever.
            if !verify_raw(it.key(), &statement, &signature, &*self.parts.verifier) {
                let why = "a signature for the change of the device does not hold";
                return Err(KmsError::internal(why));
            }
            Ok(signature)
        };
        if let Some(by) = by {
            // Not recorded: one that signs nothing, or for another key, must not take over.
            sign(&*by.signer)?;
        }
        let signers = self.signers()?;
        let signatures = signers.iter().map(|it| sign(&**it));
        let mut signatures = signatures.collect::<kms_core::Result<Vec<_>>>()?;
        match before.map(sign).transpose() {
            Ok(signature) => signatures.extend(signature),
            Err(error) => unsigned(error)?,
        }
        record.signatures = signatures.iter().map(Vec::as_slice).collect();
        self.writer.submit(Body::Sealing(record)).map(drop)
    }

    fn signers(&self) -> Result<Vec<Arc<dyn NoteSigner>>> {
        Ok(self.signers.lock().map_err(|_| AuditError::Stopped)?.clone())
    }

    fn submit_keys(&self, signatures: &[Vec<u8>]) -> Result<u64> {
        let signers = self.signers()?;
        let origin = self.writer.config.origin.as_str();
        let signatures = signatures.iter().map(Vec::as_slice).collect();
        let keys = public_keys(&signers);
        self.writer.submit(Body::AuditKeys(AuditKeys { origin, keys, signatures }))
    }

    /// The file of keys, where it says something else.
    pub(crate) fn write_keys(&self) -> Result<()> {
        self.write_keys_of(&self.signers()?)
    }

    fn write_keys_of(&self, signers: &[Arc<dyn NoteSigner>]) -> Result<()> {
        let device = self.sealing.as_ref().map(Sealing::device);
        let keys = signers.iter().map(|it| it.key()).chain(device.map(NoteSigner::key));
        let text: String = keys.map(|key| format!("{key}\n")).collect();
        let there = self.dir.read(KEYS, crate::note::MAX_NOTE);
        if there.is_ok_and(|bytes| bytes == text.as_bytes()) {
            return Ok(());
        }
        // The record that names these keys is durable first.
        self.writer.flush()?;
        self.dir.replace(KEYS, text.as_bytes()).map_err(|error| {
            if error.is_in_doubt() {
                self.writer.stop();
            }
            durable("write the keys")(error)
        })
    }

    pub(crate) fn head(&self) -> Result<(u64, Hash)> {
        let tail = self.writer.tail()?;
        Ok((tail.frontier.size(), tail.frontier.root()))
    }

    pub(crate) fn checkpoint(&self) -> Result<Arc<SignedCheckpoint>> {
        let mut file = self.checkpoints.lock().map_err(|_| AuditError::Stopped)?;
        self.checkpoint_into(&mut file)
    }

    /// In this order: log durable, signed, anchor durable, checkpoint durable, handed out. The signers are those of now: they
    /// change under the same lock.
    fn checkpoint_into(&self, file: &mut CheckpointFile) -> Result<Arc<SignedCheckpoint>> {
        let made = self.make_checkpoint(file);
        if made.is_err() {
            self.checkpoints_failed.fetch_add(1, Ordering::Relaxed);
        }
        made
    }

    fn make_checkpoint(&self, file: &mut CheckpointFile) -> Result<Arc<SignedCheckpoint>> {
        let signers = self.signers()?;
        let (size, root) = self.head()?;
        if let Some(latest) = self.latest()?.filter(|it| it.checkpoint.size == size) {
            return Ok(latest);
        }
        self.writer.flush()?;
        let origin = self.writer.config.origin.as_str().to_owned();
        let checkpoint = Checkpoint { origin, size, root };
        let signers: Vec<&dyn NoteSigner> = signers.iter().map(|it| &**it).collect();
        let unix_s = self.parts.clock.unix_ms() / 1000;
        let mut note = checkpoint.sign(&signers, unix_s)?;
        if let Some(sealing) = &self.sealing {
            sealing.add_line(&checkpoint, &mut note, unix_s, &*self.parts.verifier)?;
        }
        let note = note.to_string();
        self.parts.anchor.advance_log(size, &root)?;
        file.append(&note).map_err(|(stop, error)| {
            if stop {
                self.writer.stop();
            }
            AuditError::Io("write a checkpoint", error)
        })?;
        let signed = Arc::new(SignedCheckpoint { checkpoint, note });
        *self.latest.lock().map_err(|_| AuditError::Stopped)? = Some(signed.clone());
        if let Some(sealing) = &self.sealing {
            sealing.made();
        }
        self.checkpoint_at_ms.store(self.parts.clock.unix_ms(), Ordering::Relaxed);
        self.checkpoints_made.fetch_add(1, Ordering::Relaxed);
        Ok(signed)
    }

    pub(crate) fn rotate_keys(
        &self,
        new: Vec<Arc<dyn NoteSigner>>,
    ) -> Result<Arc<SignedCheckpoint>> {
        let origin = self.writer.config.origin.as_str();
        if new.is_empty() || new.iter().any(|it| it.key().name() != origin) {
            return Err(AuditError::AuditKey("its name is not the log's origin"));
        }
        // No checkpoint by the wrong keys may come between the record and the one that covers it.
        let mut file = self.checkpoints.lock().map_err(|_| AuditError::Stopped)?;
        let old = self.signers()?;
        let keys = public_keys(&new);
        let statement = AuditKeys::statement(origin, &keys)?;
        let signatures =
            old.iter().map(|it| it.sign(&statement)).collect::<kms_core::Result<Vec<_>>>()?;
        let signatures = signatures.iter().map(Vec::as_slice).collect();
        self.writer.submit(Body::AuditKeys(AuditKeys { origin, keys, signatures }))?;
        // By both: whether or not the file of keys is replaced before a crash, the last checkpoint fits it; and if
        // the next steps fail, so do later checkpoints.
        self.set_signers(old.iter().chain(&new).cloned().collect())?;
        let signed = self.checkpoint_into(&mut file)?;
        self.write_keys_of(&new)?;
        self.set_signers(new)?;
        Ok(signed)
    }

    fn set_signers(&self, signers: Vec<Arc<dyn NoteSigner>>) -> Result<()> {
        *self.signers.lock().map_err(|_| AuditError::Stopped)? = signers;
        Ok(())
    }
}

fn public_keys(signers: &[Arc<dyn NoteSigner>]) -> Vec<AuditKey<'_>> {
    signers
        .iter()
        .map(|it| AuditKey { algorithm: it.key().algorithm(), public: it.key().public() })
        .collect()
}
