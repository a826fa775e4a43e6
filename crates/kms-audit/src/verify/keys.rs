//! Who must sign the checkpoints of a log, and whether that leads back to keys which the caller trusts.

use crate::checkpoint::{Checkpoint, Signed, signed_by, verify_raw};
use crate::error::Damage;
use crate::note::{Note, NoteKey, NoteVerifier};
use crate::record::AuditKeys;

/// The keys in force while a log is read.
pub(super) struct Keys<'a> {
    verifier: &'a dyn NoteVerifier,
    /// What the caller trusts; without them a log vouches for its own first keys.
    pinned: Option<Vec<NoteKey>>,
    /// Unknown in a pruned log until a checkpoint or a record says.
    pub(super) now: Option<Vec<NoteKey>>,
    /// `now` is a guess, in a pruned log: what is pinned, or the keys of today.
    guessed: bool,
    /// Why the keys in force are not ones that the pinned ones lead to.
    fault: Option<Damage>,
    /// Leaves up to and with the last change of keys.
    since: u64,
    /// The last tree that the keys in force signed.
    signed: u64,
    /// Where the first checkpoint lies whose signers are unknown.
    unknown: Option<u64>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(verifier: &'a dyn NoteVerifier, pinned: Option<Vec<NoteKey>>) -> Self {
        Keys {
            verifier,
            pinned,
            now: None,
            guessed: false,
            fault: None,
            since: 0,
            signed: 0,
            unknown: None,
        }
    }

    /// For a log whose first records are pruned, and with them the first keys. `today` are those in the log's own file.
    pub(super) fn guess(&mut self, today: Option<Vec<NoteKey>>) {
        self.now = self.pinned.clone().or(today);
        self.guessed = true;
    }

    /// Holds a checkpoint against the keys in force.
    ///
    /// # Errors
    /// Why it is to be refused.
    pub(super) fn check(
        &mut self,
        checkpoint: &Checkpoint,
        note: &Note,
        offset: u64,
    ) -> Result<(), &'static str> {
        let Some(keys) = &self.now else {
            if checkpoint.size > 0 {
                self.unknown.get_or_insert(offset);
            }
            return Ok(());
        };
        match signed_by_all(checkpoint, note, keys, self.verifier) {
            Ok(()) => {
                self.guessed = false;
                self.signed = checkpoint.size;
                Ok(())
            }
            // It may be older than a change of keys whose record is pruned.
            Err(Unsigned::No(_)) if self.guessed => {
                self.unknown.get_or_insert(offset);
                Ok(())
            }
            Err(Unsigned::No(why) | Unsigned::Invalid(why)) => Err(why),
        }
    }

    /// Takes a change of keys by the record at `at`; gives a remark where nothing vouches for it.
    ///
    /// # Errors
    /// Why it is to be refused.
    pub(super) fn change(
        &mut self,
        record: &AuditKeys<'_>,
        at: &dyn Fn(&'static str) -> Damage,
        seq: u64,
    ) -> Result<Option<&'static str>, &'static str> {
        let no_keys = "the record names keys that are none";
        let next = record
            .keys
            .iter()
            .map(|key| NoteKey::new(record.origin, key.algorithm, key.public))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| no_keys)?;
        let statement = AuditKeys::statement(record.origin, &record.keys).map_err(|_| no_keys)?;
        let mut remark = None;
        if seq == 0 {
            if !self.pins(&next) {
                self.fault = Some(at("the first keys are not the pinned ones"));
            }
        } else if self.now.as_ref().is_some_and(|before| self.signed(record, before, &statement)) {
            self.guessed = false;
        } else if self.now.is_none() || self.guessed {
            remark = Some("a change of keys was not checked: those before are pruned");
            self.distrust(at("the keys before this change are pruned"));
        } else if record.signatures.is_empty() {
            remark = Some("keys changed without a signature by those before");
            self.distrust(at("the keys before did not sign this change"));
        } else {
            return Err("the keys before did not sign this change");
        }
        self.now = Some(next);
        self.guessed = false;
        self.since = seq + 1;
        Ok(remark)
    }

    /// Whether all that was read leads back to what the caller trusts.
    ///
    /// # Errors
    /// The change of keys after which it does not.
    pub(super) fn trusted(&self) -> Result<(), Damage> {
        match (&self.fault, &self.now) {
            // The pinned keys are those of today, and they signed a tree that has all before it: no earlier ones signed
            // one so large.
            (Some(_), Some(now)) if self.pins(now) && self.signed >= self.since => Ok(()),
            (Some(fault), _) => Err(fault.clone()),
            (None, _) => Ok(()),
        }
    }

    /// Where a checkpoint lies whose signers no record and no pin ever named, though the log goes on to its end so.
    pub(super) fn unsigned(&self) -> Option<u64> {
        self.unknown.filter(|_| self.known().is_none())
    }

    /// Whether the caller trusts keys, and no checkpoint is signed by any that they lead to.
    pub(super) fn vouch_for_nothing(&self) -> bool {
        self.pinned.is_some() && self.signed == 0
    }

    /// The keys in force, where that is more than a guess.
    pub(super) fn known(&self) -> Option<&[NoteKey]> {
        self.now.as_deref().filter(|_| !self.guessed)
    }

    pub(super) fn has_unknown(&self) -> bool {
        self.unknown.is_some()
    }

    fn distrust(&mut self, fault: Damage) {
        if self.pinned.is_some() {
            self.fault.get_or_insert(fault);
        }
    }

    /// Whether every pinned key is among these.
    fn pins(&self, keys: &[NoteKey]) -> bool {
        self.pinned
            .as_ref()
            .is_none_or(|pinned| !pinned.is_empty() && pinned.iter().all(|key| keys.contains(key)))
    }

    fn signed(&self, record: &AuditKeys<'_>, before: &[NoteKey], statement: &[u8]) -> bool {
        let signatures = &record.signatures;
        before.len() == signatures.len()
            && before
                .iter()
                .zip(signatures)
                .all(|(key, signature)| verify_raw(key, statement, signature, self.verifier))
    }
}

/// Why a checkpoint does not count as signed.
pub(super) enum Unsigned {
    /// By others.
    No(&'static str),
    /// By these keys, wrongly.
    Invalid(&'static str),
}

impl Unsigned {
    pub(super) fn why(self) -> &'static str {
        let (Unsigned::No(why) | Unsigned::Invalid(why)) = self;
        why
    }
}

/// Every one of the keys must have signed.
pub(super) fn signed_by_all(
    checkpoint: &Checkpoint,
    note: &Note,
    keys: &[NoteKey],
    verifier: &dyn NoteVerifier,
) -> Result<(), Unsigned> {
    for key in keys {
        if checkpoint.origin != key.name() {
            return Err(Unsigned::Invalid("the checkpoint is of another log"));
        }
        match signed_by(note, key, verifier) {
            Signed::Yes(_) => {}
            Signed::No => {
                return Err(Unsigned::No("the checkpoint is not signed by the audit key"));
            }
            Signed::Invalid => {
                return Err(Unsigned::Invalid("the checkpoint has a bad signature"));
            }
        }
    }
    Ok(())
}
