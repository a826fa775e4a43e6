//! Which device must have signed the checkpoints of a log, and whether that leads back to one that the caller trusts.

use crate::checkpoint::{Checkpoint, Signed, device_name, signed_by, verify_raw};
use crate::error::{Damage, Malformed};
use crate::note::{ED25519, Note, NoteKey, NoteVerifier};
use crate::record::Sealing;

/// The device that seals a log, as its record describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedBy {
    /// The key that its lines verify by.
    pub key: NoteKey,
    /// The record that says so; `None` where that was pruned.
    pub since: Option<u64>,
    /// The attestation class, and the evidence by name; empty where the record was pruned.
    pub class: String,
    /// The evidence.
    pub facts: Vec<(String, String)>,
}

/// Who seals, while a log is read.
enum Now {
    /// Nobody.
    Nobody,
    /// Every checkpoint has a line by this.
    Device(SealedBy),
    /// In a pruned log: nobody knows, or one of those that may be, from a checkpoint on that was not reached yet.
    Pruned,
}

/// The device of a log while it is read.
pub(super) struct Device<'a> {
    verifier: &'a dyn NoteVerifier,
    /// What the caller trusts; empty where a log vouches for its own.
    pinned: Vec<NoteKey>,
    now: Now,
    /// Who may have sealed it where records are pruned: what is pinned, or the device of today.
    maybe: Vec<NoteKey>,
    /// Leaves that are pruned.
    begin: u64,
    /// Why the device is not one that the pinned ones lead to.
    fault: Option<Damage>,
    /// Leaves up to and with the last change.
    since: u64,
    /// The last tree that it signed.
    signed: u64,
    /// Whether any device ever sealed it.
    ever: bool,
}

/// A checkpoint that does not count.
pub(super) enum Fault {
    /// The log is sealed, and the checkpoint lacks the line.
    Unsealed,
    /// The line is there and does not verify.
    Invalid,
}

pub(super) const UNSEALED: &str = "the checkpoint lacks the line of the device that seals the log";

impl<'a> Device<'a> {
    pub(super) fn new(verifier: &'a dyn NoteVerifier, pinned: Vec<NoteKey>) -> Self {
        let (now, fault) = (Now::Nobody, None);
        let (maybe, begin, since, signed, ever) = (Vec::new(), 0, 0, 0, false);
        Device { verifier, pinned, now, maybe, begin, fault, since, signed, ever }
    }

    /// For a log whose first `begin` records are pruned. `today` is what the log's own file of keys names.
    pub(super) fn guess(&mut self, today: Option<NoteKey>, begin: u64) {
        self.maybe = match self.pinned.is_empty() {
            true => today.into_iter().collect(),
            false => self.pinned.clone(),
        };
        (self.now, self.begin) = (Now::Pruned, begin);
    }

    /// Who may be in force, and whether one of them must be.
    fn in_force(&self) -> (&[NoteKey], bool) {
        match &self.now {
            Now::Nobody => (&[], false),
            Now::Pruned => (&self.maybe, false),
            // The record by which another of them followed may be pruned.
            Now::Device(it) if it.since.is_none() && self.signed <= self.begin => {
                (&self.maybe, true)
            }
            Now::Device(it) => (std::slice::from_ref(&it.key), true),
        }
    }

    /// Who seals at the end.
    pub(super) fn into_sealed_by(self) -> Option<SealedBy> {
        match self.now {
            Now::Device(it) => Some(it),
            Now::Nobody | Now::Pruned => None,
        }
    }

    /// Holds a checkpoint, of the log or a kept one, against the device in force. `of_log` for the former.
    ///
    /// # Errors
    /// Why it is to be refused.
    pub(super) fn check(
        &mut self,
        checkpoint: &Checkpoint,
        note: &Note,
        of_log: bool,
    ) -> Result<(), Fault> {
        let (keys, must) = self.in_force();
        let mut by = None;
        for key in keys {
            match signed_by(note, key, self.verifier) {
                Signed::No => {}
                Signed::Invalid => return Err(Fault::Invalid),
                Signed::Yes(_) => by = by.or(Some(key)),
            }
        }
        let Some(key) = by.cloned() else {
            // It may be older than the record that was pruned.
            return if must { Err(Fault::Unsealed) } else { Ok(()) };
        };
        if !of_log {
            return Ok(());
        }
        self.signed = checkpoint.size;
        if !matches!(&self.now, Now::Device(it) if it.key == key) {
            self.ever = true;
            let (class, facts) = Default::default();
            self.now = Now::Device(SealedBy { key, since: None, class, facts });
        }
        Ok(())
    }

