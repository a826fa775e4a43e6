//! Lanes: implementations of one algorithm, chosen by name.

use kms_core::{KmsError, Result};

/// Who verifies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyLane {
    /// The fastest strict lane of this processor.
    #[default]
    Auto,
    /// Our accelerated verifier: tables of the keys in use, several signatures side by side.
    Simd,
    /// ed25519-dalek, one independent equation a signature; the reference.
    Dalek,
    /// ed25519-dalek's multiscalar batch; not strict, see [`crate::ed25519::verify_batch`].
    DalekBatch,
    /// ring, behind the same byte filters.
    Ring,
}

impl VerifyLane {
    /// Every native lane.
    pub const ALL: [VerifyLane; 5] = [
        VerifyLane::Auto,
        VerifyLane::Simd,
        VerifyLane::Dalek,
        VerifyLane::DalekBatch,
        VerifyLane::Ring,
    ];

    /// The name users choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            VerifyLane::Auto => "auto",
            VerifyLane::Simd => "simd",
            VerifyLane::Dalek => "dalek",
            VerifyLane::DalekBatch => "dalek-batch",
            VerifyLane::Ring => "ring",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// `BadRequest`, field `lane`.
    pub fn parse(name: &str) -> Result<VerifyLane> {
        VerifyLane::ALL
            .into_iter()
            .find(|lane| lane.name() == name)
            .ok_or_else(|| KmsError::bad_request("no such lane in this build").field("lane"))
    }
}

/// Who signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignLane {
    /// The fastest lane that wipes its keys.
    #[default]
    Auto,
    /// ed25519-dalek.
    Dalek,
    /// ring. It never wipes its copy of a key: for benchmarks only.
    Ring,
}

impl SignLane {
    /// Every native lane.
    pub const ALL: [SignLane; 3] = [SignLane::Auto, SignLane::Dalek, SignLane::Ring];

    /// The name users choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            SignLane::Auto => "auto",
            SignLane::Dalek => "dalek",
            SignLane::Ring => "ring",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// `BadRequest`, field `lane`.
    pub fn parse(name: &str) -> Result<SignLane> {
        SignLane::ALL
            .into_iter()
            .find(|lane| lane.name() == name)
            .ok_or_else(|| KmsError::bad_request("no such lane in this build").field("lane"))
    }
}
