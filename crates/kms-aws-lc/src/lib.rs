//! AWS-LC's assembly behind safe functions.
//!
//! Every function takes secrets by reference, for the length of the call. AWS-LC copies them to its stack
//! only, which it cleanses before it returns: no key is ever on the C heap, and none outlives the call.
//! (That is why neither `aws-lc-rs` nor the `EVP` interface is used: both keep keys in objects of their own.)
//!
//! All functions may be called from any number of threads.

/// The name under which a function that is not in the bindings is linked: the prefix is that of one version.
macro_rules! symbol {
    ($name:literal) => {
        concat!("aws_lc_0_47_0_", $name)
    };
}

pub mod ed25519;

/// Whether Curve25519 is computed in assembly here, and not in portable C.
pub const ASSEMBLY: bool = cfg!(assembly);

/// Looks at the processor, once: without it AWS-LC runs its portable C.
fn init() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    // SAFETY: takes nothing and may be called at any time, from any thread.
    ONCE.call_once(|| unsafe { aws_lc_sys::CRYPTO_library_init() });
}
