//! Where keys are kept: a root key that seals, and a store of what was sealed.

use uuid::Uuid;

use crate::algorithm::Signs;
use crate::clock::Entropy;
use crate::error::Result;
use crate::key_id::{KeyId, Version};
use crate::secret::Secret;
use crate::secret_bytes::SecretBytes;

/// Longest sealed form that a root key may give, in bytes.
pub const MAX_ROOT_SEALED_LEN: usize = 8 * 1024;

/// The key at the top: it seals the 32 bytes from which a store's other keys hang, once a start or a rekey.
///
/// A call may take a second and may cross a network or a device; it is made without any lock held. What is sealed
/// opens with the same root key and the same `context` only. Implementations keep nothing of what they seal, retry
/// what their medium calls transient for no longer than their own configured deadline, and are called from any
/// thread.
pub trait RootKey: Send + Sync {
    /// What kind it is, for the header of a store and for messages: `passphrase`, `key-file`, `age-identity`, …
    fn kind(&self) -> &'static str;

    /// Seals a key; at most [`MAX_ROOT_SEALED_LEN`] bytes. Nothing in it repeats from call to call.
    ///
    /// # Errors
    /// `StoreUnavailable` when the root key cannot be used now, `Internal` without randomness.
    fn seal(&self, key: &Secret<32>, context: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>>;

    /// Opens what [`RootKey::seal`] gave. The bytes are untrusted: parameters in them are bounded before anything is
    /// allocated or computed by them.
    ///
    /// # Errors
    /// `StoreUnavailable`, not retryable, where it was sealed by another root key or is damaged (which cannot be told
    /// apart); retryable when the root key cannot be used now.
    fn unseal(&self, sealed: &[u8], context: &[u8]) -> Result<Secret<32>>;
}

/// The state of a key or of a version, as it is kept. When a destruction is due is wall time here: it has to outlive
/// the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoredState {
    /// In use.
    #[default]
    Enabled,
    /// Out of use, and may be enabled again.
    Disabled,
    /// Out of use, destroyed at this time unless that is cancelled before.
    DestroyScheduled {
        /// In Unix milliseconds.
        at_unix_ms: u64,
    },
    /// The secret is gone for good.
    Destroyed,
}

/// When a version signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// It was activated, which nothing undoes.
    Active,
    /// Published, not signing until this time.
    At {
        /// In Unix milliseconds; [`NEVER`] once that was called off.
        unix_ms: u64,
    },
}

/// The time of an activation that was called off.
pub const NEVER: u64 = u64::MAX;

impl VersionFacts {
    /// Puts the version in another state. One that is taken out of use before it was activated never is.
    pub fn enter(&mut self, state: StoredState) {
        self.state = state;
        if state != StoredState::Enabled && self.activation != Activation::Active {
            self.activation = Activation::At { unix_ms: NEVER };
        }
    }
}

/// What a key is made with, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// Tenant, purpose, algorithm and UUID.
    pub id: KeyId,
    /// What its signatures cover.
    pub signs: Signs,
    /// In Unix milliseconds.
    pub created_unix_ms: u64,
    /// JSON text, kept as it came.
    pub policy_hints: Option<Box<str>>,
}

/// The public part of a version. All of it but state and activation is for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionFacts {
    /// Counted from 1, without gaps.
    pub version: Version,
    /// The stable name of its suite, such as `ed25519` or `hybrid`.
    pub suite: Box<str>,
    /// In Unix milliseconds.
    pub created_unix_ms: u64,
    /// Its own state; the key's counts beside it.
    pub state: StoredState,
    /// When it signs.
    pub activation: Activation,
    /// The encoded public key of each track, the classical one first.
    pub public: Vec<Vec<u8>>,
    /// The continuity proof of the rotation that made it, where there is one.
    pub proof: Option<Box<[u8]>>,
}

/// Counts the committed changes of a store; a key's revision is that of its last change. Only ever grows.
pub type Revision = u64;

/// A key as it is kept, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// For good.
    pub facts: KeyFacts,
    /// The key's own state.
    pub state: StoredState,
    /// What the next [`MetaStore::commit`] for this key has to expect.
    pub revision: Revision,
    /// Version N at index N - 1; never empty.
    pub versions: Vec<VersionFacts>,
}

/// One change of one key, all or nothing.
#[derive(Clone, Copy)]
pub enum Change<'a> {
    /// A new key with its first version. The expected revision is 0.
    Create {
        /// The key.
        facts: &'a KeyFacts,
        /// Its version 1.
        first: &'a VersionFacts,
        /// The secret of that version.
        secret: &'a SecretBytes,
    },
    /// One more version.
    Rotate {
        /// The next in number.
        version: &'a VersionFacts,
        /// Its secret.
        secret: &'a SecretBytes,
    },
    /// A pending version becomes active.
    Activate {
        /// Which.
        version: Version,
    },
    /// The key's own state. [`StoredState::Destroyed`] wipes the secrets of all versions.
    SetKeyState(StoredState),
    /// A version's own state, by [`VersionFacts::enter`]. [`StoredState::Destroyed`] wipes its secret.
    SetVersionState {
        /// Which.
        version: Version,
        /// The new state.
        state: StoredState,
    },
}

/// To whom an op_id belongs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnswerScope {
    /// The tenant.
    pub tenant: Box<str>,
    /// Who asked: a capability's identifier, or `library`.
    pub actor: Box<str>,
    /// The operation, by the engine's name.
    pub op: Box<str>,
    /// The client's UUID.
    pub op_id: Uuid,
}

/// In the place of an operation, none of which has this name.
const MAKING: &str = "generate";

