//! Lanes of the post-quantum algorithms: implementations of one algorithm, chosen by name.

use kms_core::{KmsError, Result};

/// Who computes ML-DSA, ML-KEM and X-Wing. Every lane gives the same bytes and the same verdict on every input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lane {
    /// The fastest lane of this build: AWS-LC where it is built (three to eight times as fast), the crates elsewhere.
    #[default]
    Auto,
    /// The crates `ml-dsa` and `ml-kem`, in Rust only; the reference.
    RustCrypto,
    /// AWS-LC, with mldsa-native and mlkem-native: assembly, or C on processors without AVX2 and NEON.
    #[cfg(feature = "aws-lc")]
    AwsLc,
}

impl Lane {
    /// Every lane of this build.
    pub const ALL: &[Lane] = &[
        Lane::Auto,
        Lane::RustCrypto,
        #[cfg(feature = "aws-lc")]
        Lane::AwsLc,
    ];

    /// The lane that `auto` stands for.
    pub(crate) const fn resolved(self) -> Lane {
        match self {
            #[cfg(feature = "aws-lc")]
            Lane::Auto => Lane::AwsLc,
            #[cfg(not(feature = "aws-lc"))]
            Lane::Auto => Lane::RustCrypto,
            named => named,
        }
    }

    /// The name users choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            Lane::Auto => "auto",
            Lane::RustCrypto => "rustcrypto",
            #[cfg(feature = "aws-lc")]
            Lane::AwsLc => "aws-lc",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// `BadRequest`, field `lane`.
    pub fn parse(name: &str) -> Result<Lane> {
        Lane::ALL
            .iter()
            .copied()
            .find(|lane| lane.name() == name)
            .ok_or_else(|| KmsError::bad_request("no such lane in this build").field("lane"))
    }
}
