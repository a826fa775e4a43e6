//! Secret bytes: wiped when dropped, never printed.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::clock::Entropy;
use crate::error::Result;
use crate::secret_memory::Slot;

/// `N` secret bytes in [secret memory](crate::secret_memory).
///
/// Moving the value moves a pointer, so no copy of the bytes is left behind; dropping it wipes
/// them. There is no `Debug`, `Clone` or `PartialEq`.
///
/// Making one unwinds with a `KmsError` where there is no memory, or none that can be locked and that is required; the
/// engine and the addon turn that into the error of the operation.
pub struct Secret<const N: usize>(Slot);

impl<const N: usize> Secret<N> {
    /// Draws fresh bytes straight into place.
    ///
    /// # Errors
    /// `Internal` when the operating system gives no randomness.
    pub fn random(entropy: &dyn Entropy) -> Result<Self> {
        let mut secret = Secret(Slot::new(N));
        entropy.fill(secret.0.bytes_mut())?;
        Ok(secret)
    }

    /// Lets `write` fill fresh bytes in place.
    pub fn fill(write: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Secret(Slot::new(N));
        write(secret.bytes_mut());
        secret
    }

    /// Takes bytes over and wipes the caller's copy.
    pub fn take(bytes: &mut [u8; N]) -> Self {
        let secret = Secret::fill(|out| out.copy_from_slice(bytes));
        bytes.zeroize();
        secret
    }

    /// The bytes, for the call that needs them. Never store what this returns.
    #[expect(clippy::missing_panics_doc, reason = "a slot has the length that it was made with")]
    #[inline]
    pub fn expose(&self) -> &[u8; N] {
        self.0.bytes().try_into().expect("N bytes")
    }

    fn bytes_mut(&mut self) -> &mut [u8; N] {
        self.0.bytes_mut().try_into().expect("N bytes")
    }
}

impl<const N: usize> Zeroize for Secret<N> {
    fn zeroize(&mut self) {
        self.0.bytes_mut().zeroize();
    }
}

/// A slot wipes itself.
impl<const N: usize> ZeroizeOnDrop for Secret<N> {}

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
