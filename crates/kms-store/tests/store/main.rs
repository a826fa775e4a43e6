//! The stores as their users see them. One binary, because some tests run it again as a process to be killed.

mod conformance;
#[cfg(unix)]
mod crash;
#[cfg(unix)]
mod faults;
#[cfg(unix)]
mod golden;
#[cfg(unix)]
mod hostile;
#[cfg(unix)]
mod rollback;
#[cfg(unix)]
mod support;
#[cfg(unix)]
mod upkeep;
