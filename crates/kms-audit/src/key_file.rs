//! The file of keys, and whether the last checkpoint is signed by them.

use kms_durable::Dir;

use crate::checkpoint::{Signed, device_name, signed_by};
use crate::checkpoints::SignedCheckpoint;
use crate::config::{Config, Parts};
use crate::error::{AuditError, Damage, Result};
use crate::layout::KEYS;
use crate::note::{MAX_NOTE, Note, NoteKey};
use crate::open::durable;

/// Whether all of the audit keys signed it.
pub(crate) fn check_signatures(
    latest: &SignedCheckpoint,
    keys: &[NoteKey],
    config: &Config,
    parts: &Parts,
) -> Result<()> {
    let refuse = |why: &'static str| Err(AuditError::Checkpoint(why.into()));
    if latest.checkpoint.origin != config.origin.as_str() {
        return refuse("the last checkpoint is of another log");
    }
    let note = Note::parse(latest.note.as_bytes())?;
    for key in keys {
        match signed_by(&note, key, &*parts.verifier) {
            Signed::Yes(_) => {}
            Signed::No => return refuse("the last checkpoint is not signed by the audit key"),
            Signed::Invalid => return refuse("the last checkpoint has a bad signature"),
        }
    }
    Ok(())
}

/// Whether the device that sealed the log signed the last checkpoint, and none did where there was none.
pub(crate) fn check_device(
    latest: &SignedCheckpoint,
    device: Option<&NoteKey>,
    config: &Config,
    parts: &Parts,
) -> Result<()> {
    let refuse = |why: &'static str| Err(AuditError::Checkpoint(why.into()));
    let note = Note::parse(latest.note.as_bytes())?;
    match device.map(|key| signed_by(&note, key, &*parts.verifier)) {
        Some(Signed::Yes(_)) => Ok(()),
        Some(Signed::No) => {
            refuse("the last checkpoint lacks the line of the device that seals the log")
        }
        Some(Signed::Invalid) => refuse("the last checkpoint has a bad signature by the device"),
        None => {
            let name = device_name(config.origin.as_str());
            match note.signatures.iter().any(|line| line.name == name) {
                true => {
                    Err(keys_damaged("names no device, and the last checkpoint is sealed by one"))
                }
                false => Ok(()),
            }
        }
    }
}

/// The keys in force; `None` before the first checkpoint.
pub(crate) fn read_keys(dir: &Dir) -> Result<Option<Vec<NoteKey>>> {
    let bytes = match dir.read(KEYS, MAX_NOTE) {
        Ok(bytes) => bytes,
        Err(kms_durable::Error::NotFound) => return Ok(None),
        Err(error) => return Err(durable("read the keys")(error)),
    };
    parse_keys(&bytes).map(Some).ok_or_else(|| keys_damaged("not a list of verifier keys"))
}

pub(crate) fn keys_damaged(why: &'static str) -> AuditError {
    AuditError::Damaged(Damage { seq: None, file: KEYS.into(), offset: 0, why: why.into() })
}

/// A verifier key a line.
pub(crate) fn parse_keys(bytes: &[u8]) -> Option<Vec<NoteKey>> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    text.split('\n').map(|line| NoteKey::parse(line).ok()).collect()
}
