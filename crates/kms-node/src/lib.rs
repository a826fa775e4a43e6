//! The Node addon: the only crate that knows napi, and the composition root.
//!
//! Every export goes through `guard` or `spawn` of `task.rs`: panics become errors and errors keep their
//! code. The typed API that people use is TypeScript, above this.

mod audit;
mod batches;
mod bundle;
mod bytes;
mod capability;
mod ed25519;
mod error;
mod handles;
mod kms;
mod known;
mod lane;
mod ml_dsa;
mod ml_kem;
mod packed;
mod passport;
mod peer;
mod pkcs11;
mod pq;
mod process;
mod promise;
mod secret_memory;
mod shared;
mod slh_dsa;
mod sockets;
mod store;
mod task;
mod times;
mod wrap;
mod x25519;
