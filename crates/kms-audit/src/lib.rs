//! The audit log.

pub mod checkpoint;
mod codec;
pub mod error;
pub mod merkle;
pub mod note;
pub mod record;
#[cfg(test)]
#[path = "tests/keys.rs"]
mod test_keys;
