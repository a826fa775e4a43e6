//! The Node addon: the only crate that knows napi, and the composition root.
//!
//! Every export goes through `guard` or `spawn` of `task.rs`: panics become errors and errors keep their
//! code. The typed API that people use is TypeScript, above this.

mod bundle;
mod bytes;
mod ed25519;
mod error;
mod handles;
mod kms;
mod known;
mod packed;
mod pq;
mod process;
mod task;
mod wrap;
