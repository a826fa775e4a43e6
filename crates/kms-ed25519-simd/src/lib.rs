//! Strict Ed25519 verification, several signatures side by side.
//!
//! Each lane of a vector verifies one signature completely and on its own: its hash, its equation, its
//! comparison. Nothing is combined between signatures but one field inversion, whose result is exact
//! for every lane. So a batch gives exactly the verdicts that its items get alone.
//!
//! **Public data only.** Nothing here takes time independent of its input; no secret may enter.
//!
//! # The equation
//!
//! With the byte filters of [`strict`] passed, R' = \[S\]B + \[k\](-A) is computed with complete addition
//! formulas, k = SHA-512(R ‖ A ‖ M) mod L taken as an integer in \[0, L), and the encoding of R' is
//! compared with R byte for byte (RFC 8032, section 5.1.7, without the cofactor). R is never decoded: a
//! canonical encoding that equals that of a point is that point.
//!
//! - A key with a [`KeyTable`] costs 64 additions and no doubling (32 windows), or 24 doublings (8 windows).
//! - Other keys are decoded and multiplied with 250 doublings and 51 additions (digits of five bits): in lanes where
//!   there are enough of them, and one by one with curve25519-dalek where there are not.
//!
//! # Tiers
//!
//! [`Tier`] chooses the instructions at run time: AVX-512 IFMA (eight lanes), AVX2 with FMA (four), or 64-bit
//! scalar code, which is also what every other processor gets. All tiers share the formulas and differ in
//! the field arithmetic alone. Unsafe code is confined to the vector modules, where each use has one of
//! two reasons: the instructions are there (the tier was detected), or a pointer is within an entry or row.
//!
//! # Bounds
//!
//! Each field module states in its first lines how large limbs are after every operation and why, and test
//! builds check it after every carry.

mod batch;
mod digits;
mod equation;
mod field;
mod inverse;
mod point;
mod sha512;
pub mod strict;
mod table;
#[cfg(test)]
mod tests;
mod tier;

pub use batch::Item;
pub use table::{KeyTable, TableSize};
pub use tier::{TIER_VARIABLE, Tier};

/// Writes 1 (valid) or 0 (invalid) for each item, in order.
///
/// # Panics
/// If `out` is not as long as `items`.
pub fn verify_batch(tier: Tier, items: &[Item<'_>], out: &mut [u8]) {
    assert_eq!(items.len(), out.len(), "one verdict an item");
    tier::verify_batch(tier, items, out);
}

/// The verdict on one signature.
pub fn verify(tier: Tier, item: &Item<'_>) -> bool {
    tier::verify(tier, item)
}
