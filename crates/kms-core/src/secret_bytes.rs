//! Secret bytes of a length that is known at run time only.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Secret bytes on the heap, at most as many as they were made with: wiped when dropped, never printed.
///
/// There is no `Debug`, `Clone` or `PartialEq`, and no way to grow, which would leave a copy behind.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Box<[u8]>);

impl SecretBytes {
    /// Lets `write` fill `len` fresh bytes in place.
    pub fn fill(len: usize, write: impl FnOnce(&mut [u8])) -> Self {
        let mut secret = SecretBytes(vec![0; len].into_boxed_slice());
        write(&mut secret.0);
        secret
    }

    /// Copies bytes that the caller keeps, and must wipe.
    pub fn copy_of(bytes: &[u8]) -> Self {
        SecretBytes(bytes.into())
    }

    /// The bytes, for the call that needs them. Never store what this returns.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to change in place.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

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
