//! An anchor in memory.

use std::sync::Mutex;

use kms_core::{Anchor, AnchorState, KmsError, Result};

/// Keeps what it is told; nothing outlives it.
#[derive(Debug, Default)]
pub struct MemoryAnchor(Mutex<Option<AnchorState>>);

impl MemoryAnchor {
    /// One that already holds this.
    pub fn holding(state: Option<AnchorState>) -> MemoryAnchor {
        MemoryAnchor(Mutex::new(state))
    }

    fn change(&self, change: impl FnOnce(&mut AnchorState) -> Result<()>) -> Result<()> {
        let mut state = self.0.lock().expect("no test panics while it holds the anchor");
        let mut next = state.clone().unwrap_or_default();
        change(&mut next)?;
        *state = Some(next);
        Ok(())
    }
}

impl Anchor for MemoryAnchor {
    fn load(&self) -> Result<Option<AnchorState>> {
        Ok(self.0.lock().expect("no test panics while it holds the anchor").clone())
    }

    fn advance_log(&self, size: u64, root: &[u8; 32]) -> Result<()> {
        self.change(|state| {
            let other = size == state.log_size && size > 0 && *root != state.log_root;
            if size < state.log_size || other {
                return Err(KmsError::conflict("the anchor saw another log"));
            }
            (state.log_size, state.log_root) = (size, *root);
            Ok(())
        })
    }

    fn advance_store(&self, revision: u64) -> Result<()> {
        self.change(|state| {
            if revision < state.store_revision {
                return Err(KmsError::conflict("the anchor saw a later store"));
            }
            state.store_revision = revision;
            Ok(())
        })
    }

    fn add_tombstone(&self, kid: &str) -> Result<()> {
        self.change(|state| {
            state.tombstones.insert(kid.into());
            Ok(())
        })
    }

    fn override_with(&self, log: Option<(u64, [u8; 32])>, store: Option<u64>) -> Result<()> {
        self.change(|state| {
            if let Some(log) = log {
                (state.log_size, state.log_root) = log;
            }
            state.store_revision = store.unwrap_or(state.store_revision);
            Ok(())
        })
    }
}
