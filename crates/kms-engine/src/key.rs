//! A key: its versions, and which of them is the head.

use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use kms_core::{KeyId, KmsError, Result, Signs, Version};
use kms_crypto::ed25519::KeyHandle;

use crate::arena::SecretHandle;

/// One version. Immutable: a rotation adds a version and changes none.
pub(crate) struct KeyVersion {
    /// The public half, with its table once it is worth one.
    pub(crate) public: Arc<KeyHandle>,
    pub(crate) secret: SecretHandle,
}

/// Which versions exist and which one signs. Replaced whole, so readers never see a mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The newest active version: it alone signs.
    pub(crate) active: Version,
    /// The version that follows it, published and verifying, not yet signing.
    pub(crate) pending: Option<Pending>,
}

/// A version that waits for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) version: Version,
    /// On the monotonic clock, which decides.
    pub(crate) due_ms: u64,
    /// The same moment on the wall clock, which is shown.
    pub(crate) active_at_unix_ms: u64,
}

impl Head {
    /// The newest version that may be seen.
    pub(crate) fn newest(&self) -> Version {
        self.pending.map_or(self.active, |pending| pending.version)
    }
}

/// A key and its history.
pub(crate) struct Key {
    pub(crate) id: KeyId,
    pub(crate) signs: Signs,
    pub(crate) created_unix_ms: u64,
    /// A JSON object, kept and shown as it came.
    pub(crate) policy_hints: Option<Box<str>>,
    /// Version N is at index N - 1. Append-only; what lies past [`Head::newest`] is not published.
    versions: boxcar::Vec<KeyVersion>,
    head: ArcSwap<Head>,
    /// Held by whoever changes the head. A panic under it poisons this key, and this key only.
    changing: Mutex<()>,
}

impl Key {
    pub(crate) fn new(
        id: KeyId,
        signs: Signs,
        created_unix_ms: u64,
        policy_hints: Option<Box<str>>,
        first: KeyVersion,
    ) -> Key {
        let versions = boxcar::Vec::new();
        versions.push(first);
        let head = ArcSwap::from_pointee(Head { active: Version::MIN, pending: None });
        Key { id, signs, created_unix_ms, policy_hints, versions, head, changing: Mutex::new(()) }
    }

    /// The head now. A pending version whose time has come becomes active here, for good: setting a clock
    /// back does not undo it. The clock is read only where a version is pending.
    pub(crate) fn head(&self, now_ms: impl Fn() -> u64) -> Result<Head> {
        let head = **self.head.load();
        match head.pending {
            Some(pending) if now_ms() >= pending.due_ms => {
                let change = self.change(now_ms())?;
                Ok(change.head)
            }
            _ => Ok(head),
        }
    }

    /// A version that is known to be published.
    ///
    /// # Errors
    /// `NotFound` if it is not there at all.
    pub(crate) fn published(&self, version: Version) -> Result<&KeyVersion> {
        self.versions.get(version.get() as usize - 1).ok_or_else(KmsError::not_found)
    }

    /// A published version.
    pub(crate) fn version(&self, head: &Head, version: Version) -> Option<&KeyVersion> {
        if version > head.newest() {
            return None;
        }
        self.versions.get(version.get() as usize - 1)
    }

    /// Starts a change of the head; one at a time, with any activation that is due carried out.
    ///
    /// # Errors
    /// `Internal` when an earlier change was interrupted by a panic: the key takes no more changes.
    pub(crate) fn change(&self, now_ms: u64) -> Result<Change<'_>> {
        let guard = self.changing.lock().map_err(|_| poisoned())?;
        let mut head = **self.head.load();
        if let Some(pending) = head.pending.filter(|pending| now_ms >= pending.due_ms) {
            head = Head { active: pending.version, pending: None };
            self.head.store(Arc::new(head));
        }
        Ok(Change { key: self, head, _guard: guard })
    }

    /// Refuses a key that a panic left in doubt.
    pub(crate) fn check_sound(&self) -> Result<()> {
        if self.changing.is_poisoned() { Err(poisoned()) } else { Ok(()) }
    }
}

/// The right to change one key's head.
pub(crate) struct Change<'a> {
    key: &'a Key,
    pub(crate) head: Head,
    _guard: MutexGuard<'a, ()>,
}

impl Change<'_> {
    /// Adds a version after the newest and publishes it, active at once or pending.
    ///
    /// # Errors
    /// `Conflict` after 2^32 - 1 versions.
    pub(crate) fn push(
        self,
        version: KeyVersion,
        pending: impl FnOnce(Version) -> Option<Pending>,
    ) -> Result<Version> {
        let next = self
            .head
            .newest()
            .checked_add(1)
            .ok_or_else(|| KmsError::conflict("no version number is left for this key"))?;
        let index = self.key.versions.push(version);
        crate::faults::point("rotate.publish");
        debug_assert_eq!(index + 1, next.get() as usize);
        let head = match pending(next) {
            None => Head { active: next, pending: None },
            Some(pending) => Head { active: self.head.active, pending: Some(pending) },
        };
        self.key.head.store(Arc::new(head));
        Ok(next)
    }
}

fn poisoned() -> KmsError {
    KmsError::internal("an earlier change of this key was interrupted; it is closed to new ones")
}
