//! What became of the log itself: who wrote it, and what an operator decided.

use crate::codec::{Reader, Writer};
use crate::error::Malformed;
use crate::merkle::Hash;

/// A process began to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The software's version.
    pub software: &'a str,
    /// The boot of the machine, where the system tells: after another boot, writes of the last moments may be missing.
    pub boot: Option<[u8; 16]>,
    /// Bytes of torn records that were dropped when the log was opened.
    pub dropped_bytes: u64,
}

/// Leaves that are there as hashes only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The first of them.
    pub first: u64,
    /// How many there are, at least 1.
    pub count: u64,
}

/// An operator had a refused log opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override<'a> {
    /// Who.
    pub actor: &'a str,
    /// What had been refused, in words.
    pub refused: &'a str,
    /// Size that the anchor had, or 0.
    pub anchor_size: u64,
    /// Root that the anchor had, or zeros.
    pub anchor_root: Hash,
}

impl<'a> Opened<'a> {
    pub(super) fn encode(&self, out: &mut Writer<'_>) -> Result<(), Malformed> {
        out.text("software", self.software)?;
        out.option(self.boot.as_ref().map(|boot| &boot[..]));
        out.u64(self.dropped_bytes);
        Ok(())
    }

    pub(super) fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Opened {
            software: input.text("software")?,
            boot: input.option("boot")?,
            dropped_bytes: input.u64("dropped_bytes")?,
        })
    }
}

impl Dropped {
    pub(super) fn encode(self, out: &mut Writer<'_>) -> Result<(), Malformed> {
        out.u64(self.first);
        out.u64(self.count);
        self.check()
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let it = Dropped { first: input.u64("first")?, count: input.u64("count")? };
        it.check()?;
        Ok(it)
    }

    fn check(self) -> Result<(), Malformed> {
        match self.first.checked_add(self.count) {
            Some(_) if self.count > 0 => Ok(()),
            _ => Err(Malformed("count")),
        }
    }
}

impl<'a> Override<'a> {
    pub(super) fn encode(&self, out: &mut Writer<'_>) -> Result<(), Malformed> {
        out.text("actor", self.actor)?;
        out.text("refused", self.refused)?;
        out.u64(self.anchor_size);
        out.array(&self.anchor_root);
        Ok(())
    }

    pub(super) fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Override {
            actor: input.text("actor")?,
            refused: input.text("refused")?,
            anchor_size: input.u64("anchor_size")?,
            anchor_root: input.array("anchor_root")?,
        })
    }
}
