//! Work in a forked child.

/// What `work` returns in a child that is forked from this process and ends after it.
///
/// The child has one thread and every lock as it was: `work` must not wait for another thread.
///
/// # Panics
/// If there is no child, or it ends by a signal.
pub fn in_child(work: impl FnOnce() -> u8) -> u8 {
    // SAFETY: the child runs `work` and ends, without the destructors of this process; the parent waits for it.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "no fork");
        if child == 0 {
            libc::_exit(work().into());
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        assert!(libc::WIFEXITED(status), "the child ended by a signal");
        libc::WEXITSTATUS(status).to_le_bytes()[0]
    }
}
