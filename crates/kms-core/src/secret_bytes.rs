//! Secret bytes of a length that is known at run time only.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::secret_memory::Slot;

/// Secret bytes in [secret memory](crate::secret_memory), at most as many as they were made with: wiped when dropped, never printed.
///
/// There is no `Debug`, `Clone` or `PartialEq`, and no way to grow, which would leave a copy behind.
///
/// Making some unwinds where [`crate::Secret`] does.
pub struct SecretBytes(Slot);

impl SecretBytes {
    /// Lets `write` fill `len` fresh bytes in place.
    pub fn fill(len: usize, write: impl FnOnce(&mut [u8])) -> Self {
        let mut secret = SecretBytes(Slot::new(len));
        write(secret.0.bytes_mut());
        secret
    }

    /// Copies bytes that the caller keeps, and must wipe.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self::fill(bytes.len(), |out| out.copy_from_slice(bytes))
    }

    /// The bytes, for the call that needs them. Never store what this returns.
    pub fn expose(&self) -> &[u8] {
        self.0.bytes()
    }

    /// The bytes, to change in place.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.bytes().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.bytes().is_empty()
    }
}

impl Zeroize for SecretBytes {
    fn zeroize(&mut self) {
        self.0.bytes_mut().zeroize();
    }
}

/// A slot wipes itself.
impl ZeroizeOnDrop for SecretBytes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroize_clears_the_bytes_in_place() {
        let mut secret = SecretBytes::fill(3, |out| out.copy_from_slice(b"abc"));
        assert_eq!((secret.expose(), secret.len()), (&b"abc"[..], 3));
        secret.expose_mut().zeroize();
        assert_eq!(secret.expose(), [0; 3]);
        assert!(SecretBytes::copy_of(b"").is_empty());
    }
}
