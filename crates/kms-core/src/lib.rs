//! The words of the key service: algorithms, key ids, errors, secret memory, time and randomness.
//!
//! No I/O of its own, no threads and no transport: every other crate may depend on this one, and
//! this one depends on none of them.

pub mod algorithm;
pub mod anchor;
pub mod audit;
pub mod clock;
pub mod context;
pub mod custody;
pub mod error;
pub mod key_id;
pub mod key_state;
pub mod rights;
pub mod secret;
pub mod secret_bytes;
pub mod secret_memory;
pub mod signer;

pub use algorithm::{Algorithm, Signs};
pub use anchor::{Anchor, AnchorState};
pub use audit::{
    AuditEvent, AuditSink, ContinuityEvent, Rotation, Settled, Track, VerificationEvent,
};
pub use clock::{Clock, Entropy, OsEntropy, SystemClock};
pub use context::Context;
pub use error::{ErrorCode, KmsError, Result};
pub use key_id::{KeyId, Kid, KidRef, Name, Version, version_needed};
pub use key_state::{DestroyAt, KeyState, Life, Transition};
pub use rights::{AlgSet, KidPrefix, Rights, Scopes, Tenants};
pub use secret::Secret;
pub use secret_bytes::SecretBytes;
pub use secret_memory::SecretBox;
pub use signer::{Presigned, Signer};
