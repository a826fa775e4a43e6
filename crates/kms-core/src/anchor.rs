//! The second place: a few facts that a restored copy of the data directory must not be able to take back.

use std::collections::BTreeSet;

use crate::error::Result;

/// What an anchor remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnchorState {
    /// Leaves of the audit log at the last checkpoint that was, or may have been, handed out.
    pub log_size: u64,
    /// RFC 9162 root of the log at that size.
    pub log_root: [u8; 32],
    /// Revision of the key store that was last acknowledged.
    pub store_revision: u64,
    /// Destroyed keys, and destroyed versions, as their kids print: without `#vN` the whole key. They stay
    /// destroyed whatever the store says, under an override too.
    pub tombstones: BTreeSet<Box<str>>,
}

/// Keeps an [`AnchorState`] outside the data directory.
///
/// Every change is durable before its call returns (written, synced, renamed, directory synced, or
/// what the medium has for it), and each is all or nothing: after a crash `load` gives the state before the call or
/// after it. Calls come from several threads at once; the implementation orders them. Whoever fails to
/// change the anchor must not acknowledge what the change stood for.
///
/// An anchor only goes forward: a smaller size or revision is refused with `Conflict`. Going back is a
/// method of its own, for an operator's explicit override, and takes no tombstone with it.
pub trait Anchor: Send + Sync {
    /// The state; `None` where nothing was ever anchored, which is not the same as an anchor of an empty log.
    ///
    /// # Errors
    /// `StoreUnavailable` when it cannot be read, `Internal` when what is there is damaged. Neither
    /// means "nothing was anchored".
    fn load(&self) -> Result<Option<AnchorState>>;

    /// Remembers a checkpoint. The same size with the same root changes nothing. A log that begins is anchored at size 0
    /// with the root of the empty tree, over whatever root is there at size 0.
    ///
    /// # Errors
    /// `Conflict` for a smaller size, or another root at the same size above 0; `StoreUnavailable` when it may not
    /// be durable.
    fn advance_log(&self, size: u64, root: &[u8; 32]) -> Result<()>;

    /// Remembers a revision of the key store. The same revision changes nothing.
    ///
    /// # Errors
    /// `Conflict` for a smaller revision; `StoreUnavailable` when it may not be durable.
    fn advance_store(&self, revision: u64) -> Result<()>;

    /// Remembers that a key, or with `#vN` a version, is destroyed for ever.
    ///
    /// # Errors
    /// `StoreUnavailable` when it may not be durable.
    fn add_tombstone(&self, kid: &str) -> Result<()>;

    /// Sets log size, log root and store revision to what an operator accepted, backwards too. Tombstones stay.
    /// `None` leaves that half as it is.
    ///
    /// # Errors
    /// `StoreUnavailable` when it may not be durable.
    fn override_with(
        &self,
        log: Option<(u64, [u8; 32])>,
        store_revision: Option<u64>,
    ) -> Result<()>;
}
