//! The primitives, each behind the lane that computes it.
//!
//! Every lane but `dalek-batch` gives the same verdict on every input: the strict one of
//! [`ed25519::strict`].

// A machine's RUSTFLAGS replaces `.cargo/config.toml`, and without this cfg the curve arithmetic
// silently loses its AVX-512 path.
#[cfg(all(target_arch = "x86_64", not(curve25519_dalek_backend = "avx512")))]
compile_error!(
    "curve25519_dalek_backend is not \"avx512\": RUSTFLAGS in the environment replaces \
     .cargo/config.toml; add --cfg=curve25519_dalek_backend=\"avx512\" to it, or unset it"
);

pub mod aead;
pub mod context;
pub mod cpu;
pub mod digest;
pub mod ed25519;
pub mod hpke;
pub mod hybrid;
pub mod kdf;
pub mod lane;
pub mod ml_dsa;
pub mod ml_kem;
#[cfg(test)]
mod own_vectors;
#[cfg(feature = "slh-dsa")]
pub mod slh_dsa;
mod stack;
pub mod wrap;
pub mod x25519;
pub mod x_wing;
