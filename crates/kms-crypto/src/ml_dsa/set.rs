//! The parameter sets.

use kms_core::{KmsError, Result};

/// A parameter set of FIPS 204, section 4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Set {
    /// Category 2.
    MlDsa44,
    /// Category 3, the default.
    #[default]
    MlDsa65,
    /// Category 5.
    MlDsa87,
}

impl Set {
    /// Every parameter set.
    pub const ALL: [Set; 3] = [Set::MlDsa44, Set::MlDsa65, Set::MlDsa87];

    /// The name users choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            Set::MlDsa44 => "ml-dsa-44",
            Set::MlDsa65 => "ml-dsa-65",
            Set::MlDsa87 => "ml-dsa-87",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// `BadRequest`, field `set`.
    pub fn parse(name: &str) -> Result<Set> {
        Set::ALL
            .into_iter()
            .find(|set| set.name() == name)
            .ok_or_else(|| KmsError::bad_request("no such ML-DSA parameter set").field("set"))
    }

    /// Length of an encoded public key in bytes.
    pub const fn public_key_len(self) -> usize {
        match self {
            Set::MlDsa44 => 1312,
            Set::MlDsa65 => 1952,
            Set::MlDsa87 => 2592,
        }
    }

    /// Length of a signature in bytes.
    pub const fn signature_len(self) -> usize {
        match self {
            Set::MlDsa44 => 2420,
            Set::MlDsa65 => 3309,
            Set::MlDsa87 => 4627,
        }
    }
}
