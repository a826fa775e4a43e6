//! Lane `simd`: our accelerated verifier, with the tables of the keys in use.

use std::sync::Arc;

use arc_swap::Guard;
use kms_ed25519_simd::{self as accelerated, Tier};

use super::SIGNATURE_LEN;
use super::batch::Item;
use super::dalek;
use super::key::{KeyRef, PublicKey};
use super::precomputed::{Held, KeyHandle, lookup, stranger_succeeded};

/// The strict verdict on one signature.
pub(super) fn verify(key: KeyRef<'_>, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
    match key {
        KeyRef::Handle(handle) => verify_handle(handle, message, signature),
        KeyRef::Bytes(bytes) => match lookup(bytes) {
            Some(handle) => verify_handle(&handle, message, signature),
            None => {
                let Some(public) = PublicKey::decode(bytes) else { return false };
                let valid = dalek::verify(&public, message, signature);
                if valid {
                    stranger_succeeded(bytes, 1);
                }
                valid
            }
        },
    }
}

fn verify_handle(handle: &Arc<KeyHandle>, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
    let valid = match &*handle.table() {
        Some(held) => {
            let table = Some(held.table());
            let public_key = handle.public().as_bytes();
            let item = accelerated::Item { public_key, table, message, signature };
            accelerated::verify(Tier::detect(), &item)
        }
        None => dalek::verify(handle.public(), message, signature),
    };
    if valid {
        handle.succeeded(1);
    }
    valid
}

/// A run of items under one key, and what is known of that key.
struct Run {
    handle: Option<Arc<KeyHandle>>,
    table: Guard<Option<Arc<Held>>>,
    /// One past its last item.
    end: usize,
}

/// Verdicts on many signatures.
pub(super) fn verify_batch(items: &[Item<'_>], out: &mut [u8]) {
    let runs = runs(items);
    let mut prepared = Vec::with_capacity(items.len());
    for run in &runs {
        for item in &items[prepared.len()..run.end] {
            prepared.push(accelerated::Item {
                public_key: item.key.bytes(),
                table: run.table.as_deref().map(Held::table),
                message: item.message,
                signature: item.signature,
            });
        }
    }
    accelerated::verify_batch(Tier::detect(), &prepared, out);
    let mut start = 0;
    for run in &runs {
        let valid = out[start..run.end].iter().map(|verdict| u32::from(*verdict)).sum();
        match &run.handle {
            Some(handle) => handle.succeeded(valid),
            None if valid > 0 => stranger_succeeded(items[start].key.bytes(), valid),
            None => {}
        }
        start = run.end;
    }
}

fn runs(items: &[Item<'_>]) -> Vec<Run> {
    let none = || Guard::from_inner(None);
    let mut runs: Vec<Run> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        if let Some(run) = runs.last_mut().filter(|_| items[i - 1].key.bytes() == item.key.bytes())
        {
            run.end = i + 1;
            continue;
        }
        let handle = match item.key {
            KeyRef::Handle(handle) => Some(Arc::clone(handle)),
            KeyRef::Bytes(bytes) => lookup(bytes),
        };
        let table = handle.as_ref().map_or_else(none, |handle| handle.table());
        runs.push(Run { handle, table, end: i + 1 });
    }
    runs
}
