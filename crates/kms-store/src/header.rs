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

#[cfg(test)]
mod tests {
    use kms_core::OsEntropy;

    use super::*;
    use crate::root_key::KeyFile;

    fn root(number: u8) -> KeyFile {
        KeyFile::parse(&SecretBytes::copy_of(&[number; 32])).expect("32 bytes")
    }

    #[test]
    fn a_header_gives_the_keys_back_and_never_repeats() {
        let mut keys = StoreKeys::generate(&OsEntropy).unwrap();
        for count in 1..=2 {
            let header = keys.seal(&root(1), &OsEntropy).unwrap();
            assert_ne!(header, keys.seal(&root(1), &OsEntropy).unwrap());
            let opened = StoreKeys::open(&header, &root(1)).unwrap();
            assert_eq!(opened.store, keys.store);
            assert_eq!(opened.integrity.expose(), keys.integrity.expose());
            assert_eq!(opened.wrapping.len(), count);
            assert_eq!(opened.generation() as usize, count);
            for ((number, key), (other, same)) in opened.wrapping.iter().zip(&keys.wrapping) {
                assert_eq!((number, key.expose()), (other, same.expose()));
            }
            let more = keys.add_wrapping_key(&OsEntropy);
            assert_eq!(more.is_ok(), count == 1);
        }
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_refused() {
        let keys = StoreKeys::generate(&OsEntropy).unwrap();
        let good = keys.seal(&root(1), &OsEntropy).unwrap();
        for len in 0..good.len() {
            assert!(StoreKeys::open(&good[..len], &root(1)).is_err());
        }
        assert!(StoreKeys::open(&[&good[..], &[0]].concat(), &root(1)).is_err());
        let mut bad = good.clone();
        for bit in 0..8 * good.len() {
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(StoreKeys::open(&bad, &root(1)).is_err(), "bit {bit}");
            bad[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(StoreKeys::open(&good, &root(2)).err(), Some(StoreError::WrongRootKey));
    }

    #[test]
    fn keys_that_are_malformed_under_the_right_root_key_are_refused() {
        let entry = |generation: u32| [&generation.to_be_bytes()[..], &[1; 32]].concat();
        let decode = |entries: &[u32]| {
            let entries: Vec<u8> = entries.iter().flat_map(|number| entry(*number)).collect();
            StoreKeys::decode(Uuid::nil(), &[&[0; 32], &entries[..]].concat()).is_some()
        };
        assert!(decode(&[1]) && decode(&[1, 2]) && decode(&[5, 9]));
        assert!(!decode(&[]) && !decode(&[1, 1]) && !decode(&[2, 1]) && !decode(&[1, 2, 3]));
        assert!(StoreKeys::decode(Uuid::nil(), &[0; 67]).is_none());
        assert!(StoreKeys::decode(Uuid::nil(), &[0; 31]).is_none());
    }
}
