//! The use cases of the key service: policy, then action, then audit, then the answer.
//!
//! [`Engine`] owns the keys, the threads and the counters. Transports call [`Engine::dispatch`] with a
//! [`Request`], or [`wire`] with JSON bytes; the library calls the use cases straight. All of it is
//! thread-safe: readers never wait for a rotation, they see the old head or the new one.

mod arena;
mod batch;
mod counters;
mod create;
mod describe;
mod dispatch;
mod engine;
pub mod faults;
mod idempotency;
mod key;
mod known;
mod op;
mod pool;
mod registry;
mod rotate;
mod sign;
mod verify;
pub mod wire;

pub use batch::{BatchItem, SignItem};
pub use counters::Snapshot;
pub use create::CreateKey;
pub use describe::{Attested, Described};
pub use dispatch::{Request, Response};
pub use engine::{Engine, EngineConfig};
pub use known::{ItemKid, KnownKid};
pub use op::Op;
pub use pool::Pool;
pub use rotate::{RotateKey, Rotated};
pub use sign::{Payload, SignRequest, Signed, Target};
pub use verify::{Mode, SignatureEntry, Verified, VerifyRequest};

#[cfg(test)]
mod tests;
