//! Custody in a hardware security module, over PKCS#11.
//!
//! Keys are made in the token and used by handle; public halves are verified elsewhere. [`Token`] is the handle, and
//! `docs/hsm.md` what an operator needs. What cannot be contained is a crash inside the vendor's library: it is in this
//! process.
//!
//! Who does what: `module.rs` the registry of the process · `loader.rs` how a library is loaded beside those of Node ·
//! `login.rs` one login, no second try of a wrong PIN ·
//! `doubt.rs` nor of one that may have been · `session.rs` one session and its handles · `pool/` the threads ·
//! `worker.rs` one of them · `link.rs` the circuit breaker, pure · `job.rs` a call and its deadline · `watch.rs` deadlines
//! of calls that nobody waits for · `codes.rs` every return code · `object_id.rs` how keys are found again ·
//! `pair.rs` key pairs · `device_key.rs` keys of the service's own · `keys.rs` Ed25519 · `agreement.rs` X25519 · `raw.rs` the one call past the bindings.

mod agreement;
mod calls;
mod capabilities;
mod codes;
mod config;
mod device_key;
mod doubt;
mod error;
mod evidence;
mod job;
mod keys;
mod link;
mod loader;
mod login;
mod module;
mod object_id;
mod pair;
mod pool;
mod raw;
mod root_key;
mod session;
mod signer;
mod token;
mod watch;
mod worker;
mod wrapping;

pub use calls::{CallStats, LATENCY_BOUNDS};
pub use capabilities::{Capabilities, Identity};
pub use codes::{Class, Code};
pub use config::{
    Backoff, Config, Deadlines, MAX_LABEL_LEN, MAX_PIN_LEN, MAX_SESSIONS, PoolLimits,
};
pub use error::{Error, Result};
pub use evidence::Evidence;
pub use keys::{FoundVersion, SIGNATURE_LEN};
pub use object_id::{KEY_ID_LEN, WRAPPING_ID_LEN};
pub use pair::PUBLIC_KEY_LEN;
pub use pool::Sessions;
pub use root_key::{HsmRootKey, STORE_ROOT};
pub use token::{Stats, Token};
pub use wrapping::{MAX_SECRET_LEN, OVERHEAD};
