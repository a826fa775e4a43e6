//! The proofs that rotations left behind: each is checked alone, and held against what the log showed before of the
//! version that signed it.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use kms_core::{Track, Version};
use uuid::Uuid;

use crate::merkle::Hash;
use crate::note::NoteVerifier;
use crate::record::Continuity;

/// Keys whose last proof is remembered, at about 150 bytes each. Proofs of keys beyond are checked alone.
const MOST_KEYS: usize = 1 << 20;

/// What came of the continuity proofs in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Continuities {
    /// Proofs whose signatures hold.
    pub valid: u64,
    /// Of which the signer is the very version that an earlier valid proof in this log led to. The others are the first that the
    /// log has of their key, or follow a version that was rotated away without a proof: nothing but the proof itself says
    /// whose public half it carries.
    pub linked: u64,
    /// Proofs by algorithms that this verifier does not know.
    pub unchecked: u64,
}

/// The last proof of each key.
#[derive(Default)]
pub(super) struct Chains {
    pub(super) counts: Continuities,
    last: HashMap<Uuid, Link>,
}

/// Two versions of a key that the log showed: the one that signed, and the one that it signed for.
struct Link {
    from: (Option<Version>, Hash),
    to: (Option<Version>, Hash),
}

impl Chains {
    /// Checks a proof.
    ///
    /// # Errors
    /// Why it is to be refused.
    pub(super) fn check(
        &mut self,
        it: &Continuity<'_>,
        verifier: &dyn NoteVerifier,
    ) -> Result<(), &'static str> {
        let statement = Continuity::statement(it.from, it.to, &it.from_public, &it.public)
            .map_err(|_| "the continuity proof is malformed")?;
        let from = (it.from.version, digest(&it.from_public));
        let known = self.last.get(&it.from.uuid);
        // A version that signed a proof is what it was. One that was only vouched for may have been given up: where the
        // store did not take a rotation, the next one makes another version of the same number.
        let other = |shown: &(Option<Version>, Hash)| shown.0 == from.0 && shown.1 != from.1;
        if known.is_some_and(|link| other(&link.from)) {
            return Err("the continuity proof is by another public key than the log showed before");
        }
        let linked = known.is_some_and(|link| link.to == from);
        match verifier.continuity(it.from, &it.from_public, &statement, &it.signatures) {
            None => {
                self.counts.unchecked += 1;
                self.last.remove(&it.from.uuid);
                return Ok(());
            }
            Some(false) => return Err("the continuity proof is not signed by the version before"),
            Some(true) => {}
        }
        self.counts.valid += 1;
        self.counts.linked += u64::from(linked);
        if known.is_some() || self.last.len() < MOST_KEYS {
            let to = (Some(it.to), digest(&it.public));
            self.last.insert(it.from.uuid, Link { from, to });
        }
        Ok(())
    }
}

/// Of names and bytes with their lengths.
fn digest(tracks: &[Track<'_>]) -> Hash {
    let mut hash = Sha256::new();
    for track in tracks {
        for part in [track.alg.as_bytes(), track.bytes] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize().into()
}
