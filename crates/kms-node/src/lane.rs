//! Lanes of the post-quantum algorithms, which JavaScript names by number.

use kms_core::{KmsError, Result};
use kms_crypto::lane::Lane;
use napi_derive::napi;

use crate::task::guard;

/// The lanes of ML-DSA and ML-KEM, in the order of their numbers.
#[napi]
pub fn post_quantum_lanes() -> napi::Result<Vec<&'static str>> {
    guard("postQuantumLanes", || Ok(Lane::ALL.iter().map(|lane| lane.name()).collect()))
}

/// The lane of a number.
///
/// # Errors
/// `BadRequest`, field `lane`.
pub(crate) fn numbered(number: u32) -> Result<Lane> {
    Lane::ALL
        .get(number as usize)
        .copied()
        .ok_or_else(|| KmsError::bad_request("no such lane in this build").field("lane"))
}