    /// Takes a change by the record `seq`; gives a remark where not all vouch for it, and where it
    /// ends the sealing. `last` is the checkpoint before it, and
    /// `keys` the audit keys, where they are known.
    ///
    /// # Errors
    /// Why it is to be refused.
    pub(super) fn change(
        &mut self,
        record: &Sealing<'_>,
        last: Option<&Checkpoint>,
        keys: Option<&[NoteKey]>,
        at: &dyn Fn(&'static str) -> Damage,
        seq: u64,
    ) -> Result<Option<&'static str>, &'static str> {
        let no_key = "the record names a device with no key";
        let by = record
            .device
            .as_ref()
            .map(|it| match it.algorithm {
                ED25519 => NoteKey::new(&device_name(record.origin), ED25519, it.public),
                _ => Err(Malformed("signature type")),
            })
            .transpose()
            .map_err(|_| no_key)?;
        let statement = record.statement().map_err(|_| no_key)?;
        let after = last.map_or((0, [0; 32]), |it| (it.size, it.root));
        if after != (record.after_size, record.after_root) {
            return Err("the change of the device was signed for another place in the log");
        }
        let unchecked = match keys {
            Some(keys) => self.vouched(record, keys, &statement)?,
            None => Some("a change of the device was not checked: the keys are pruned"),
        };
        let fault = match (unchecked, &by) {
            (Some(_), _) => Some("the device before did not sign this change"),
            (None, Some(by)) if !self.ever && !self.pins(by) => {
                Some("the first device is not a pinned one")
            }
            _ => None,
        };
        if let (Some(fault), false) = (fault, self.pinned.is_empty()) {
            self.fault.get_or_insert(at(fault));
        }
        let ended = by.is_none().then_some("no device seals the log from here on");
        self.ever |= by.is_some();
        self.since = seq + 1;
        self.now = match (by, &record.device) {
            (Some(key), Some(device)) => {
                let owned = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
                let facts = device.facts.iter().map(owned).collect();
                Now::Device(SealedBy { key, since: Some(seq), class: device.class.into(), facts })
            }
            _ => Now::Nobody,
        };
        Ok(unchecked.or(ended))
    }

    /// Whether the audit keys signed a change, which they must, and the device before; a remark where that did not or is
    /// not known.
    fn vouched(
        &self,
        record: &Sealing<'_>,
        keys: &[NoteKey],
        statement: &[u8],
    ) -> Result<Option<&'static str>, &'static str> {
        let mut signatures = record.signatures.iter();
        let holds = |key: &NoteKey, signature: Option<&&[u8]>| {
            signature.is_some_and(|it| verify_raw(key, statement, it, self.verifier))
        };
        let named = keys.iter().all(|key| key.name() == record.origin);
        if !named || !keys.iter().all(|key| holds(key, signatures.next())) {
            return Err("the audit keys did not sign the change of the device");
        }
        let by_device = signatures.next();
        if signatures.next().is_some() {
            return Err("the change of the device has a signature too many");
        }
        match (&self.now, by_device) {
            (Now::Nobody, None) => Ok(None),
            (Now::Nobody, Some(_)) => {
                Err("the change is signed by a device, and none sealed the log")
            }
            (Now::Device(_), signature @ Some(_)) => {
                let why = "the device before did not sign the change";
                let (keys, _) = self.in_force();
                keys.iter().any(|key| holds(key, signature)).then_some(None).ok_or(why)
            }
            (Now::Device(_), None) => {
                Ok(Some("the device changed without a signature by the one before"))
            }
            // None that signed a checkpoint which is left.
            (Now::Pruned, None) => Ok(None),
            (Now::Pruned, signature @ Some(_)) => {
                let known = self.maybe.iter().any(|key| holds(key, signature));
                let why = "a change of the device was not checked: that before is pruned";
                Ok((!known).then_some(why))
            }
        }
    }

    /// Whether the device leads back to what the caller trusts.
    ///
    /// # Errors
    /// The change after which it does not.
    pub(super) fn trusted(&self) -> Result<(), Damage> {
        match (&self.fault, &self.now) {
            (None, _) => Ok(()),
            // The pinned one is that of today, and signed a tree that has all before it: one before it signed none so large.
            (Some(_), Now::Device(it)) if self.pins(&it.key) && self.signed >= self.since => Ok(()),
            (Some(fault), _) => Err(fault.clone()),
        }
    }

    /// Whether the caller pinned a device, or the log's own file names one, and none ever sealed it.
    pub(super) fn never_sealed(&self) -> bool {
        let guessed = matches!(self.now, Now::Pruned) && !self.maybe.is_empty();
        let named = !self.pinned.is_empty() || guessed;
        named && (!self.ever || self.signed == 0)
    }

    fn pins(&self, key: &NoteKey) -> bool {
        self.pinned.is_empty() || self.pinned.contains(key)
    }
}
