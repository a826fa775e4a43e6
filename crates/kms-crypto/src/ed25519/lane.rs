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
    /// AWS-LC, behind the same byte filters.
    #[cfg(feature = "aws-lc")]
    AwsLc,
    /// ring, behind the same byte filters.
    #[cfg(feature = "ring")]
    Ring,
}

impl VerifyLane {
    /// Every native lane of this build.
    pub const ALL: &[VerifyLane] = &[
        VerifyLane::Auto,
        VerifyLane::Simd,
        VerifyLane::Dalek,
        VerifyLane::DalekBatch,
        #[cfg(feature = "aws-lc")]
        VerifyLane::AwsLc,
        #[cfg(feature = "ring")]
        VerifyLane::Ring,
    ];

    /// The name users choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            VerifyLane::Auto => "auto",
            VerifyLane::Simd => "simd",
            VerifyLane::Dalek => "dalek",
            VerifyLane::DalekBatch => "dalek-batch",
            #[cfg(feature = "aws-lc")]
            VerifyLane::AwsLc => "aws-lc",
            #[cfg(feature = "ring")]
            VerifyLane::Ring => "ring",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// `BadRequest`, field `lane`.
    pub fn parse(name: &str) -> Result<VerifyLane> {
        VerifyLane::ALL
            .iter()
            .copied()
            .find(|lane| lane.name() == name)
            .ok_or_else(|| KmsError::bad_request("no such lane in this build").field("lane"))
    }
}

/// Who signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignLane {
    /// The fastest lane that wipes its keys: AWS-LC where it is built with its assembly (which its Windows
    /// build lacks for this curve), ed25519-dalek elsewhere.
    #[default]
    Auto,
    /// ed25519-dalek.
    Dalek,
    /// AWS-LC.
    #[cfg(feature = "aws-lc")]
    AwsLc,
    /// ring. It never wipes its copy of a key: for benchmarks only.
    #[cfg(feature = "ring")]
    Ring,
}

impl SignLane {
    /// Every native lane of this build.
    pub const ALL: &[SignLane] = &[
        SignLane::Auto,
        SignLane::Dalek,
        #[cfg(feature = "aws-lc")]
        SignLane::AwsLc,
        #[cfg(feature = "ring")]
        SignLane::Ring,
    ];

    /// The lane that `auto` stands for.
    pub(super) const fn resolved(self) -> SignLane {
        match self {
            #[cfg(feature = "aws-lc")]
            SignLane::Auto if kms_aws_lc::ASSEMBLY => SignLane::AwsLc,
            SignLane::Auto => SignLane::Dalek,
            named => named,
        }
    }

    /// The name users choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            SignLane::Auto => "auto",
            SignLane::Dalek => "dalek",
            #[cfg(feature = "aws-lc")]
            SignLane::AwsLc => "aws-lc",
            #[cfg(feature = "ring")]
            SignLane::Ring => "ring",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// `BadRequest`, field `lane`.
    pub fn parse(name: &str) -> Result<SignLane> {
        SignLane::ALL
            .iter()
            .copied()
            .find(|lane| lane.name() == name)
            .ok_or_else(|| KmsError::bad_request("no such lane in this build").field("lane"))
    }
}
