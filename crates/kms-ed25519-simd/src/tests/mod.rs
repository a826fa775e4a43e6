//! The field against big integers, points and tables against curve25519-dalek, verdicts against
//! ed25519-dalek, each in every tier of this processor.

mod differential;
mod equation;
mod field;
mod samples;
mod tables;

/// Runs a check in every tier, each with its target features.
macro_rules! every_tier {
    ($check:ident) => {
        $check::<crate::field::Fe>();
        #[cfg(target_arch = "x86_64")]
        for tier in crate::Tier::available() {
            match tier.name() {
                "avx512" => $check::<crate::field::ifma::Fe8>(),
                "avx2" => $check::<crate::field::avx2::Fe4>(),
                _ => {}
            }
        }
    };
}
pub(crate) use every_tier;
