//! The audit log.

#[cfg(unix)]
mod background;
pub mod checkpoint;
#[cfg(unix)]
mod checkpoints;
mod codec;
#[cfg(unix)]
mod config;
pub mod error;
pub mod export;
#[cfg(unix)]
mod hashes;
pub mod json;
mod layout;
#[cfg(unix)]
mod log;
pub mod merkle;
pub mod note;
#[cfg(unix)]
mod open;
pub mod reader;
pub mod record;
#[cfg(unix)]
mod scan;
#[cfg(unix)]
mod segment;
#[cfg(unix)]
mod sink;
pub mod verify;
#[cfg(unix)]
mod writer;

#[cfg(unix)]
pub use checkpoints::SignedCheckpoint;
#[cfg(unix)]
pub use config::{Config, Durability, OnFull, OpenReport, Override, Parts};
pub use error::{AnchorFault, AuditError, Damage, Malformed};
#[cfg(unix)]
pub use log::{AuditLog, Status};

#[cfg(all(test, unix))]
#[path = "tests/crash.rs"]
mod test_crash;
#[cfg(all(test, unix))]
#[path = "tests/damage.rs"]
mod test_damage;
#[cfg(all(test, unix))]
#[path = "tests/export.rs"]
mod test_export;
#[cfg(test)]
#[path = "tests/keys.rs"]
mod test_keys;
#[cfg(all(test, unix))]
#[path = "tests/log.rs"]
mod test_log;
#[cfg(all(test, unix))]
#[path = "tests/support.rs"]
mod test_support;
