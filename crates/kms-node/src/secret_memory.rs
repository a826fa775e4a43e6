//! The state of secret memory, for `doctor`, `/readyz` and metrics.

use kms_core::secret_memory::{SecretMemory as Report, report};
use napi_derive::napi;

use crate::task::guard;

/// Where the secrets of this process are, and what protects them.
#[napi(object)]
pub struct SecretMemory {
    /// Bytes that are locked into RAM, so that they never reach a disk by way of swap.
    pub locked_bytes: f64,
    /// Bytes that are not.
    pub unlocked_bytes: f64,
    /// Mapped regions, each between two pages without access.
    pub regions: u32,
    /// Whether all are left out of core dumps.
    pub dontdump: bool,
    /// Whether all are zero in a forked child.
    pub wipeonfork: bool,
    /// The last refusal of each kind, as `call: reason`.
    pub last_errors: Vec<String>,
}

/// The state of secret memory in this process.
#[napi]
pub fn secret_memory() -> napi::Result<SecretMemory> {
    guard("secretMemory", || {
        let Report { locked_bytes, unlocked_bytes, regions, dontdump, wipeonfork, last_errors } =
            report();
        #[expect(clippy::cast_precision_loss, reason = "a JavaScript number, exact to 2^53")]
        let state = SecretMemory {
            locked_bytes: locked_bytes as f64,
            unlocked_bytes: unlocked_bytes as f64,
            regions: u32::try_from(regions).unwrap_or(u32::MAX),
            dontdump,
            wipeonfork,
            last_errors,
        };
        Ok(state)
    })
}
