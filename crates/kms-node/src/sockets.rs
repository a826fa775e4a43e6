//! Connections on their way from the thread that accepts them to the thread that serves them.
//!
//! A descriptor is the process's, so any thread may use it; what must not happen is that two close it, or none. While it is
//! on its way it belongs to this table, from which it can be taken once: by the thread that it is for, or, where that one
//! has ended, by the thread that sent it.

use napi_derive::napi;

use crate::task::guard;

/// Keeps a duplicate of a socket for a thread, and returns a number to take it by. `fd` stays the caller's.
///
/// Throws `BadRequest` for what is no open descriptor, `Unsupported` where sockets have none.
#[napi]
pub fn offer_socket(fd: i32, thread: u32) -> napi::Result<f64> {
    guard("offerSocket", || imp::offer(fd, thread))
}

/// The descriptor of a socket, which is the caller's from now on. It closes when it is executed as another program.
///
/// Throws `NotFound` for one that was taken.
#[napi]
pub fn take_socket(number: f64) -> napi::Result<i32> {
    guard("takeSocket", || imp::take(number))
}

/// The numbers of the sockets that a thread has not taken.
#[napi]
pub fn offered_sockets(thread: u32) -> napi::Result<Vec<f64>> {
    guard("offeredSockets", || Ok(imp::of(thread)))
}

#[cfg(unix)]
mod imp {
    use std::collections::BTreeMap;
    use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use kms_core::{ErrorCode, KmsError, Result};

    struct Table {
        sockets: BTreeMap<u64, (u32, OwnedFd)>,
        given: u64,
    }

    static TABLE: Mutex<Table> = Mutex::new(Table { sockets: BTreeMap::new(), given: 0 });

    fn table() -> MutexGuard<'static, Table> {
        TABLE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub(super) fn offer(fd: i32, thread: u32) -> Result<f64> {
        let fault = || KmsError::bad_request("no open descriptor").field("fd");
        if fd < 0 {
            return Err(fault());
        }
        // SAFETY: it is not -1, and is only duplicated, which fails for a descriptor that is not open.
        let socket = unsafe { BorrowedFd::borrow_raw(fd) };
        let socket = socket.try_clone_to_owned().map_err(|_| fault())?;
        let mut table = table();
        table.given += 1;
        let number = table.given;
        table.sockets.insert(number, (thread, socket));
        Ok(number as f64)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number that was never given finds nothing"
    )]
    pub(super) fn take(number: f64) -> Result<i32> {
        let taken = table().sockets.remove(&(number as u64));
        let gone =
            || KmsError::new(ErrorCode::NotFound, "no socket has this number").field("number");
        Ok(taken.ok_or_else(gone)?.1.into_raw_fd())
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub(super) fn of(thread: u32) -> Vec<f64> {
        let table = table();
        let own = table.sockets.iter().filter(|(_, (of, _))| *of == thread);
        own.map(|(number, _)| *number as f64).collect()
    }
}

#[cfg(not(unix))]
mod imp {
    use kms_core::{KmsError, Result};

    fn absent<T>() -> Result<T> {
        Err(KmsError::unsupported("a socket cannot be handed from thread to thread on this system"))
    }

    pub(super) fn offer(_: i32, _: u32) -> Result<f64> {
        absent()
    }

    pub(super) fn take(_: f64) -> Result<i32> {
        absent()
    }

    pub(super) fn of(_: u32) -> Vec<f64> {
        Vec::new()
    }
}
