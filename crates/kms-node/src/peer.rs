//! The process at the other end of a Unix socket.

use kms_core::{KmsError, Result};
use napi_derive::napi;

use crate::task::guard;

/// The effective user id of the process that connected a Unix socket, as the kernel noted it then. `fd` is the
/// descriptor of the accepted socket.
///
/// Throws `BadRequest` where `fd` is no such socket, and `Unsupported` where the system does not tell.
#[napi]
pub fn peer_uid(fd: i32) -> napi::Result<u32> {
    guard("peerUid", || uid_of(fd))
}

#[cfg(unix)]
fn no_socket() -> KmsError {
    KmsError::bad_request("not a connected Unix socket").field("fd")
}

/// (uid_t) -1, which no user has.
#[cfg(target_os = "linux")]
const NOBODY: u32 = u32::MAX;

/// `SO_PEERCRED` of socket(7).
#[cfg(target_os = "linux")]
fn uid_of(fd: i32) -> Result<u32> {
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let size = libc::socklen_t::try_from(size_of::<libc::ucred>());
    let mut len = size.map_err(|_| no_socket())?;
    // SAFETY: both pointers are to locals that live longer than the call, and `len` is the size of `found`, which the
    // kernel does not write beyond. A descriptor that is no socket, or not open, is an error and no access to memory.
    let done = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut len,
        )
    };
    // Other kinds of sockets answer, too, with a user that nobody is.
    if done == 0 && len as usize == size_of::<libc::ucred>() && found.uid != NOBODY {
        Ok(found.uid)
    } else {
        Err(no_socket())
    }
}

/// getpeereid(3).
#[cfg(all(unix, not(target_os = "linux")))]
fn uid_of(fd: i32) -> Result<u32> {
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: both pointers are to locals that live longer than the call. A descriptor that is no socket, or not open,
    // is an error and no access to memory.
    if unsafe { libc::getpeereid(fd, &raw mut uid, &raw mut gid) } == 0 {
        Ok(uid)
    } else {
        Err(no_socket())
    }
}

#[cfg(not(unix))]
fn uid_of(_fd: i32) -> Result<u32> {
    Err(KmsError::unsupported("this system does not tell who connected a socket"))
}
