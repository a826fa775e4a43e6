//! Which vector instructions the curve arithmetic uses on this processor.

/// A tier of instructions, chosen once at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuTier {
    /// AVX-512 IFMA and VL.
    Avx512,
    /// AVX2.
    Avx2,
    /// 64-bit scalar code.
    Scalar,
}

impl CpuTier {
    /// The tier that is live in this process: the same tests that curve25519-dalek makes.
    pub fn detect() -> CpuTier {
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx512ifma")
                && std::is_x86_feature_detected!("avx512vl")
            {
                return CpuTier::Avx512;
            }
            if std::is_x86_feature_detected!("avx2") {
                return CpuTier::Avx2;
            }
        }
        CpuTier::Scalar
    }

    /// The name shown to operators.
    pub const fn name(self) -> &'static str {
        match self {
            CpuTier::Avx512 => "avx512",
            CpuTier::Avx2 => "avx2",
            CpuTier::Scalar => "scalar",
        }
    }
}
