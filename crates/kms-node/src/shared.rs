//! What one thread has open and others take hold of. Each thread of JavaScript has objects of its own over one key
//! service, since an object cannot be handed from thread to thread.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use kms_core::{Entropy, ErrorCode, KmsError, OsEntropy, Result};

/// Things that were offered, by handles. A handle is good once, and for as long as what it stands for is there.
pub(crate) struct Offers<T>(Mutex<Vec<(String, Weak<T>)>>);

impl<T> Offers<T> {
    pub(crate) const fn new() -> Offers<T> {
        Offers(Mutex::new(Vec::new()))
    }

    /// A handle that nobody can guess.
    ///
    /// # Errors
    /// `Internal` where the system gives no randomness.
    pub(crate) fn offer(&self, it: &Arc<T>) -> Result<String> {
        let mut random = [0u8; 16];
        OsEntropy.fill(&mut random)?;
        let handle = format!("{:032x}", u128::from_be_bytes(random));
        let mut offers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Of a thread that ended before it took what it was offered.
        offers.retain(|(_, it)| it.strong_count() > 0);
        offers.push((handle.clone(), Arc::downgrade(it)));
        Ok(handle)
    }

    /// What a handle stands for.
    ///
    /// # Errors
    /// `NotFound` for one that was taken before, or whose thing is gone.
    pub(crate) fn take(&self, handle: &str) -> Result<Arc<T>> {
        let mut offers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = offers.iter().position(|(known, _)| known == handle);
        let it = found.and_then(|index| offers.swap_remove(index).1.upgrade());
        let gone = || KmsError::new(ErrorCode::NotFound, "nothing has this handle");
        it.ok_or_else(|| gone().field("handle"))
    }
}
