//! A key: its versions, which of them is the head, and which are in use.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use kms_core::{KeyId, KeyState, KmsError, Life, Result, Signs, Transition, Version};

use crate::arena::SecretHandle;
use crate::evidence::Evidence;
use crate::maker::{Maker, Sealed};
use crate::material::PublicHalf;
use crate::policy::{self, KeyPolicy};
use crate::suite::Suite;

/// One version. Immutable: a rotation adds a version, with all of its tracks, and changes none.
pub(crate) struct KeyVersion {
    pub(crate) suite: Suite,
    pub(crate) public: PublicHalf,
    /// The halves that are here; empty where there are none.
    pub(crate) secret: SecretHandle,
    pub(crate) created_unix_ms: u64,
    pub(crate) maker: Maker,
    /// What the token said of it last.
    pub(crate) evidence: ArcSwapOption<Evidence>,
    /// Whether it was asked for that since the start, where it has said nothing.
    pub(crate) evidence_asked: AtomicBool,
}

impl KeyVersion {
    pub(crate) fn new(
        suite: Suite,
        public: PublicHalf,
        secret: SecretHandle,
        created_unix_ms: u64,
        maker: Maker,
        evidence: Option<Evidence>,
    ) -> KeyVersion {
        let evidence = ArcSwapOption::from(evidence.map(Arc::new));
        let evidence_asked = AtomicBool::new(false);
        KeyVersion { suite, public, secret, created_unix_ms, maker, evidence, evidence_asked }
    }

    /// Whether its classical half is in a token.
    pub(crate) fn is_remote(&self) -> bool {
        self.maker.is_remote(self.suite)
    }

    /// What is here, and sealed in a store, where there is something.
    pub(crate) fn sealed(&self) -> Option<Sealed> {
        self.maker.sealed(self.suite)
    }
}

/// Which versions exist, which one signs and which are in use. Replaced whole, so readers never see a mix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The newest active version: it alone signs.
    pub(crate) active: Version,
    /// The newest version that may be seen.
    pub(crate) newest: Version,
    /// The version that follows the active one, published and verifying, not yet signing.
    pub(crate) pending: Option<Pending>,
    /// The states of the key and of its versions.
    pub(crate) life: Life,
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
    /// The head after a transition, by the table of [`kms_core::key_state`]. Taking a pending version out of use calls
    /// its activation off, for good: the head stays, and another version may follow it.
    pub(crate) fn after(
        &self,
        target: Option<Version>,
        transition: Transition,
        now_ms: u64,
    ) -> Result<Head> {
        let life = self.life.after(target, transition, now_ms)?;
        let goes_on = |version| life.version(version) == KeyState::Enabled;
        let pending = self.pending.filter(|pending| goes_on(pending.version));
        let pending = pending.filter(|_| life.key() != KeyState::Destroyed);
        Ok(Head { pending, life, ..*self })
    }
}

/// What a key is made with, for good.
pub(crate) struct KeyFacts {
    pub(crate) id: KeyId,
    pub(crate) signs: Signs,
    pub(crate) created_unix_ms: u64,
    /// A JSON object, kept and shown as it came.
    pub(crate) policy_hints: Option<Box<str>>,
    /// What the hints say that the service acts on.
    pub(crate) policy: KeyPolicy,
    /// Verifications of the tenant that held by a classical half alone.
    pub(crate) classical_only: Arc<AtomicU64>,
}

/// A key and its history.
pub(crate) struct Key {
    pub(crate) facts: KeyFacts,
    /// Which part of the rollout it belongs to: 0 to 99.
    pub(crate) bucket: u8,
    /// Version N is at index N - 1. Append-only; what lies past [`Head::newest`] is not published.
    versions: boxcar::Vec<KeyVersion>,
    head: ArcSwap<Head>,
    /// Held by whoever changes the head. A panic under it poisons this key, and this key only.
    changing: Mutex<()>,
    /// Of the last change that a store has; changed under `changing`.
    pub(crate) revision: AtomicU64,
    /// Shared by uses while they are recorded, and held alone by a transition from its record to its effect: so the
    /// order of records is the order of effects.
    recording: RwLock<()>,
}

