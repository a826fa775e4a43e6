//! What the tests of several crates share. A dev-dependency only, so a broken vector file panics.

pub mod anchor;
pub mod cases;
pub mod clock;
pub mod custody;
pub mod entropy;
pub mod temp_dir;
pub mod vectors;
