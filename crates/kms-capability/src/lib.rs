//! Capabilities: macaroons (libmacaroons' version 2 in base64url) with this service's caveats, verified here before
//! anything else of a request is looked at.
//!
//! A macaroon is an identifier and caveats under a chain of HMACs: whoever has one can append a caveat, and nobody can
//! take one away. [`Verifier::admit`] is the way in; what comes out is a [`Grant`].

mod cache;
pub mod caveat;
mod ceilings;
mod chain;
pub mod encoding;
pub mod grant;
pub mod identifier;
mod limiter;
pub mod mint;
pub mod network;
pub mod refusal;
pub mod revocation;
pub mod root_keys;
pub mod verifier;

pub use ceilings::Ceilings;
pub use encoding::{MAX_CAVEATS, MAX_TOKEN_LEN, Macaroon};
pub use grant::Grant;
pub use identifier::Identifier;
pub use network::Network;
pub use refusal::Refusal;
pub use root_keys::RootKeys;
pub use verifier::{Admission, Verifier, VerifierConfig};

/// The location of every capability of this service. It is not under the MAC, so there is one only.
pub const LOCATION: &str = "ron-kms";
/// The longest that a capability lives, in milliseconds: 30 days.
pub const MAX_LIFE_MS: u64 = 30 * 24 * 3_600_000;

#[cfg(test)]
mod tests;
