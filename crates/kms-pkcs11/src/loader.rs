//! How a module is loaded into a process that has libraries of its own.
//!
//! Node links its OpenSSL into the executable and exports it. By the usual rules of the loader a module that uses the
//! system's OpenSSL would get Node's: another version, perhaps with other structures. So on Linux a module's names are looked
//! up in its own libraries first (`RTLD_DEEPBIND`).

use std::path::Path;

/// Loads the library at `path` so that its names are its own. Where that cannot be, nothing is done: whoever loads it
/// next gets it by the usual rules, or learns why it cannot be loaded.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the dynamic loader")]
pub(crate) fn load_apart(path: &Path) {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    if !allocates_with_libc() {
        return;
    }
    // SAFETY: loading runs the library's initialisers. It is the module that the operator named, and is about to be
    // loaded and called in any case.
    if let Ok(library) =
        unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL | libc::RTLD_DEEPBIND) }
    {
        // Modules stay: they may have threads.
        std::mem::forget(library);
    }
}

/// Elsewhere the rules are others: macOS binds names to libraries, and musl has no such order.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn load_apart(_path: &Path) {}

/// Whether `malloc` is libc's. Where another one was put before it (`LD_PRELOAD`), a module that is loaded apart would free
/// with libc what libc allocated with the other.
///
/// Names do not tell: that of an executable stands for libc's. But what glibc maps for one large piece begins 16 bytes
/// into a page, and other allocators align such a piece to pages.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the allocator of C")]
fn allocates_with_libc() -> bool {
    /// Above the largest threshold from which glibc maps (32 MiB). Never touched, so it costs no memory.
    const LARGE: usize = 64 << 20;
    /// Divides every size of a page.
    const PAGE: usize = 4096;
    // SAFETY: what was allocated is freed, once, and not used.
    let address = unsafe {
        let piece = libc::malloc(LARGE);
        libc::free(piece);
        piece.addr()
    };
    address % PAGE == 16
}
