//! The one table of algorithms. Strings stop here: below it only [`Algorithm`] travels.

use crate::error::{KmsError, Result};

/// Defines [`Algorithm`], its list and its names from one table.
macro_rules! algorithms {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal,)+) => {
        /// An algorithm that keys can be of. A parameter set that is not the default has a name of its own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Algorithm {
            $($(#[$doc])+ $variant,)+
        }

        impl Algorithm {
            /// Every algorithm; the position is [`Algorithm::index`].
            pub const ALL: [Algorithm; [$($name),+].len()] = [$(Algorithm::$variant),+];

            /// The name in `alg` fields, in kids and in metric labels.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Algorithm::$variant => $name,)+
                }
            }
        }
    };
}

algorithms! {
    /// Ed25519 (RFC 8032) with strict verification.
    Ed25519 = "ed25519",
    /// ML-DSA-65 (FIPS 204), the default set.
    MlDsa65 = "ml-dsa",
    /// ML-DSA-44.
    MlDsa44 = "ml-dsa-44",
    /// ML-DSA-87.
    MlDsa87 = "ml-dsa-87",
    /// SLH-DSA-SHA2-128s (FIPS 205), the default set.
    SlhDsaSha2_128s = "slh-dsa",
    /// SLH-DSA-SHA2-128f.
    SlhDsaSha2_128f = "slh-dsa-sha2-128f",
    /// SLH-DSA-SHA2-192s.
    SlhDsaSha2_192s = "slh-dsa-sha2-192s",
    /// SLH-DSA-SHA2-192f.
    SlhDsaSha2_192f = "slh-dsa-sha2-192f",
    /// SLH-DSA-SHA2-256s.
    SlhDsaSha2_256s = "slh-dsa-sha2-256s",
    /// SLH-DSA-SHA2-256f.
    SlhDsaSha2_256f = "slh-dsa-sha2-256f",
    /// SLH-DSA-SHAKE-128s.
    SlhDsaShake128s = "slh-dsa-shake-128s",
    /// SLH-DSA-SHAKE-128f.
    SlhDsaShake128f = "slh-dsa-shake-128f",
    /// SLH-DSA-SHAKE-192s.
    SlhDsaShake192s = "slh-dsa-shake-192s",
    /// SLH-DSA-SHAKE-192f.
    SlhDsaShake192f = "slh-dsa-shake-192f",
    /// SLH-DSA-SHAKE-256s.
    SlhDsaShake256s = "slh-dsa-shake-256s",
    /// SLH-DSA-SHAKE-256f.
    SlhDsaShake256f = "slh-dsa-shake-256f",
    /// X25519 (RFC 7748).
    X25519 = "x25519",
    /// ML-KEM-768 (FIPS 203), the default set.
    MlKem768 = "ml-kem",
    /// ML-KEM-512.
    MlKem512 = "ml-kem-512",
    /// ML-KEM-1024.
    MlKem1024 = "ml-kem-1024",
}

impl Algorithm {
    /// Position in [`Algorithm::ALL`], for tables indexed by algorithm.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The algorithm without its parameter set: `ed25519`, `ml-dsa`, `slh-dsa`, `x25519` or `ml-kem`. Operators
    /// allow algorithms by it.
    pub const fn family(self) -> &'static str {
        match self {
            Algorithm::Ed25519 => "ed25519",
            Algorithm::MlDsa44 | Algorithm::MlDsa65 | Algorithm::MlDsa87 => "ml-dsa",
            Algorithm::X25519 => "x25519",
            Algorithm::MlKem512 | Algorithm::MlKem768 | Algorithm::MlKem1024 => "ml-kem",
            _ => "slh-dsa",
        }
    }

    /// Whether its keys wrap, and do not sign.
    pub const fn wraps(self) -> bool {
        matches!(
            self,
            Algorithm::X25519 | Algorithm::MlKem512 | Algorithm::MlKem768 | Algorithm::MlKem1024
        )
    }

    /// Whether it holds against a quantum computer.
    pub const fn is_post_quantum(self) -> bool {
        !matches!(self, Algorithm::Ed25519 | Algorithm::X25519)
    }

    /// Parses a name. Names are exact and lower-case.
    ///
    /// # Errors
    /// `Unsupported`, with field `alg`, for every other string.
    pub fn parse(name: &str) -> Result<Algorithm> {
        Algorithm::ALL
            .into_iter()
            .find(|alg| alg.name() == name)
            .ok_or_else(|| KmsError::unsupported("algorithm is not in this build").field("alg"))
    }
}

/// What a signature of a key covers; fixed when the key is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signs {
    /// The 32 raw bytes of BLAKE3-256(payload).
    Digest,
    /// The message bytes themselves.
    Message,
}

impl Signs {
    /// The name in `signs` fields.
    pub const fn name(self) -> &'static str {
        match self {
            Signs::Digest => "digest",
            Signs::Message => "message",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// `BadRequest`, with field `signs`.
    pub fn parse(name: &str) -> Result<Signs> {
        match name {
            "digest" => Ok(Signs::Digest),
            "message" => Ok(Signs::Message),
            _ => Err(KmsError::bad_request("must be `digest` or `message`").field("signs")),
        }
    }
}