impl Key {
    pub(crate) fn new(facts: KeyFacts, first: KeyVersion) -> Key {
        let (active, newest) = (Version::MIN, Version::MIN);
        let head = Head { active, newest, pending: None, life: Life::default() };
        Key::restored(facts, vec![first], head, 0)
    }

    /// A key with its history.
    pub(crate) fn restored(
        facts: KeyFacts,
        versions: Vec<KeyVersion>,
        head: Head,
        revision: u64,
    ) -> Key {
        let versions = versions.into_iter().collect();
        let bucket = policy::bucket(&facts.id);
        Key {
            facts,
            bucket,
            versions,
            head: ArcSwap::from_pointee(head),
            changing: Mutex::default(),
            revision: AtomicU64::new(revision),
            recording: RwLock::default(),
        }
    }

    pub(crate) fn id(&self) -> &KeyId {
        &self.facts.id
    }

    /// The head as it was put in force last.
    pub(crate) fn load(&self) -> Guard<Arc<Head>> {
        self.head.load()
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
        if version > head.newest {
            return None;
        }
        self.versions.get(version.get() as usize - 1)
    }

    /// Every version up to the newest published one.
    pub(crate) fn versions_of(&self, head: &Head) -> impl Iterator<Item = &KeyVersion> {
        self.versions.iter().map(|(_, version)| version).take(head.newest.get() as usize)
    }

    /// Refuses a version that is not in use as the key is at this very moment.
    ///
    /// # Errors
    /// `Conflict`, field `kid`.
    pub(crate) fn check_enabled(&self, version: Version) -> Result<()> {
        self.load().life.check(version)
    }

    /// Keeps transitions from taking effect until what is returned is dropped.
    ///
    /// # Errors
    /// `Internal` when a transition was interrupted by a panic.
    pub(crate) fn record_use(&self) -> Result<RwLockReadGuard<'_, ()>> {
        self.recording.read().map_err(|_| poisoned())
    }

    /// Starts a change of the head; one at a time.
    ///
    /// # Errors
    /// `Internal` when an earlier change was interrupted by a panic: the key takes no more changes.
    pub(crate) fn change(&self) -> Result<Change<'_>> {
        let guard = self.changing.lock().map_err(|_| poisoned())?;
        Ok(Change { key: self, head: self.head.load_full(), _guard: guard })
    }

    /// Refuses a key that a panic left in doubt.
    pub(crate) fn check_sound(&self) -> Result<()> {
        if self.changing.is_poisoned() { Err(poisoned()) } else { Ok(()) }
    }
}

/// The right to change one key's head.
pub(crate) struct Change<'a> {
    pub(crate) key: &'a Key,
    pub(crate) head: Arc<Head>,
    _guard: MutexGuard<'a, ()>,
}

impl<'a> Change<'a> {
    /// Adds a version after the newest and publishes it, active at once or pending.
    ///
    /// # Errors
    /// `Conflict` after 2^32 - 1 versions.
    pub(crate) fn push(mut self, version: KeyVersion, pending: Option<Pending>) -> Result<()> {
        let newest = self.next()?;
        let index = self.key.versions.push(version);
        crate::faults::point("rotate.publish");
        debug_assert_eq!(index + 1, newest.get() as usize);
        let active = if pending.is_none() { newest } else { self.head.active };
        self.publish(Head { active, newest, pending, life: self.head.life.clone() });
        Ok(())
    }

    /// The number of the version that is added next.
    ///
    /// # Errors
    /// `Conflict` after 2^32 - 1 versions.
    pub(crate) fn next(&self) -> Result<Version> {
        let next = self.head.newest.checked_add(1);
        next.ok_or_else(|| {
            KmsError::conflict("no version number is left for this key").field("kid")
        })
    }

    /// Waits for uses that are being recorded, and keeps others from it until what is returned is dropped.
    ///
    /// # Errors
    /// `Internal` when a transition was interrupted by a panic.
    pub(crate) fn fence(&self) -> Result<RwLockWriteGuard<'a, ()>> {
        self.key.recording.write().map_err(|_| poisoned())
    }

    /// Puts a head in force: whoever asks from now on sees it.
    pub(crate) fn publish(&mut self, head: Head) {
        self.head = Arc::new(head);
        self.key.head.store(Arc::clone(&self.head));
    }
}

fn poisoned() -> KmsError {
    KmsError::internal("an earlier change of this key was interrupted; it is closed to new ones")
}
