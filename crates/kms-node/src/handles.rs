//! Imported keys by number: a batch names its keys by number, since an object an item would cost more than the
//! lookup by bytes that it saves.

use std::sync::{Arc, PoisonError, RwLock};

use kms_crypto::ed25519::KeyHandle;

#[derive(Default)]
struct Slots {
    keys: Vec<Option<Arc<KeyHandle>>>,
    free: Vec<u32>,
}

static SLOTS: RwLock<Slots> = RwLock::new(Slots { keys: Vec::new(), free: Vec::new() });

/// A number from 1 up. It is used again once [`release`]d: whoever looks it up compares the key.
pub(crate) fn number(key: &Arc<KeyHandle>) -> u32 {
    let mut slots = SLOTS.write().unwrap_or_else(PoisonError::into_inner);
    let key = Some(Arc::clone(key));
    if let Some(number) = slots.free.pop() {
        slots.keys[number as usize - 1] = key;
        return number;
    }
    slots.keys.push(key);
    u32::try_from(slots.keys.len()).expect("fewer than 2^32 keys fit in memory")
}

/// Gives a number back.
pub(crate) fn release(number: u32) {
    let mut slots = SLOTS.write().unwrap_or_else(PoisonError::into_inner);
    slots.keys[number as usize - 1] = None;
    slots.free.push(number);
}

/// The keys of these numbers; `None` for 0 and for a number that is not given out.
pub(crate) fn resolve(numbers: &[u32]) -> Vec<Option<Arc<KeyHandle>>> {
    let slots = SLOTS.read().unwrap_or_else(PoisonError::into_inner);
    let key = |number: &u32| slots.keys.get((*number as usize).checked_sub(1)?)?.clone();
    numbers.iter().map(key).collect()
}
