//! Calls of the module, timed by function, with their errors named.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use cryptoki::error::Error as Raw;

use crate::error::{Error, Result};

/// Upper bounds of the latency buckets, in seconds.
pub const LATENCY_BOUNDS: [f64; 12] =
    [5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 2.0];

macro_rules! functions {
    ($($variant:ident $name:literal,)+) => {
        /// The functions of PKCS#11 that are called. One that comes with an `…Init`, or has to be called twice for a
        /// length, is timed as one call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Function { $($variant),+ }

        impl Function {
            const NAMES: [&'static str; [$($name),+].len()] = [$($name),+];
        }
    };
}

functions! {
    Initialize "C_Initialize",
    Finalize "C_Finalize",
    GetInfo "C_GetInfo",
    GetSlotList "C_GetSlotList",
    GetTokenInfo "C_GetTokenInfo",
    GetMechanismList "C_GetMechanismList",
    OpenSession "C_OpenSession",
    CloseSession "C_CloseSession",
    GetSessionInfo "C_GetSessionInfo",
    Login "C_Login",
    FindObjects "C_FindObjects",
    GetAttributeValue "C_GetAttributeValue",
    GenerateKeyPair "C_GenerateKeyPair",
    GenerateKey "C_GenerateKey",
    DestroyObject "C_DestroyObject",
    DeriveKey "C_DeriveKey",
    Sign "C_Sign",
    Encrypt "C_Encrypt",
    Decrypt "C_Decrypt",
}

#[derive(Default)]
struct Counted {
    calls: AtomicU64,
    errors: AtomicU64,
    nanos: AtomicU64,
    buckets: [AtomicU64; LATENCY_BOUNDS.len()],
}

/// What was called, how often, with what success and how fast.
#[derive(Default)]
pub(crate) struct Calls([Counted; Function::NAMES.len()]);

/// The calls of one function since the token was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallStats {
    /// `C_…`.
    pub function: &'static str,
    /// How many returned.
    pub calls: u64,
    /// How many of those returned an error.
    pub errors: u64,
    /// Time spent in them.
    pub total: Duration,
    /// By [`LATENCY_BOUNDS`], not cumulative; what took longer is the rest of `calls`.
    pub buckets: [u64; LATENCY_BOUNDS.len()],
}

impl Calls {
    /// Makes a call, and names the function that failed.
    pub(crate) fn time<T>(
        &self,
        function: Function,
        call: impl FnOnce() -> cryptoki::error::Result<T>,
    ) -> Result<T> {
        let start = Instant::now();
        let outcome = call();
        let took = start.elapsed();
        let counted = &self.0[function as usize];
        counted.calls.fetch_add(1, Relaxed);
        counted.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        if let Some(bucket) = LATENCY_BOUNDS.iter().position(|bound| took.as_secs_f64() <= *bound) {
            counted.buckets[bucket].fetch_add(1, Relaxed);
        }
        outcome.map_err(|error| {
            counted.errors.fetch_add(1, Relaxed);
            named(error, function)
        })
    }

    pub(crate) fn stats(&self) -> Vec<CallStats> {
        let stats = Function::NAMES.iter().zip(&self.0).map(|(function, it)| CallStats {
            function,
            calls: it.calls.load(Relaxed),
            errors: it.errors.load(Relaxed),
            total: Duration::from_nanos(it.nanos.load(Relaxed)),
            buckets: std::array::from_fn(|bucket| it.buckets[bucket].load(Relaxed)),
        });
        stats.filter(|it| it.calls > 0).collect()
    }
}

/// The error with the function that returned it.
fn named(error: Raw, function: Function) -> Error {
    match error {
        Raw::Pkcs11(code, by) => Error::Call { function: exact(by, function), code: code.into() },
        Raw::NotSupported | Raw::NullFunctionPointer => {
            Error::Unsupported { what: Function::NAMES[function as usize] }
        }
        Raw::LibraryLoading(_) | Raw::MissingSymbol(_) => Error::Module { why: "cannot be loaded" },
        _ => Error::Malformed { what: "a value" },
    }
}

/// Where one timed call is several, the one that failed.
fn exact(by: cryptoki::context::Function, timed: Function) -> &'static str {
    use cryptoki::context::Function as By;
    match by {
        By::SignInit => "C_SignInit",
        By::EncryptInit => "C_EncryptInit",
        By::DecryptInit => "C_DecryptInit",
        By::FindObjectsInit => "C_FindObjectsInit",
        By::GetFunctionList => "C_GetFunctionList",
        By::GetInterface => "C_GetInterface",
        _ => Function::NAMES[timed as usize],
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function as By;
    use cryptoki::error::RvError;

    use super::*;

    #[test]
    fn calls_are_counted_by_function_and_errors_named_by_the_one_that_failed() {
        let calls = Calls::default();
        assert_eq!(calls.time(Function::Sign, || Ok(7)), Ok(7));
        let failed: Result<()> = calls
            .time(Function::Sign, || Err(Raw::Pkcs11(RvError::KeyHandleInvalid, By::SignInit)));
        let Err(Error::Call { function, .. }) = failed else { panic!("{failed:?}") };
        assert_eq!(function, "C_SignInit");
        let [stats] = &calls.stats()[..] else { panic!("one function was called") };
        assert_eq!((stats.function, stats.calls, stats.errors), ("C_Sign", 2, 1));
        assert_eq!(stats.buckets.iter().sum::<u64>(), 2);
    }
}
