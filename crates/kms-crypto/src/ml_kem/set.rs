//! The parameter sets.

use kms_core::{KmsError, Result};

/// A parameter set of FIPS 203, section 8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Set {
    /// Category 1.
    MlKem512,
    /// Category 3, the default.
    #[default]
    MlKem768,
    /// Category 5.
    MlKem1024,
}

impl Set {
    /// Every parameter set.
    pub const ALL: [Set; 3] = [Set::MlKem512, Set::MlKem768, Set::MlKem1024];

    /// The name users choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            Set::MlKem512 => "ml-kem-512",
            Set::MlKem768 => "ml-kem-768",
            Set::MlKem1024 => "ml-kem-1024",
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
            .ok_or_else(|| KmsError::bad_request("no such ML-KEM parameter set").field("set"))
    }

    /// Length of an encoded public (encapsulation) key in bytes.
    pub const fn public_key_len(self) -> usize {
        match self {
            Set::MlKem512 => 800,
            Set::MlKem768 => 1184,
            Set::MlKem1024 => 1568,
        }
    }

    /// Length of a ciphertext in bytes.
    pub const fn ciphertext_len(self) -> usize {
        match self {
            Set::MlKem512 => 768,
            Set::MlKem768 => 1088,
            Set::MlKem1024 => 1568,
        }
    }
}
