//! A device that seals the log: it signs every checkpoint too, with a key that cannot leave it.
//!
//! Whoever has the root key of a service has its audit keys and could sign another history elsewhere. The device's line
//! they could not make. Whether a log is sealed, and by which key, is on record ([`Sealing`]), so a checkpoint without the
//! line is found out where the log was sealed before.
//!
//! [`Sealing`]: crate::record::Sealing

use std::sync::Arc;

use kms_core::{ErrorCode, KmsError, Result};

use crate::config::Override;
use crate::error::AuditError;
use crate::note::{NoteKey, NoteSigner};

/// Where the key is, or will be.
pub trait Device: Send + Sync {
    /// The key of this log, if the device has one.
    ///
    /// # Errors
    /// `AttestationMissing` where the device does not say that the key was made there and cannot leave; those of the device.
    fn find(&self) -> Result<Option<Sealer>>;

    /// Signs with the key of this log, if the device has one, whatever it says of it: to end the sealing.
    ///
    /// # Errors
    /// Those of the device.
    fn find_signer(&self) -> Result<Option<Arc<dyn NoteSigner>>> {
        Ok(self.find()?.map(|it| it.signer))
    }

    /// Makes the key of this log. Asked for while the log is locked, and where there is none.
    ///
    /// # Errors
    /// As [`Device::find`]; `Unsupported` for a device that makes none.
    fn make(&self) -> Result<Sealer>;
}

/// The key of a log in a device.
pub struct Sealer {
    /// Signs as [`device_name`](crate::checkpoint::device_name), with Ed25519. It may block for as long as the device takes.
    pub signer: Arc<dyn NoteSigner>,
    /// The attestation class.
    pub class: String,
    /// The evidence by name, at most [`MAX_FACTS`](crate::record::MAX_FACTS).
    pub facts: Vec<(String, String)>,
}

/// Who seals from here on.
pub(crate) struct Sealed {
    /// `None` for nobody.
    pub(crate) by: Option<Sealer>,
    /// Where it is not who sealed until now.
    pub(crate) change: Option<Change>,
}

/// A change that is to be recorded.
pub(crate) struct Change {
    /// Signs it for the device that sealed until now, where there is one.
    pub(crate) before: Option<Arc<dyn NoteSigner>>,
    /// What an operator overrode.
    pub(crate) overridden: Option<&'static str>,
}

/// Decides who seals: the device where that is `wanted`, nobody otherwise. `before` sealed until now.
///
/// # Errors
/// `Device` where the device that sealed until now is not at hand to sign the change, unless `decision` says so, or is not
/// fit to seal any more.
pub(crate) fn decide(
    wanted: bool,
    device: Option<&Arc<dyn Device>>,
    before: Option<&NoteKey>,
    decision: Option<&Override>,
) -> Result<Sealed, AuditError> {
    let accepted = decision.is_some_and(|it| it.audit_key);
    if !wanted {
        return end(device, before, accepted);
    }
    let found = device.map(|it| it.find()).transpose().map_err(|it| unfit(it, before))?.flatten();
    let same = |it: &Sealer| before == Some(it.signer.key());
    if found.as_ref().is_some_and(same) {
        return Ok(Sealed { by: found, change: None });
    }
    let overridden = match before {
        None => None,
        Some(_) if accepted => Some(REPLACED),
        Some(_) => return Err(AuditError::Device(GONE.into())),
    };
    let by = match (found, device) {
        (Some(found), _) => found,
        (None, Some(device)) => device.make().map_err(|it| unfit(it, before))?,
        (None, None) => {
            return Err(AuditError::Device("there is no device to seal the log".into()));
        }
    };
    Ok(Sealed { by: Some(by), change: Some(Change { before: None, overridden }) })
}

const GONE: &str = "the log is sealed by another device, or by a key that is gone";
const REPLACED: &str = "the device that sealed the log until now is not the one that is there";

/// Nobody is to seal from here on.
fn end(
    device: Option<&Arc<dyn Device>>,
    before: Option<&NoteKey>,
    accepted: bool,
) -> Result<Sealed, AuditError> {
    let Some(key) = before else { return Ok(Sealed { by: None, change: None }) };
    let signer = match device.map(|it| it.find_signer()).transpose() {
        Ok(signer) => signer.flatten(),
        // One that fails is one that does not sign.
        Err(_) if accepted => None,
        Err(error) => return Err(unfit(error, before)),
    };
    let change = match signer.filter(|it| it.key() == key) {
        Some(signer) => Change { before: Some(signer), overridden: None },
        None if accepted => Change { before: None, overridden: Some(REPLACED) },
        None => return Err(AuditError::Device(GONE.into())),
    };
    Ok(Sealed { by: None, change: Some(change) })
}

/// What is wrong with the key where the log is sealed is about this log, whose start then only verifies: that the device no
/// longer says where the key was made, or has two of it. A device that does not answer is about the device.
fn unfit(error: KmsError, before: Option<&NoteKey>) -> AuditError {
    match error.code {
        ErrorCode::AttestationMissing | ErrorCode::Internal if before.is_some() => {
            AuditError::Device(error.message)
        }
        _ => error.into(),
    }
}
