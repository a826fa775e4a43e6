//! Which vector instructions verification uses on this processor.

pub use kms_ed25519_simd::Tier as CpuTier;
