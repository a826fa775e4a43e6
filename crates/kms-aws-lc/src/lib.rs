//! AWS-LC's assembly behind safe functions.
//!
//! Every function takes secrets by reference, for the length of the call. AWS-LC copies them to its stack
//! only: no key is ever on the C heap, and none outlives the call. (That is why neither `aws-lc-rs` nor the `EVP`
//! interface is used: both keep keys in objects of their own.)
//!
//! What it wipes before it returns, by its source (version 0.47.0 of the crate): keys, seeds, secret vectors,
//! noise and shared secrets of ML-DSA and ML-KEM (`MLD_FREE`, `MLK_FREE`, `mld_zeroize`, `mlk_zeroize`), the scalar
//! of X25519, the hashed seed and nonce of Ed25519. What it does not: the Keccak states of the samplers
//! (`mld_shake256_release` does nothing, and the four-way SHAKE256 wipes no state), which hold what they absorbed,
//! and registers spilled by assembly. They stay in dead stack memory until other calls overwrite it, which
//! `kms-crypto` does on purpose after each call of ML-DSA, ML-KEM and X25519 that takes a secret.
//!
//! All functions may be called from any number of threads.

/// The name of one of AWS-LC's functions in the library that `aws-lc-sys` builds: it carries the version, so
/// another version fails to link.
macro_rules! symbol {
    ($($part:literal),+) => { concat!("aws_lc_0_47_0_", $($part),+) };
}

pub mod ed25519;
pub mod ml_dsa;
pub mod ml_kem;
pub mod x25519;

/// Whether Curve25519 is computed in assembly here, and not in portable C.
pub const ASSEMBLY: bool = cfg!(assembly);

/// Looks at the processor, once: without it AWS-LC runs its portable C.
fn init() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    // SAFETY: takes nothing and may be called at any time, from any thread.
    ONCE.call_once(|| unsafe { aws_lc_sys::CRYPTO_library_init() });
}
