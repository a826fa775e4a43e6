//! The parameter sets.

use kms_core::{KmsError, Result};

/// A parameter set of FIPS 205, section 11: the hash, the category by its key length, and `s` for small signatures or `f`
/// for fast signing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Set {
    /// Category 1, the default.
    #[default]
    Sha2_128s,
    /// Category 1.
    Sha2_128f,
    /// Category 3.
    Sha2_192s,
    /// Category 3.
    Sha2_192f,
    /// Category 5.
    Sha2_256s,
    /// Category 5.
    Sha2_256f,
    /// Category 1.
    Shake128s,
    /// Category 1.
    Shake128f,
    /// Category 3.
    Shake192s,
    /// Category 3.
    Shake192f,
    /// Category 5.
    Shake256s,
    /// Category 5.
    Shake256f,
}

impl Set {
    /// Every parameter set.
    pub const ALL: [Set; 12] = [
        Set::Sha2_128s,
        Set::Sha2_128f,
        Set::Sha2_192s,
        Set::Sha2_192f,
        Set::Sha2_256s,
        Set::Sha2_256f,
        Set::Shake128s,
        Set::Shake128f,
        Set::Shake192s,
        Set::Shake192f,
        Set::Shake256s,
        Set::Shake256f,
    ];

    /// The name users choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            Set::Sha2_128s => "slh-dsa-sha2-128s",
            Set::Sha2_128f => "slh-dsa-sha2-128f",
            Set::Sha2_192s => "slh-dsa-sha2-192s",
            Set::Sha2_192f => "slh-dsa-sha2-192f",
            Set::Sha2_256s => "slh-dsa-sha2-256s",
            Set::Sha2_256f => "slh-dsa-sha2-256f",
            Set::Shake128s => "slh-dsa-shake-128s",
            Set::Shake128f => "slh-dsa-shake-128f",
            Set::Shake192s => "slh-dsa-shake-192s",
            Set::Shake192f => "slh-dsa-shake-192f",
            Set::Shake256s => "slh-dsa-shake-256s",
            Set::Shake256f => "slh-dsa-shake-256f",
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
            .ok_or_else(|| KmsError::bad_request("no such SLH-DSA parameter set").field("set"))
    }

    /// The security parameter n in bytes.
    pub(super) const fn n(self) -> usize {
        match self {
            Set::Sha2_128s | Set::Sha2_128f | Set::Shake128s | Set::Shake128f => 16,
            Set::Sha2_192s | Set::Sha2_192f | Set::Shake192s | Set::Shake192f => 24,
            Set::Sha2_256s | Set::Sha2_256f | Set::Shake256s | Set::Shake256f => 32,
        }
    }

    /// Length of the seed of a key in bytes: SK.seed ‖ SK.prf ‖ PK.seed.
    pub const fn seed_len(self) -> usize {
        3 * self.n()
    }

    /// Length of an encoded public key in bytes.
    pub const fn public_key_len(self) -> usize {
        2 * self.n()
    }

    /// Length of a signature in bytes.
    pub const fn signature_len(self) -> usize {
        match self {
            Set::Sha2_128s | Set::Shake128s => 7856,
            Set::Sha2_128f | Set::Shake128f => 17_088,
            Set::Sha2_192s | Set::Shake192s => 16_224,
            Set::Sha2_192f | Set::Shake192f => 35_664,
            Set::Sha2_256s | Set::Shake256s => 29_792,
            Set::Sha2_256f | Set::Shake256f => 49_856,
        }
    }
}

/// Evaluates an expression in which a name stands for the crate's type of a parameter set.
macro_rules! with_set {
    ($set:expr, $name:ident => $body:expr) => {
        with_set!(@arms $set, $name => $body;
            Sha2_128s Sha2_128f Sha2_192s Sha2_192f Sha2_256s Sha2_256f
            Shake128s Shake128f Shake192s Shake192f Shake256s Shake256f)
    };
    (@arms $set:expr, $name:ident => $body:expr; $($variant:ident)+) => {
        match $set {
            $($crate::slh_dsa::Set::$variant => {
                type $name = ::slh_dsa::$variant;
                $body
            })+
        }
    };
}
pub(super) use with_set;
