//! The use cases of the key service: policy, then action, then audit, then the answer.
//!
//! [`Engine`] owns the keys, the threads and the counters. Transports call [`Engine::dispatch`] with a
//! [`Request`], or [`wire`] with JSON bytes; the library calls the use cases straight. All of it is
//! thread-safe: readers never wait for a rotation, they see the old head or the new one.

mod answers;
mod arena;
mod batch;
mod capabilities;
mod checks;
mod cost;
mod counters;
mod create;
mod custody;
mod deadlines;
mod derive;
mod describe;
mod dispatch;
mod engine;
mod evidence;
pub mod faults;
mod idempotency;
mod import;
mod key;
mod known;
mod life_cycle;
mod list;
mod maker;
mod material;
mod op;
mod permission;
pub mod policy;
mod pool;
mod presign;
mod rate;
mod recording;
mod registry;
mod remote;
mod rotate;
mod rotate_by_age;
mod sign;
mod suite;
mod verify;
pub mod wire;
mod wrap;

pub use batch::{BatchItem, SignItem};
pub use capabilities::MintedCapability;
pub use counters::Snapshot;
pub use create::{CreateKey, Created, PublicHalves};
pub use describe::{Attested, Described};
pub use dispatch::{GivenOrFresh, Request, Response, SecretData, WrapRequest};
pub use engine::{Engine, EngineConfig, FAMILIES};
pub use evidence::{AttestPolicy, Attestation, Evidence};
pub use import::ImportKey;
pub use known::{ItemKid, KnownKid};
pub use life_cycle::{MAX_DESTROY_DELAY_MS, StateChanged};
pub use list::{ListKeys, Listed, ListedKey, MAX_PAGE};
pub use material::Signature;
pub use op::Op;
pub use policy::{Mode, PqPolicy, PqRule};
pub use pool::Pool;
pub use presign::{GoOn, Need, is_moved};
pub use recording::AuditVerify;
pub use remote::{Reconciled, Remote};
pub use rotate::{RotateKey, Rotated};
pub use sign::{Payload, SignRequest, Signed, Target};
pub use verify::{SignatureEntry, Verified, VerifyRequest};
pub use wrap::{DataKey, KemMode, MAX_GENERATED_LEN, Unwrapped, Wrapped};

#[cfg(test)]
mod tests;
