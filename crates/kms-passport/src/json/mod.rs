//! Strict JSON (RFC 8259, I-JSON of RFC 7493) and its canonical form (RFC 8785).
//!
//! No tree is built. Nesting is bounded, names are unique, numbers are finite, strings are well-formed Unicode.

mod canonical;
mod decimal;
mod number;
mod reader;
mod text;

pub(crate) use canonical::Writer;
pub use canonical::{MAX_BYTES, MAX_DEPTH, MAX_VALUES, canonical};
#[cfg(test)]
pub(crate) use reader::compare_names;
pub(crate) use reader::{Fault, Kind, Names, Reader, faults};
