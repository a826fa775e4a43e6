//! Tokens that were verified, so that a token in use is verified once.
//!
//! They are found by the SHA-256 of the token. How long the search takes may tell something about that digest, and so
//! nothing about a token. Nothing of a verdict is kept here that can change: time, address, rate, scope and revocations
//! are asked for every time.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::grant::Grant;

/// Grants in one of the two generations. A grant has at most some 15 KiB.
const GENERATION: usize = 1024;

/// A grant, and the number by which it is called across a boundary. Numbers are never used again.
#[derive(Clone)]
pub struct Admission {
    /// From 1 on.
    pub number: u64,
    /// What is granted.
    pub grant: Arc<Grant>,
}

pub(crate) type Name = [u8; 32];

/// The name of a token.
pub(crate) fn name(token: &str) -> Name {
    Sha256::digest(token).into()
}

/// Two generations: what is used moves to the younger one, and what was not used since it began goes with the older one.
#[derive(Default)]
pub(crate) struct Cache {
    young: HashMap<Name, Admission>,
    old: HashMap<Name, Admission>,
    made: u64,
}

impl Cache {
    pub(crate) fn get(&mut self, name: &Name) -> Option<Admission> {
        if let Some(found) = self.young.get(name) {
            return Some(found.clone());
        }
        let found = self.old.remove(name)?;
        self.insert(*name, found.clone());
        Some(found)
    }

    pub(crate) fn add(&mut self, name: Name, grant: Grant) -> Admission {
        self.made += 1;
        let admission = Admission { number: self.made, grant: Arc::new(grant) };
        self.insert(name, admission.clone());
        admission
    }

    fn insert(&mut self, name: Name, admission: Admission) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name, admission);
    }
}
