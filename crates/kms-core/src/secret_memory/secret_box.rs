//! Values of other crates in secret memory.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::resume_unwind;
use std::ptr;

use super::canary::{forked, is_forked};
use super::slab::{Slot, take};

/// A value in secret memory: dropped there, then wiped. There is no `Debug` and no `Clone`.
///
/// For expanded keys of crates that keep them in arrays. What a value has on the heap, `Vec`s and boxes, stays there.
/// Moving a value in leaves a copy on the stack of the caller, who wipes it.
pub struct SecretBox<T> {
    slot: Slot,
    value: PhantomData<T>,
}

impl<T> SecretBox<T> {
    /// Moves a value in.
    ///
    /// # Panics
    /// Unwinds with a [`crate::KmsError`] where there is no secret memory.
    pub fn new(value: T) -> SecretBox<T> {
        const { assert!(align_of::<T>() <= 4096, "slots are aligned to 4 KiB at most") };
        let mut slot = take(size_of::<T>().max(align_of::<T>()));
        // SAFETY: the slot is ours, large enough, and aligned: to its length rounded up to a power of two, which is not
        // below the value's alignment.
        unsafe { slot.bytes_mut().as_mut_ptr().cast::<T>().write(value) };
        SecretBox { slot, value: PhantomData }
    }
}

/// # Panics
/// Unwinds with a [`crate::KmsError`] in a forked child, where the value is gone.
impl<T> Deref for SecretBox<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        if is_forked() {
            resume_unwind(Box::new(forked()));
        }
        // SAFETY: written by `new`, and still there: only a fork wipes it.
        unsafe { &*self.slot.bytes().as_ptr().cast() }
    }
}

/// # Panics
/// As [`SecretBox::deref`].
impl<T> DerefMut for SecretBox<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        if is_forked() {
            resume_unwind(Box::new(forked()));
        }
        // SAFETY: as above, and borrowed mutably.
        unsafe { &mut *self.slot.bytes_mut().as_mut_ptr().cast() }
    }
}

impl<T> Drop for SecretBox<T> {
    fn drop(&mut self) {
        // In a forked child there are zeros, which need not be a value.
        if !is_forked() {
            // SAFETY: written by `new`, dropped once; the slot itself is wiped after this.
            unsafe { ptr::drop_in_place(self.slot.bytes_mut().as_mut_ptr().cast::<T>()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_value_is_aligned_usable_and_dropped_once() {
        #[repr(align(64))]
        struct Wide(u8, Arc<()>);
        let counted = Arc::new(());
        let mut boxed = SecretBox::new(Wide(7, Arc::clone(&counted)));
        assert_eq!(&raw const *boxed as usize % 64, 0);
        boxed.0 += 1;
        assert_eq!((boxed.0, Arc::strong_count(&boxed.1)), (8, 2));
        drop(boxed);
        assert_eq!(Arc::strong_count(&counted), 1);
    }

    #[test]
    fn values_without_a_size_and_large_ones_have_a_place() {
        drop(SecretBox::new(()));
        let large = SecretBox::new([3_u8; 300_000]);
        assert!(large.iter().all(|byte| *byte == 3));
    }
}
