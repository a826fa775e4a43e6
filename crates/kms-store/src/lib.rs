//! Custody of keys: root keys that seal, and stores of what they sealed.
//!
//! The contracts are in [`kms_core::custody`] and [`kms_core::anchor`]. [`MemoryStore`] forgets; [`FileStore`] (on
//! Unix) keeps sealed files in a directory, see `file/mod.rs` for the layout and `format.rs` for the bytes.

#![cfg_attr(
    not(unix),
    expect(dead_code, reason = "files are for Unix; the rest is shared with them")
)]

#[cfg(unix)]
mod anchor;
mod codec;
#[cfg(unix)]
mod digest;
pub mod error;
#[cfg(unix)]
mod file;
mod format;
#[cfg(unix)]
mod header;
mod memory;
pub mod root_key;
pub mod seal;

#[cfg(unix)]
pub use anchor::FileAnchor;
pub use error::{Role, StoreError};
#[cfg(unix)]
pub use file::{
    CheckReport, FileStore, OnOverride, OpenReport, Options, Problem, Unlocked, check, restore,
};
pub use format::{MAX_ANSWER_LEN, MAX_PUBLIC_LEN, MAX_SECRET_LEN, MAX_TEXT_LEN, MAX_TRACKS};
pub use memory::MemoryStore;
