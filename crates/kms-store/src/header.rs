//! `store`: the header, which opens with the root key and gives all other keys of the store.
//!
//! ```text
//! start ‖ store id ‖ kind of root key ‖ root(header key) ‖ seal(header key, integrity key ‖ (generation ‖ wrapping key)…)
//! ```
//!
//! The root key seals one fresh *header key* each time the header is written. Under that are sealed the *integrity
//! key*, which authenticates every file and lives as long as the store, and the *wrapping keys*, which seal data keys: one,
//! or two while a rekey goes on. So the root key, which may be slow or far away, is used once a start.

use kms_core::custody::{MAX_ROOT_SEALED_LEN, RootKey};
use kms_core::{Entropy, KmsError, Secret, SecretBytes};
use uuid::Uuid;

use crate::codec::Reader;
use crate::error::{Result, Role, StoreError};
use crate::format::{after_start, begin};
use crate::seal;

/// Most wrapping keys at once.
const MAX_WRAPPING_KEYS: usize = 2;
/// Length of a generation and its key in bytes.
const ENTRY_LEN: usize = 4 + 32;

/// The keys of a store.
pub(crate) struct StoreKeys {
    pub(crate) store: Uuid,
    pub(crate) integrity: Secret<32>,
    /// By generation, ascending; the last one seals.
    pub(crate) wrapping: Vec<(u32, Secret<32>)>,
}

impl StoreKeys {
    /// Fresh keys of a new store.
    ///
    /// # Errors
    /// `Internal` without randomness.
    pub(crate) fn generate(entropy: &dyn Entropy) -> Result<StoreKeys, KmsError> {
        let mut id = [0; 16];
        entropy.fill(&mut id)?;
        Ok(StoreKeys {
            store: uuid::Builder::from_random_bytes(id).into_uuid(),
            integrity: Secret::random(entropy)?,
            wrapping: vec![(1, Secret::random(entropy)?)],
        })
    }

    /// The generation that seals now.
    pub(crate) fn generation(&self) -> u32 {
        self.wrapping.last().map_or(0, |(generation, _)| *generation)
    }

    /// The wrapping key of a generation.
    pub(crate) fn wrapping_key(&self, generation: u32) -> Option<&Secret<32>> {
        self.wrapping.iter().find(|(own, _)| *own == generation).map(|(_, key)| key)
    }

    /// Adds a wrapping key, which seals from now on.
    ///
    /// # Errors
    /// `Conflict` while two are there; `Internal` without randomness.
    pub(crate) fn add_wrapping_key(&mut self, entropy: &dyn Entropy) -> Result<(), KmsError> {
        if self.wrapping.len() >= MAX_WRAPPING_KEYS {
            return Err(KmsError::conflict("an earlier rekey is not finished"));
        }
        let next = self.generation().checked_add(1);
        let next = next.ok_or_else(|| KmsError::conflict("no generation is left"))?;
        self.wrapping.push((next, Secret::random(entropy)?));
        Ok(())
    }

    /// Another holder of the same keys.
    pub(crate) fn copy(&self) -> StoreKeys {
        let copy = |key: &Secret<32>| Secret::fill(|out| out.copy_from_slice(key.expose()));
        StoreKeys {
            store: self.store,
            integrity: copy(&self.integrity),
            wrapping: self.wrapping.iter().map(|(number, key)| (*number, copy(key))).collect(),
        }
    }

    /// The header for `root`. Nothing in it repeats from call to call.
    ///
    /// # Errors
    /// Those of the root key.
    pub(crate) fn seal(&self, root: &dyn RootKey, entropy: &dyn Entropy) -> Result<Vec<u8>> {
        let header_key = Secret::<32>::random(entropy)?;
        let mut out = begin(Role::Header);
        out.uuid(&self.store).bytes(root.kind().as_bytes());
        let sealed = root.seal(&header_key, &out.0, entropy)?;
        if sealed.len() > MAX_ROOT_SEALED_LEN {
            return Err(KmsError::internal("a root key sealed to more than it may").into());
        }
        out.bytes(&sealed);
        let keys = SecretBytes::fill(32 + ENTRY_LEN * self.wrapping.len(), |bytes| {
            let (integrity, rest) = bytes.split_at_mut(32);
            integrity.copy_from_slice(self.integrity.expose());
            for (to, (generation, key)) in rest.chunks_exact_mut(ENTRY_LEN).zip(&self.wrapping) {
                to[..4].copy_from_slice(&generation.to_be_bytes());
                to[4..].copy_from_slice(key.expose());
            }
        });
        let sealed = seal::seal(&header_key, &out.0, keys.expose(), entropy)?;
        out.bytes(&sealed);
        Ok(out.0)
    }

    /// The keys in a header.
    ///
    /// # Errors
    /// `Damaged`, `Newer`, `WrongRootKey`, those of the root key.
    pub(crate) fn open(header: &[u8], root: &dyn RootKey) -> Result<StoreKeys> {
        let fault = |why| StoreError::Damaged { role: Role::Header, why };
        let rest = after_start(Role::Header, header)?;
        let mut reader = Reader::new(rest);
        let at = |reader: &Reader<'_>| header.get(..header.len() - reader.left());
        let store = reader.uuid().map_err(fault)?;
        let kind = reader.text(64).map_err(fault)?;
        let context = at(&reader).unwrap_or_default();
        let root_sealed = reader.bytes(MAX_ROOT_SEALED_LEN).map_err(fault)?;
        let bound = at(&reader).unwrap_or_default();
        let sealed = reader.bytes(1024).map_err(fault)?;
        reader.end().map_err(fault)?;
        if kind != root.kind() {
            return Err(StoreError::WrongRootKey);
        }
        let header_key = root.unseal(root_sealed, context).map_err(|error| {
            if error.retryable { StoreError::Kms(error) } else { StoreError::WrongRootKey }
        })?;
        let keys = seal::open(&header_key, bound, sealed).ok_or(StoreError::WrongRootKey)?;
        Self::decode(store, keys.expose()).ok_or(fault("its keys are malformed"))
    }

    fn decode(store: Uuid, bytes: &[u8]) -> Option<StoreKeys> {
        let (integrity, rest) = bytes.split_first_chunk::<32>()?;
        let count = rest.len() / ENTRY_LEN;
        if rest.len() % ENTRY_LEN != 0 || !(1..=MAX_WRAPPING_KEYS).contains(&count) {
            return None;
        }
        let mut wrapping: Vec<(u32, Secret<32>)> = Vec::with_capacity(count);
        for entry in rest.chunks_exact(ENTRY_LEN) {
            let (generation, key) = entry.split_first_chunk::<4>()?;
            let generation = u32::from_be_bytes(*generation);
            if wrapping.last().is_some_and(|(last, _)| *last >= generation) {
                return None;
            }
            let key: &[u8; 32] = key.try_into().ok()?;
            wrapping.push((generation, Secret::fill(|out| out.copy_from_slice(key))));
        }
        let integrity = Secret::fill(|out| out.copy_from_slice(integrity));
        Some(StoreKeys { store, integrity, wrapping })
    }
}
