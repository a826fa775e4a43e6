//! What a capability costs against the signature that it allows:
//! `cargo run --release -p kms-engine --example capability_cost`.
//!
//! Medians of blocks of calls, in microseconds, on one thread.

use std::sync::Arc;
use std::time::Instant;

use kms_capability::{Ceilings, RootKeys, Verifier, VerifierConfig, mint};
use kms_core::{Clock, Context, OsEntropy, Scopes, SecretBytes, SystemClock};
use kms_engine::{CreateKey, Engine, EngineConfig, ItemKid};

const BLOCKS: usize = 51;
const CALLS: usize = 400;

/// The median over all blocks of the mean of a call.
fn median(mut call: impl FnMut(usize)) -> f64 {
    let mut means: Vec<f64> = (0..BLOCKS)
        .map(|block| {
            let started = Instant::now();
            (0..CALLS).for_each(|n| call(block * CALLS + n));
            started.elapsed().as_secs_f64() * 1e6 / CALLS as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    means[BLOCKS / 2]
}

#[expect(clippy::print_stdout, reason = "it prints a table")]
fn main() -> kms_core::Result<()> {
    let clock = Arc::new(SystemClock::new());
    let hex = SecretBytes::copy_of("5a".repeat(32).as_bytes());
    let roots = RootKeys::parse(&hex)?;
    let exp = format!("exp = {}", clock.unix_ms() / 1000 + 3600);
    let caveats = ["scope = kms:sign,kms:verify", "tenant = core", &exp, "kid = core/audit"];
    let token = mint::mint(&roots, "bench", &caveats, &*clock, &OsEntropy)?.token;
    // Each is seen once: more than are remembered.
    let strangers: Vec<String> = (0..BLOCKS * CALLS)
        .map(|n| mint::attenuate(&token, &[format!("purpose = p{n}")]))
        .collect::<kms_core::Result<_>>()?;
    let config = VerifierConfig {
        skew_ms: 2000,
        max_rps: None,
        read_may_verify: false,
        revocations: None,
        ceilings: Ceilings::default(),
        clock,
        entropy: Arc::new(OsEntropy),
    };
    let verifier = Verifier::new(roots, config)?;
    let admit = |token: &str| verifier.admit(token, None, Scopes::SIGN).expect("it was minted");

    let engine = Engine::new(EngineConfig::default());
    let wish = CreateKey {
        tenant: "core".into(),
        purpose: "audit".into(),
        alg: "ed25519".into(),
        signs: Some("message".into()),
        policy_hints: None,
    };
    let kid = engine.create(&Context::library(), &wish)?.kid.to_string();
    let rights = Some(Arc::clone(&admit(&token).grant.rights));
    let caller = Context { rights, ..Context::library() };
    let sign = |context: &Context| {
        engine.sign_one(context, ItemKid::Named(&kid), &[7; 128], false).expect("it signs");
    };

    let rows = [
        ("a token that was seen before", median(|_| drop(admit(&token)))),
        ("a token that was not, five caveats", median(|n| drop(admit(&strangers[n])))),
        ("sign with Ed25519, without a capability", median(|_| sign(&Context::library()))),
        ("sign with Ed25519, with one", median(|_| sign(&caller))),
    ];
    for (name, micros) in rows {
        println!("{micros:8.2} µs  {name}");
    }
    Ok(())
}
