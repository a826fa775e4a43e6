//! What the tests of several crates share. A dev-dependency only, so a broken vector file panics.

pub mod anchor;
pub mod cases;
pub mod clock;
pub mod custody;
pub mod entropy;
#[cfg(unix)]
#[expect(unsafe_code, reason = "forks")]
pub mod fork;
pub mod temp_dir;
pub mod vectors;
