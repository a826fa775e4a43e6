//! Time and randomness, injected so that tests can hold them still.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::error::{KmsError, Result};

/// Where the service reads the time. Implementations are called from many threads at once.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch; may jump when the operator sets the clock.
    fn unix_ms(&self) -> u64;
    /// Milliseconds that only ever grow; the origin has no meaning.
    fn monotonic_ms(&self) -> u64;
}

/// Where the service gets randomness. Implementations are called from many threads at once.
pub trait Entropy: Send + Sync {
    /// Fills `out` with bytes fit for keys.
    ///
    /// # Errors
    /// `Internal` when there are none; `out` must then not be used.
    fn fill(&self, out: &mut [u8]) -> Result<()>;
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic origin is now.
    pub fn new() -> Self {
        SystemClock { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn unix_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The operating system's generator, asked every time.
///
/// There is no generator of our own between it and the keys, so a fork, a snapshot or a worker
/// thread can never repeat a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        getrandom::getrandom(out)
            .map_err(|_| KmsError::internal("the operating system gave no randomness"))
    }
}
