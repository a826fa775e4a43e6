//! What belongs to a store, in 32 bytes that every change updates in constant time.
//!
//! The sum modulo 2^256, over every file of every key, of HMAC-SHA-256(integrity key, uuid ‖ number ‖ revision);
//! the file `key` is number 0, `vN` is N. A file that was removed, added or put back from an older copy gives another
//! sum, which cannot be made to fit without the key.

use kms_core::Secret;
use kms_core::custody::Revision;
use uuid::Uuid;

use crate::seal;

/// A sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest([u64; 4]);

/// One file at one revision.
pub(crate) type Element<'a> = (&'a Uuid, u32, Revision);

impl Digest {
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Digest {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        Digest(words)
    }

    pub(crate) fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (bytes, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn add(&mut self, integrity: &Secret<32>, element: Element<'_>) {
        let mut carry = false;
        for (word, other) in self.0.iter_mut().zip(hash(integrity, element).0) {
            let (sum, first) = word.overflowing_add(other);
            let (sum, second) = sum.overflowing_add(carry.into());
            (*word, carry) = (sum, first | second);
        }
    }

    pub(crate) fn remove(&mut self, integrity: &Secret<32>, element: Element<'_>) {
        let mut borrow = false;
        for (word, other) in self.0.iter_mut().zip(hash(integrity, element).0) {
            let (rest, first) = word.overflowing_sub(other);
            let (rest, second) = rest.overflowing_sub(borrow.into());
            (*word, borrow) = (rest, first | second);
        }
    }
}

fn hash(integrity: &Secret<32>, (key, number, revision): Element<'_>) -> Digest {
    let parts: [&[u8]; 4] =
        [b"element\0", key.as_bytes(), &number.to_be_bytes(), &revision.to_be_bytes()];
    Digest::from_bytes(&seal::mac(integrity, &parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_does_not_matter_and_what_was_added_can_be_removed() {
        let integrity = Secret::take(&mut [7; 32]);
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let elements = [(&a, 0, 1), (&a, 1, 1), (&b, 0, 2), (&b, 1, 3), (&a, 1, 4)];
        let mut forth = Digest::default();
        let mut back = Digest::default();
        for (one, other) in elements.iter().zip(elements.iter().rev()) {
            forth.add(&integrity, *one);
            back.add(&integrity, *other);
            assert_eq!(Digest::from_bytes(&forth.to_bytes()), forth);
        }
        assert_eq!(forth, back);
        for element in elements {
            assert_ne!(forth, Digest::default());
            forth.remove(&integrity, element);
        }
        assert_eq!(forth, Digest::default());
    }

    #[test]
    fn carries_and_borrows_run_through() {
        let integrity = Secret::take(&mut [7; 32]);
        let element = (&Uuid::nil(), 0, 0);
        let mut sum = Digest([u64::MAX; 4]);
        sum.add(&integrity, element);
        let mut less_one = hash(&integrity, element);
        less_one.0[0] -= 1;
        assert_eq!(sum, less_one, "adding -1");
        sum.remove(&integrity, element);
        assert_eq!(sum, Digest([u64::MAX; 4]));
    }
}
