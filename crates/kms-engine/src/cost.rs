//! How long a request takes, roughly: whether an event loop may wait for it.
//!
//! By what the request says alone, and by the most that it can mean: a kid that shows `ed25519` may be of a hybrid key.
//! Microseconds of a slow machine.

use kms_core::{Algorithm, Context, Result};

use crate::dispatch::Request;
use crate::verify::VerifyRequest;

/// An event loop may wait for this long.
const BUDGET_MICROS: u64 = 1_000;

/// Whether these requests together take longer than an event loop may wait. What is at fault takes no time.
pub(crate) fn are_slow<'a>(requests: impl Iterator<Item = &'a (Context, Result<Request>)>) -> bool {
    requests.flat_map(|(_, request)| request).map(micros).sum::<u64>() > BUDGET_MICROS
}

/// Whether one request does.
pub(crate) fn is_slow(request: &Request) -> bool {
    micros(request) > BUDGET_MICROS
}

/// Whether these verifications do.
pub(crate) fn are_slow_to_verify<'a, 'b: 'a>(
    requests: impl Iterator<Item = &'a Result<VerifyRequest<'b>>>,
) -> bool {
    requests.flatten().map(to_verify).sum::<u64>() > BUDGET_MICROS
}

/// Whether one does.
pub(crate) fn is_slow_to_verify(wish: &VerifyRequest<'_>) -> bool {
    to_verify(wish) > BUDGET_MICROS
}

fn micros(request: &Request) -> u64 {
    match request {
        Request::Create(wish) => to_make(&wish.alg),
        Request::Import(wish) => to_make(&wish.key.alg),
        // Looking up and writing some 300 bytes a key.
        Request::List(wish) => wish.limit.unwrap_or(100) as u64 * 2,
        // A change of a key may have to wait for one that makes a version.
        Request::Rotate(kid, _)
        | Request::Derive(kid, _)
        | Request::Disable(kid)
        | Request::Enable(kid)
        | Request::Destroy(kid, _)
        | Request::CancelDestroy(kid) => to_make(shown(kid)),
        Request::Sign(wish) => wish.target.kids().iter().map(|kid| to_sign(shown(kid))).sum(),
        _ => 0,
    }
}

pub(crate) fn to_verify(wish: &VerifyRequest<'_>) -> u64 {
    let one = |alg: Algorithm| match alg.family() {
        "ed25519" => 10,
        "ml-dsa" => 70,
        _ => 10_000,
    };
    wish.sigs.iter().map(|entry| one(entry.alg)).sum()
}

fn to_sign(alg: &str) -> u64 {
    match alg {
        "ed25519" => 190,
        alg if alg.starts_with("slh-dsa") => 500_000,
        _ => 250,
    }
}

fn to_make(alg: &str) -> u64 {
    if alg.starts_with("slh-dsa") { 100_000 } else { 250 }
}

/// The algorithm that a kid shows, as far as it is well formed.
fn shown(kid: &str) -> &str {
    kid.split('/').nth(2).unwrap_or_default()
}
