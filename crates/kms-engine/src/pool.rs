//! The engine's own threads, so that bulk work holds neither the event loop nor libuv's four.

use std::sync::OnceLock;

use kms_core::{ErrorCode, KmsError, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// As many threads as the process may run at once, started when the first bulk call needs them and
/// ended when the pool is dropped.
#[derive(Default)]
pub struct Pool {
    threads: OnceLock<Option<ThreadPool>>,
}

impl Pool {
    /// The threads.
    ///
    /// # Errors
    /// `StoreUnavailable` when the operating system refuses to start them.
    pub fn threads(&self) -> Result<&ThreadPool> {
        let build =
            || ThreadPoolBuilder::new().thread_name(|i| format!("ron-kms-{i}")).build().ok();
        self.threads.get_or_init(build).as_ref().ok_or_else(|| {
            KmsError::new(ErrorCode::StoreUnavailable, "worker threads could not be started")
        })
    }
}
