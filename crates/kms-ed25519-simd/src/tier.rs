//! Which instructions run, chosen once.

use std::sync::OnceLock;

use crate::batch::{self, Item};
use crate::field::Fe;
#[cfg(target_arch = "x86_64")]
use crate::field::{avx2::Fe4, ifma::Fe8};
use crate::point::Extended;
use crate::table::{Table, TableSize};

/// The variable that forces a tier, for tests and benchmarks: `avx512`, `avx2` or `scalar`. One that the
/// processor does not have is ignored.
pub const TIER_VARIABLE: &str = "RON_KMS_CPU_TIER";

/// A set of instructions. A value of this type is proof that the processor has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Avx512,
    Avx2,
    Scalar,
}

impl Tier {
    /// The fastest tier of this processor, or the one that [`TIER_VARIABLE`] names; read once.
    pub fn detect() -> Tier {
        static DETECTED: OnceLock<Tier> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            let wanted = std::env::var(TIER_VARIABLE).unwrap_or_default();
            let all = Tier::available();
            all.iter().copied().find(|tier| tier.name() == wanted).unwrap_or(all[0])
        })
    }

    /// Every tier that this processor has, fastest first. The last is always `scalar`.
    pub fn available() -> Vec<Tier> {
        let mut tiers = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            use std::is_x86_feature_detected as has;
            if has!("avx512f")
                && has!("avx512ifma")
                && has!("avx512vl")
                && has!("avx512dq")
                && has!("avx512bw")
                && has!("avx512vbmi2")
            {
                tiers.push(Tier(Kind::Avx512));
            }
            if has!("avx2") && has!("fma") {
                tiers.push(Tier(Kind::Avx2));
            }
        }
        tiers.push(Tier(Kind::Scalar));
        tiers
    }

    /// The name shown to operators.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Kind::Avx512 => "avx512",
            Kind::Avx2 => "avx2",
            Kind::Scalar => "scalar",
        }
    }
}

/// Defines `Lanes::known` and `Lanes::unknown` for the elements of a tier of vectors. That they stay functions
/// of their own is said of the outer ones: of one with target features rustc does not pass it on.
#[cfg(target_arch = "x86_64")]
macro_rules! own_functions {
    ($field:ident, $features:literal) => {
        #[inline(never)]
        fn known(items: &[Known<'_>], out: &mut Projective<$field>) {
            #[target_feature(enable = $features)]
            fn run(items: &[Known<'_>], out: &mut Projective<$field>) {
                equation::known(items, out);
            }
            // SAFETY: `Lanes` of vectors are used only inside functions with the target features.
            unsafe { run(items, out) }
        }

        #[inline(never)]
        fn unknown(items: &[Unknown], out: &mut Projective<$field>) -> Self::Mask {
            #[target_feature(enable = $features)]
            fn run(
                items: &[Unknown],
                out: &mut Projective<$field>,
            ) -> <$field as crate::field::Field>::Mask {
                equation::unknown(items, out)
            }
            // SAFETY: as above.
            unsafe { run(items, out) }
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(crate) use own_functions;

/// Defines a function that runs one of the generic ones in each tier. The generic code is inlined whole
/// into a function with the tier's target features, without which no intrinsic would be inlined.
macro_rules! tiered {
    (fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? = $($generic:ident)::+) => {
        pub(crate) fn $name(tier: Tier, $($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512ifma,avx512vl,avx512dq,avx512bw,avx512vbmi2")]
            fn avx512($($arg: $type),*) $(-> $result)? {
                $($generic)::+::<Fe8>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) $(-> $result)? {
                $($generic)::+::<Fe4>($($arg),*)
            }
            match tier.0 {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a `Tier` of this kind is made only where all these features were detected.
                Kind::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Kind::Avx2 => unsafe { avx2($($arg),*) },
                _ => $($generic)::+::<Fe>($($arg),*),
            }
        }
    };
}

tiered!(fn verify_batch(items: &[Item<'_>], out: &mut [u8]) = batch::verify_batch);
tiered!(fn verify(item: &Item<'_>) -> bool = batch::verify);
tiered!(fn build_stride(point: Extended<Fe>, stride: usize) -> Table = Table::build);

/// Builds a table.
pub(crate) fn build(tier: Tier, point: Extended<Fe>, size: TableSize) -> Table {
    build_stride(tier, point, size.stride())
}
