//! The audit log: its keys, and what can be done with its files alone.

mod continuity;
pub(crate) mod note_keys;
mod offline;
