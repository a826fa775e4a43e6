//! Randomness that is known.

use std::sync::Mutex;

use kms_core::{Entropy, KmsError, Result};

/// Hands out given bytes, in order, and fails when they are used up.
#[derive(Debug)]
pub struct GivenEntropy(Mutex<Vec<u8>>);

impl GivenEntropy {
    /// These bytes, the first one first.
    pub fn new(bytes: &[u8]) -> GivenEntropy {
        GivenEntropy(Mutex::new(bytes.to_vec()))
    }
}

impl Entropy for GivenEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        let mut left = self.0.lock().expect("no test panics while it draws");
        if left.len() < out.len() {
            return Err(KmsError::internal("the given bytes are used up"));
        }
        let rest = left.split_off(out.len());
        out.copy_from_slice(&left);
        *left = rest;
        Ok(())
    }
}
