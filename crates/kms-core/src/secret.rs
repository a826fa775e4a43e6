//! Secret bytes: wiped when dropped, never printed.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::clock::Entropy;
use crate::error::Result;

/// `N` secret bytes on the heap.
///
/// Moving the value moves a pointer, so no copy of the bytes is left behind; dropping it wipes
/// them. There is no `Debug`, `Clone` or `PartialEq`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Draws fresh bytes straight into place.
    ///
    /// # Errors
    /// `Internal` when the operating system gives no randomness.
    pub fn random(entropy: &dyn Entropy) -> Result<Self> {
        let mut secret = Secret(Box::new([0; N]));
        entropy.fill(&mut secret.0[..])?;
        Ok(secret)
    }

    /// Lets `write` fill fresh bytes in place.
    pub fn fill(write: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Secret(Box::new([0; N]));
        write(&mut secret.0);
        secret
    }

    /// Takes bytes over and wipes the caller's copy.
    pub fn take(bytes: &mut [u8; N]) -> Self {
        let secret = Secret(Box::new(*bytes));
        bytes.zeroize();
        secret
    }

    /// The bytes, for the call that needs them. Never store what this returns.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_wipes_the_source() {
        let mut bytes = [7u8; 32];
        let secret = Secret::take(&mut bytes);
        assert_eq!(bytes, [0; 32]);
        assert_eq!(secret.expose(), &[7; 32]);
    }

    #[test]
    fn zeroize_clears_the_bytes_in_place() {
        let mut secret = Secret::take(&mut [9u8; 32]);
        secret.zeroize();
        assert_eq!(secret.expose(), &[0; 32]);
    }
}
