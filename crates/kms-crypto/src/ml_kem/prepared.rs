//! Public keys that are used often.

use std::fmt;

use kms_core::{Entropy, Result, Secret};

use super::key::PublicKey;
#[cfg(target_arch = "x86_64")]
use super::libcrux;
use super::{RND_LEN, SHARED_SECRET_LEN};
use crate::lane::Lane;
#[cfg(target_arch = "x86_64")]
use crate::stack::{EXPANDED_KEM, scrubbed};

/// A checked public key and, where this processor profits from it, its expanded form: 3 to 11 KiB.
///
/// Holds public data only; may be used from several threads at once.
pub struct PreparedKey {
    key: PublicKey,
    #[cfg(target_arch = "x86_64")]
    expanded: Option<libcrux::PublicKey>,
}

impl PreparedKey {
    /// Expands a key: about the time of an encapsulation.
    pub fn new(key: PublicKey) -> PreparedKey {
        PreparedKey {
            #[cfg(target_arch = "x86_64")]
            expanded: libcrux::available()
                .then(|| libcrux::PublicKey::expand(key.set(), key.as_bytes()))
                .flatten(),
            key,
        }
    }

    /// The key itself.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// [`super::encapsulate`]; the lane `auto` uses the expanded form.
    ///
    /// # Errors
    /// As [`super::encapsulate`].
    pub fn encapsulate(
        &self,
        lane: Lane,
        entropy: &dyn Entropy,
    ) -> Result<(Vec<u8>, Secret<SHARED_SECRET_LEN>)> {
        self.encapsulate_from(lane, &Secret::random(entropy)?)
    }

    pub(super) fn encapsulate_from(
        &self,
        lane: Lane,
        rnd: &Secret<RND_LEN>,
    ) -> Result<(Vec<u8>, Secret<SHARED_SECRET_LEN>)> {
        #[cfg(target_arch = "x86_64")]
        if let (Lane::Auto, Some(key)) = (lane, &self.expanded) {
            let mut ciphertext = Vec::new();
            let shared = scrubbed::<EXPANDED_KEM, _>(|| {
                Secret::fill(|out| ciphertext = key.encapsulate(rnd, out))
            });
            return Ok((ciphertext, shared));
        }
        super::encapsulate_from(lane, &self.key, rnd)
    }
}

impl fmt::Debug for PreparedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PreparedKey").field(&self.key).finish()
    }
}
