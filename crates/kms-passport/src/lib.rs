//! Passports: short-lived signed tokens, as canonical envelopes and as compact JWS.
//!
//! A whole request goes in as bytes and its whole answer comes out as bytes: JSON is read once, strictly, signatures are
//! checked side by side, and nothing is decided on a value that was written anew. Two forms are taken:
//!
//! - an envelope `{"alg":"Ed25519","kid":…,"msg":…,"sig":…}`, whose `msg` is base64url of canonical JSON (RFC 8785),
//! - a compact JWS (RFC 7515) with the protected header `alg` (`EdDSA` of RFC 8037 or `Ed25519` of RFC 9864), `kid`, and
//!   perhaps `typ: "JWT"`, and nothing else. The key decides the algorithm; a header can only agree.
//!
//! No I/O, no threads; every type here may be shared between threads.

mod answer;
mod base64url;
mod claims;
mod counters;
mod issue;
mod json;
mod jws;
mod keys;
mod open;
mod reason;
mod replay;
mod request;
#[cfg(test)]
mod tests;
mod time;
mod verify;
mod work;

pub use answer::Outcome;
pub use counters::{BATCH_BOUNDS, Counters, Snapshot};
pub use issue::{Format, IssuePolicy, Issued, issue};
pub use json::{MAX_BYTES, MAX_DEPTH, MAX_VALUES, canonical};
pub use reason::Reason;
pub use replay::ReplayWindow;
pub use time::{Now, TimeGuard};
pub use verify::{Policy, Verifier};

#[doc(hidden)]
pub mod fuzzing;
