//! Files that are whole after a crash, a power cut or a full disk.
//!
//! Every change is made beside what it replaces, synced, put in place by one system call, and its directory synced;
//! so a reader finds the old bytes or the new ones. What a call reports as done stays done. For Unix: on other
//! platforms the crate is empty, and nothing durable is offered there.

#![cfg(unix)]

mod dir;
mod error;
pub mod faults;
mod lock;
mod write;

pub use dir::{Dir, FileKind};
pub use error::{Error, Result};
pub use lock::DirLock;
