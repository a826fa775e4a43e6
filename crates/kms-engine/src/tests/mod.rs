//! The use cases, from outside.

mod audit;
#[cfg(unix)]
mod custody;
#[cfg(feature = "fault-injection")]
mod faults;
#[cfg(target_os = "linux")]
mod forked;
mod hybrid;
mod idempotency;
mod import;
mod key_states;
#[cfg(unix)]
mod leftovers;
mod life_cycle;
mod list;
#[cfg(unix)]
mod map_token;
mod permission;
#[cfg(unix)]
mod remote;
#[cfg(unix)]
mod remote_wrap;
mod rotate_by_age;
mod rotation_under_load;
mod state_races;
mod state_under_load;
mod wire;
mod wire_strict;
mod wrap;

use std::sync::Arc;

use kms_core::{Context, Kid};
use kms_testkit::clock::ManualClock;

use crate::{CreateKey, Engine, EngineConfig, ItemKid};

fn engine() -> (Engine, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let config = EngineConfig { clock: clock.clone(), ..EngineConfig::default() };
    (Engine::new(config), clock)
}

fn wish(signs: &str) -> CreateKey {
    CreateKey {
        tenant: "core".into(),
        purpose: "audit".into(),
        alg: "ed25519".into(),
        signs: Some(signs.into()),
        policy_hints: None,
    }
}

fn create(engine: &Engine, signs: &str) -> Kid {
    engine.create(&Context::library(), &wish(signs)).expect("a key").kid
}

fn sign(engine: &Engine, kid: &str, message: &[u8]) -> kms_core::Result<[u8; 64]> {
    let signature = engine.sign_one(&Context::library(), ItemKid::Named(kid), message, false)?;
    Ok(signature.as_bytes().try_into().expect("an Ed25519 signature"))
}

fn verify(engine: &Engine, kid: &str, message: &[u8], signature: &[u8]) -> kms_core::Result<bool> {
    engine.verify_one(&Context::library(), ItemKid::Named(kid), message, signature)
}

/// Code and field of a refusal.
fn refusal<T>(result: kms_core::Result<T>) -> (&'static str, Option<String>) {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => (error.code.name(), error.field.map(Into::into)),
    }
}
