//! Custody of keys: root keys that seal, and stores of what they sealed.

mod codec;
pub mod error;
pub mod root_key;
pub mod seal;

pub use error::{Role, StoreError};
