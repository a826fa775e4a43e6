//! Secret memory: where every private byte of this process lives.
//!
//! Small secrets share regions of pages, by size, so that locking costs little; each region has a page without access
//! on either side. On Linux a region is locked into RAM (`mlock`), left out of core dumps (`MADV_DONTDUMP`) and zero in
//! a forked child (`MADV_WIPEONFORK`). Other Unix systems give what they have of that; elsewhere secrets are on the
//! heap, and reported as unlocked. What is freed is zeroed first, and what is free is zero.
//!
//! What the operating system refuses is counted in [`report`] and does not stop anybody, unless [`require_locked`] says
//! so. All functions may be called from any thread.
//!
//! Whether the process may be dumped or traced at all (`PR_SET_DUMPABLE`, `ptrace`) is for whoever runs it to decide:
//! this is a library in somebody else's process.

mod canary;
#[expect(unsafe_code, reason = "system calls, and the memory that they give")]
mod pages;
mod report;
#[expect(unsafe_code, reason = "places values in secret memory")]
mod secret_box;
mod slab;
#[cfg(all(test, target_os = "linux"))]
#[expect(unsafe_code, reason = "forks, and reads what must not be readable")]
mod tests;

pub use canary::check_process;
pub use report::{Locked, SecretMemory, report, require_locked};
pub use secret_box::SecretBox;
pub(crate) use slab::Slot;
