//! Where private keys are used that this process does not hold: a signer, and what some signers can do besides.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::algorithm::Algorithm;
use crate::error::Result;
use crate::key_id::{KeyId, Kid, Version};
use crate::secret::Secret;

/// Signs with keys that it holds and that never leave it.
///
/// **Deadlines.** Every call takes the time that the caller can still wait and returns within it; what was begun may go
/// on without the caller. A signer does not wait longer than that for a device, a lock or a queue.
///
/// **Retries.** A signer may do what is idempotent once more, within the same time. Signing is, where the algorithm is
/// deterministic.
///
/// **Errors.** `StoreUnavailable` with `retry_after_ms`, at once, while keys cannot be reached; `Timeout`;
/// `Backpressure` when too many calls wait; `NotFound` never: a key that should be there and is not is
/// `StoreUnavailable`, not retryable. In a forked child every call is `StoreUnavailable`, not retryable.
///
/// **Threads.** All methods may be called from many threads at once, and block but where it is said; none may be called
/// with a lock held that a signature or a verification waits for.
///
/// **Trust.** What a signer returns is not verified by it. Whoever publishes a new key verifies a signature of it
/// first, and whoever hands out signatures decides whether each is verified.
pub trait Signer: Send + Sync {
    /// What kind it is, for messages and metric labels: `pkcs11`, …
    fn kind(&self) -> &'static str;

    /// Signs with the track of this algorithm of a version, without a context.
    ///
    /// # Errors
    /// `Unsupported` for an algorithm that it does not have.
    fn sign(&self, kid: &Kid, alg: Algorithm, message: &[u8], within: Duration) -> Result<Vec<u8>>;

    /// As [`Signer::sign`] without a thread that waits: `then` is called once, within that time, on a thread of the
    /// signer or on this one. It must be short, and must not block.
    fn sign_then(
        &self,
        kid: &Kid,
        alg: Algorithm,
        message: &[u8],
        within: Duration,
        then: SignedThen,
    ) {
        then(self.sign(kid, alg, message, within));
    }

    /// How many calls of [`Signer::sign_then`] are worth having under way at once.
    fn width(&self) -> usize {
        1
    }

    /// The attestation class of its keys, such as `pkcs11-yubihsm`.
    fn class(&self) -> String {
        self.kind().to_owned()
    }

    /// Since when keys cannot be reached; `None` while they can. Does not block.
    fn outage(&self) -> Option<Duration> {
        None
    }

    /// Whether keys can be reached now, without asking the device.
    ///
    /// # Errors
    /// `StoreUnavailable`, with `retry_after_ms` where it may pass.
    fn health(&self) -> Result<()>;

    /// Makes keys, where it can.
    fn generator(&self) -> Option<&dyn GenerateKeys> {
        None
    }

    /// Finds keys again after a restart, where it can.
    fn finder(&self) -> Option<&dyn FindKeys> {
        None
    }

    /// Lists keys, where it can.
    fn lister(&self) -> Option<&dyn ListKeys> {
        None
    }

    /// Destroys keys, where it can.
    fn destroyer(&self) -> Option<&dyn DestroyKeys> {
        None
    }

    /// Agrees on secrets, where it can.
    fn agreer(&self) -> Option<&dyn AgreeKeys> {
        None
    }

    /// Tells where keys are, where it can.
    fn attester(&self) -> Option<&dyn AttestKeys> {
        None
    }
}

/// What [`Signer::sign_then`] calls.
pub type SignedThen = Box<dyn FnOnce(Result<Vec<u8>>) + Send>;

/// One track of one version.
type Track = (Uuid, Version, Algorithm);
/// What became of each message.
type Outcomes = HashMap<Box<[u8]>, Result<Vec<u8>>>;

/// Signatures that a signer has made for one call, before the call decides whether they leave.
#[derive(Debug)]
pub struct Presigned {
    since: Instant,
    made: HashMap<Track, Outcomes>,
}

impl Presigned {
    /// None yet, for a call that began at this moment.
    pub fn new(since: Instant) -> Presigned {
        Presigned { since, made: HashMap::new() }
    }

    /// When the call began that they were made for.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Adds one, or what became of it.
    pub fn add(&mut self, kid: &Kid, alg: Algorithm, message: &[u8], outcome: Result<Vec<u8>>) {
        let of_version = self.made.entry((kid.key.uuid, kid.version, alg)).or_default();
        of_version.insert(message.into(), outcome);
    }

    /// What became of the signature by this version of this message; `None` where none was asked for.
    pub fn find(&self, kid: &Kid, alg: Algorithm, message: &[u8]) -> Option<&Result<Vec<u8>>> {
        self.made.get(&(kid.key.uuid, kid.version, alg))?.get(message)
    }
}

/// Makes keys in the place where they are used.
pub trait GenerateKeys {
    /// Makes a key for this track, and gives its encoded public half. Not idempotent: after an error or a timeout the
    /// key may be there, and a signer that finds keys tells.
    ///
    /// # Errors
    /// `Conflict` where there is one; `Unsupported` for an algorithm that it does not have.
    fn generate(&self, kid: &Kid, alg: Algorithm, within: Duration) -> Result<Vec<u8>>;
}

/// Finds keys by names that outlive the process.
pub trait FindKeys {
    /// The versions of a key that have this track, in order, with their encoded public halves.
    ///
    /// # Errors
    /// `Internal` where what is there contradicts itself; those of [`Signer`].
    fn find(
        &self,
        key: &KeyId,
        alg: Algorithm,
        within: Duration,
    ) -> Result<Vec<(Version, Vec<u8>)>>;
}

/// Lists what a place holds.
pub trait ListKeys {
    /// Every version of every key that has the form of ours, in no order. They may be another service's.
    ///
    /// # Errors
    /// Those of [`Signer`].
    fn list(&self, within: Duration) -> Result<Vec<Kid>>;
}

/// Destroys keys for good.
pub trait DestroyKeys {
    /// Destroys the track of a version. What is not there counts as destroyed.
    ///
    /// # Errors
    /// Those of [`Signer`]; it may be destroyed after one.
    fn destroy(&self, kid: &Kid, alg: Algorithm, within: Duration) -> Result<()>;
}

/// Agrees on secrets with X25519 keys that it holds.
pub trait AgreeKeys {
    /// Whether X25519 keys are made here, for those that are about to be made.
    ///
    /// # Errors
    /// Those of [`Signer`], where it is not known yet and could not be found out: a key must not land elsewhere because of
    /// a moment's failure.
    fn agrees(&self, within: Duration) -> Result<bool>;

    /// The shared secret of the track of a version and of `public` (RFC 7748, section 6.1). The caller has refused points
    /// of small order.
    ///
    /// # Errors
    /// Those of [`Signer`].
    fn agree(
        &self,
        kid: &Kid,
        alg: Algorithm,
        public: &[u8; 32],
        within: Duration,
    ) -> Result<Secret<32>>;
}

/// Tells what is known of where a key is.
pub trait AttestKeys {
    /// The evidence for the track of a version, as it is now.
    ///
    /// # Errors
    /// Those of [`Signer`].
    fn attest(&self, kid: &Kid, alg: Algorithm, within: Duration) -> Result<KeyEvidence>;
}

/// What is known of where a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEvidence {
    /// The attestation class, such as `pkcs11-yubihsm`.
    pub class: String,
    /// Whether the evidence says that the key was made there and cannot leave: what a policy may require.
    pub complete: bool,
    /// The facts by name, for people and records.
    pub facts: Vec<(&'static str, String)>,
}
