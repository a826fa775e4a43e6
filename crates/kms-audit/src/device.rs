//! A device that seals the log: it signs every checkpoint too, with a key that cannot leave it.
//!
//! Whoever has the root key of a service has its audit keys and could sign another history elsewhere. The device's line
//! they could not make. Whether a log is sealed, and by which key, is on record ([`Sealing`]), so a checkpoint without the
//! line is found out where the log was sealed before.
//!
//! [`Sealing`]: crate::record::Sealing

use std::sync::Arc;

use kms_core::Result;

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
/// `Device` where the device that sealed until now is not at hand to sign the change, unless `decision` says so.
pub(crate) fn decide(
    wanted: bool,
    device: Option<&Arc<dyn Device>>,
    before: Option<&NoteKey>,
    decision: Option<&Override>,
) -> Result<Sealed, AuditError> {
    let found = match (device, wanted || before.is_some()) {
        (Some(device), true) => device.find()?,
        _ => None,
    };
    let same = |it: &Sealer| before == Some(it.signer.key());
    if wanted && found.as_ref().is_some_and(same) {
        return Ok(Sealed { by: found, change: None });
    }
    let (signs, overridden) = match (before, &found) {
        (None, _) => (None, None),
        (Some(_), Some(found)) if same(found) => (Some(Arc::clone(&found.signer)), None),
        (Some(_), _) if decision.is_some_and(|it| it.audit_key) => {
            (None, Some("the device that sealed the log until now is not the one that is there"))
        }
        (Some(_), _) => {
            return Err(AuditError::Device(
                "the log is sealed by another device, or by a key that is gone",
            ));
        }
    };
    let by = match (wanted, found, device) {
        (false, ..) => None,
        (true, Some(found), _) => Some(found),
        (true, None, Some(device)) => Some(device.make()?),
        (true, None, None) => return Err(AuditError::Device("there is no device to seal the log")),
    };
    let changes = by.is_some() || before.is_some();
    Ok(Sealed { by, change: changes.then_some(Change { before: signs, overridden }) })
}
