//! Kids that JavaScript names by number.

use std::sync::Arc;

use kms_core::{KmsError, Result};
use kms_engine::KnownKid;

/// Numbers are from 1 up, and none is ever given out twice: one that was forgotten names nothing.
///
/// A clone is for another thread: it shares the kids, and knows them even after they were forgotten here.
#[derive(Clone, Default)]
pub(crate) struct KnownKids {
    kids: Arc<boxcar::Vec<KnownKid>>,
    forgotten: u32,
}

impl KnownKids {
    /// The next number; 0, which names nothing, when there is none left.
    pub(crate) fn number(&mut self, kid: KnownKid) -> u32 {
        let index = u32::try_from(self.kids.count()).ok();
        let number = index.and_then(|index| self.forgotten.checked_add(index)?.checked_add(1));
        if number.is_some() {
            self.kids.push(kid);
        }
        number.unwrap_or(0)
    }

    /// The kid of a number.
    ///
    /// # Errors
    /// `BadRequest`, field `kid`.
    pub(crate) fn get(&self, number: u32) -> Result<&KnownKid> {
        let index = number.checked_sub(self.forgotten).and_then(|index| index.checked_sub(1));
        let kid = index.and_then(|index| self.kids.get(index as usize));
        kid.ok_or_else(|| KmsError::bad_request("no kid has this number").field("kid"))
    }

    /// Takes all numbers back.
    pub(crate) fn forget(&mut self) {
        // The last number given out fitted, so this does.
        self.forgotten += u32::try_from(self.kids.count()).unwrap_or_default();
        self.kids = Arc::default();
    }
}
