//! Lane `dalek-batch`: dalek's true multiscalar batch, offered by name for what it is.
//!
//! Its equation is cofactorless but combined with random coefficients, so torsion in R or A can
//! cancel: with a crafted R of order 2, 4 or 8 about 49, 25 or 12 % of batches pass. The byte
//! filters still hold, and a batch that fails is decided item by item, strictly.

use ed25519_dalek::Signature;

use super::batch::{Decoded, verify_each};
use super::dalek;
use super::strict::signature_is_canonical;

/// Largest number of signatures in one equation: past it the gain is flat, and one bad item costs
/// a strict pass over its whole group.
const GROUP: usize = 256;

pub(super) fn verify(items: &[Decoded<'_>], out: &mut [u8]) {
    for (group, verdicts) in items.chunks(GROUP).zip(out.chunks_mut(GROUP)) {
        verify_group(group, verdicts);
    }
}

fn verify_group(items: &[Decoded<'_>], out: &mut [u8]) {
    let mut messages = Vec::with_capacity(items.len());
    let mut signatures = Vec::with_capacity(items.len());
    let mut keys = Vec::with_capacity(items.len());
    for (item, verdict) in items.iter().zip(&mut *out) {
        *verdict = 0;
        if let Some(key) = item.key.as_ref().filter(|_| signature_is_canonical(item.signature)) {
            *verdict = 1;
            messages.push(item.message);
            signatures.push(Signature::from_bytes(item.signature));
            keys.push(*key.verifying());
        }
    }
    let all_hold = ed25519_dalek::verify_batch(&messages, &signatures, &keys).is_ok();
    if !all_hold {
        verify_each(items, out, dalek::verify);
    }
}