impl AnswerScope {
    /// Where it is noted that the first version of a key is about to be made outside of the store. With such a note, and
    /// without the key, what was made comes to nothing. That is true of the newest copy of a store only: an older one is
    /// without the key because it is older. So a store forgets its notes unless its anchor says that it is the newest.
    pub fn note_of_making(key: &KeyId) -> AnswerScope {
        AnswerScope {
            tenant: key.tenant.as_str().into(),
            actor: "ron-kms".into(),
            op: MAKING.into(),
            op_id: key.uuid,
        }
    }

    /// Whether it is one of these.
    pub fn is_note_of_making(&self) -> bool {
        &*self.op == MAKING
    }
}

/// A recorded answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whose.
    pub scope: AnswerScope,
    /// BLAKE3-256 of the request.
    pub fingerprint: [u8; 32],
    /// When it was given, in Unix milliseconds; kept for [`ANSWER_KEPT_MS`] from then.
    pub at_unix_ms: u64,
    /// What was answered, in the engine's encoding. Never a secret.
    pub body: Vec<u8>,
}

/// How long an answer is kept: 24 hours, in milliseconds.
pub const ANSWER_KEPT_MS: u64 = 24 * 3_600_000;

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is in force, and durable where the store is.
    Done {
        /// The key's revision now.
        revision: Revision,
    },
    /// The key is not at the expected revision; nothing was changed. Load it and decide again.
    Conflict {
        /// Where it is; 0 where there is no such key.
        revision: Revision,
    },
    /// This op_id was answered before; nothing was changed. Whether the body was the same is the caller's to compare.
    Answered(Box<Answer>),
}

/// What became of an answer to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is recorded.
    Done,
    /// Another was there first.
    Answered(Box<Answer>),
}

/// Keeps keys: facts, states, versions, public halves, sealed secrets and recorded answers.
///
/// **Atomic.** A commit puts its change and its answer in force together or not at all, whatever stops the process.
/// Two writers that expect the same revision of a key never both succeed, on whichever replicas they are.
///
/// **Durable.** When `commit` or `record` returns `Done`, it outlives the process and, for stores that are durable,
/// a power cut. After an error the outcome is open where the error is not retryable, and nothing was changed where it
/// is; but a destruction that got as far as its tombstone is carried out at the next start even so. After a failed
/// sync a store reads on and refuses every change until it is opened afresh.
///
/// **Legal transitions** are the caller's business, but for these: versions are added in order, nothing leaves
/// `Destroyed`, `Active` stays active, and a key or version is not used to seal once its secret is gone.
///
/// **Threads.** All methods may be called from many threads at once, and block; none calls back into the caller but
/// `load_all`, which must not change the store from within.
pub trait MetaStore: Send + Sync {
    /// Carries out one change of the key with this UUID.
    ///
    /// # Errors
    /// `StoreUnavailable` for a full disk (retryable) or a store that is closed to changes; `NotFound` for a version
    /// that is not there; `Conflict` for what the contract calls illegal; `TooLarge` for fields over the format's
    /// limits; `Backpressure` when no room is left for another answer.
    fn commit(
        &self,
        key: &Uuid,
        expected: Revision,
        change: &Change<'_>,
        answer: Option<&Answer>,
    ) -> Result<Committed>;

    /// Records the answer of an operation that changes no key.
    ///
    /// # Errors
    /// As [`MetaStore::commit`].
    fn record(&self, answer: &Answer) -> Result<Recorded>;

    /// The recorded answer, unless it is older than [`ANSWER_KEPT_MS`].
    ///
    /// # Errors
    /// `StoreUnavailable`, `Internal` when it is damaged.
    fn answer(&self, scope: &AnswerScope) -> Result<Option<Answer>>;

    /// Every key, one after the other, in no order; memory is bounded by the largest key. Keys that are added
    /// meanwhile may be left out.
    ///
    /// # Errors
    /// Those of `visit`, and as [`MetaStore::load`].
    fn load_all(&self, visit: &mut dyn FnMut(StoredKey) -> Result<()>) -> Result<()>;

    /// One key; `None` where there is none.
    ///
    /// # Errors
    /// `StoreUnavailable`, `Internal` when it is damaged.
    fn load(&self, key: &Uuid) -> Result<Option<StoredKey>>;

    /// The secret of a version.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` once it is destroyed; `StoreUnavailable`; `Internal` when it is damaged.
    fn unseal(&self, key: &Uuid, version: Version) -> Result<SecretBytes>;

    /// The revision of the last committed change.
    fn revision(&self) -> Revision;
}

/// One store for several holders.
impl<T: MetaStore + ?Sized> MetaStore for std::sync::Arc<T> {
    fn commit(
        &self,
        key: &Uuid,
        expected: Revision,
        change: &Change<'_>,
        answer: Option<&Answer>,
    ) -> Result<Committed> {
        (**self).commit(key, expected, change, answer)
    }

    fn record(&self, answer: &Answer) -> Result<Recorded> {
        (**self).record(answer)
    }

    fn answer(&self, scope: &AnswerScope) -> Result<Option<Answer>> {
        (**self).answer(scope)
    }

    fn load_all(&self, visit: &mut dyn FnMut(StoredKey) -> Result<()>) -> Result<()> {
        (**self).load_all(visit)
    }

    fn load(&self, key: &Uuid) -> Result<Option<StoredKey>> {
        (**self).load(key)
    }

    fn unseal(&self, key: &Uuid, version: Version) -> Result<SecretBytes> {
        (**self).unseal(key, version)
    }

    fn revision(&self) -> Revision {
        (**self).revision()
    }
}
