//! Which device signs checkpoints beside the audit keys.

use super::keys::MAX_TRACKS;
use crate::codec::{Reader, Writer};
use crate::error::Malformed;
use crate::merkle::Hash;

/// Most facts of a device.
pub const MAX_FACTS: u8 = 32;

/// From here on every checkpoint carries a line by this device too, or by none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealing<'a> {
    /// Origin of the log.
    pub origin: &'a str,
    /// The device's key; `None` where checkpoints are signed by the audit keys alone from here on.
    pub device: Option<DeviceKey<'a>>,
    /// Size of the last checkpoint before this record, or 0.
    pub after_size: u64,
    /// Root of that checkpoint, or zeros. Statements are for one place of one log: an old one cannot be used again.
    pub after_root: Hash,
    /// By each of the audit keys, in their order, and by the device before, over [`Sealing::statement`]. The latter is
    /// missing where there was none, and where an operator overrode.
    pub signatures: Vec<&'a [u8]>,
}

/// A key in a device, and what the device said of it when it took over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceKey<'a> {
    /// The signature type of C2SP signed-note.
    pub algorithm: u8,
    /// The public key.
    pub public: &'a [u8],
    /// The attestation class, such as `pkcs11-yubihsm`.
    pub class: &'a str,
    /// The evidence by name.
    pub facts: Vec<(&'a str, &'a str)>,
}

impl<'a> Sealing<'a> {
    /// What is signed: `ron-kms/audit-device/v1` ‖ 0x00 ‖ the fields before the signatures, as in the record.
    ///
    /// # Errors
    /// [`Malformed`] where the change could not be recorded either.
    pub fn statement(&self) -> Result<Vec<u8>, Malformed> {
        let mut statement = b"ron-kms/audit-device/v1\0".to_vec();
        self.put_fields(&mut Writer(&mut statement))?;
        Ok(statement)
    }

    fn put_fields(&self, out: &mut Writer<'_>) -> Result<(), Malformed> {
        out.text("origin", self.origin)?;
        out.u64(self.after_size);
        out.array(&self.after_root);
        match &self.device {
            None => out.u8(0),
            Some(device) => {
                out.u8(1);
                device.encode(out)?;
            }
        }
        Ok(())
    }

    pub(super) fn encode(&self, out: &mut Writer<'_>) -> Result<(), Malformed> {
        self.put_fields(out)?;
        out.count("signatures", self.signatures.len(), MAX_TRACKS + 1)?;
        self.signatures.iter().try_for_each(|signature| out.bytes("signatures", signature))
    }

    pub(super) fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let origin = input.text("origin")?;
        let (after_size, after_root) = (input.u64("after_size")?, input.array("after_root")?);
        let device = match input.u8("device")? {
            0 => None,
            1 => Some(DeviceKey::decode(input)?),
            _ => return Err(Malformed("device")),
        };
        let len = input.count("signatures", MAX_TRACKS + 1)?;
        let signatures = (0..len).map(|_| input.bytes("signatures")).collect::<Result<_, _>>()?;
        Ok(Sealing { origin, device, after_size, after_root, signatures })
    }
}

impl<'a> DeviceKey<'a> {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Malformed> {
        out.u8(self.algorithm);
        out.bytes("device", self.public)?;
        out.text("class", self.class)?;
        out.count("facts", self.facts.len(), MAX_FACTS)?;
        self.facts.iter().try_for_each(|(name, value)| {
            out.text("facts", name)?;
            out.text("facts", value)
        })
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (algorithm, public) = (input.u8("device")?, input.bytes("device")?);
        let class = input.text("class")?;
        let len = input.count("facts", MAX_FACTS)?;
        let facts = (0..len)
            .map(|_| Ok((input.text("facts")?, input.text("facts")?)))
            .collect::<Result<_, Malformed>>()?;
        Ok(DeviceKey { algorithm, public, class, facts })
    }
}
