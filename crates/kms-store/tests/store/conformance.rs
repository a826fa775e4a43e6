//! The suite of `kms_testkit::custody`, run against every store.

use std::sync::Arc;

use kms_core::custody::MetaStore;
use kms_store::MemoryStore;
use kms_testkit::clock::ManualClock;
use kms_testkit::custody::{Harness, conforms};

struct Memory {
    clock: Arc<ManualClock>,
    store: MemoryStore,
}

impl Harness for Memory {
    fn store(&self) -> &dyn MetaStore {
        &self.store
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    fn reopen(&mut self) {}
}

#[test]
fn memory() {
    conforms(|| {
        let clock = Arc::<ManualClock>::default();
        Memory { clock: clock.clone(), store: MemoryStore::new(clock, 4) }
    });
}

#[cfg(unix)]
#[test]
fn file() {
    conforms(crate::support::FileHarness::new);
}
