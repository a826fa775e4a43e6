//! The audit log: its keys.

pub(crate) mod note_keys;
