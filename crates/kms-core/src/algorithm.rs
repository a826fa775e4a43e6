//! The one table of algorithms. Strings stop here: below it only [`Algorithm`] travels.

use crate::error::{KmsError, Result};

/// An algorithm that this build can hold keys of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// RFC 8032 Ed25519 with strict verification.
    Ed25519,
}

impl Algorithm {
    /// Every algorithm of this build; the position is [`Algorithm::index`].
    pub const ALL: [Algorithm; 1] = [Algorithm::Ed25519];

    /// The name in `alg` fields, in kids and in metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Ed25519 => "ed25519",
        }
    }

    /// Position in [`Algorithm::ALL`], for tables indexed by algorithm.
    pub const fn index(self) -> usize {
        self as usize
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
