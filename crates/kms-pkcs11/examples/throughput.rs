//! Signatures a second through a [`Token`], beside a bare loop of C_SignInit and C_Sign on the same token.
//!
//!     SOFTHSM2_CONF=… cargo run --release -p kms-pkcs11 --example throughput -- MODULE LABEL
//!
//! The PIN is read from `KMS_PKCS11_PIN`. A key is made, used and destroyed. The two are measured in turns, and medians
//! are compared.

#![expect(clippy::print_stdout, reason = "a program that prints")]

use std::error::Error;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, ObjectClass};
use kms_core::{Algorithm, KeyId, Kid, Name, SecretBytes, Version};
use kms_pkcs11::{Config, Token};
use uuid::Uuid;

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(600);
const WITHIN: Duration = Duration::from_secs(10);
const MESSAGE: [u8; 32] = [7; 32];

/// Calls a second of `sign`, made by that many threads, each with what `start` gives it.
fn rate<S, F: FnMut() -> bool>(threads: usize, start: &S) -> f64
where
    S: Fn() -> F + Sync,
{
    let begin = Instant::now();
    let one = || {
        let (mut sign, mut done) = (start(), 0u64);
        while begin.elapsed() < ROUND {
            assert!(sign(), "a signature failed");
            done += 1;
        }
        done
    };
    let done: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|it| it.join().unwrap_or_default()).sum()
    });
    done as f64 / begin.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(label)) = (arguments.next(), arguments.next()) else {
        return Err("usage: throughput MODULE LABEL".into());
    };
    let pin = std::env::var("KMS_PKCS11_PIN")?;
    let pin = SecretBytes::copy_of(pin.as_bytes());
    let token = Token::open(Config::new(path.clone().into(), label, pin))?;
    println!("{}", token.capabilities());
    let kid = KeyId {
        tenant: Name::parse("bench", "tenant")?,
        purpose: Name::parse("throughput", "purpose")?,
        alg: Algorithm::Ed25519,
        uuid: Uuid::from_u128(std::process::id().into()),
    };
    let kid: Kid = kid.at(Version::MIN);
    token.generate_ed25519(&kid, WITHIN)?;

    // The module is initialised and logged in to by the token; the bare loop has sessions of its own.
    let bare = Pkcs11::new(&path)?;
    let _ = bare.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    let label = token.capabilities().identity.label.clone();
    let slots = bare.get_slots_with_token()?;
    let ours = |slot: &_| bare.get_token_info(*slot).is_ok_and(|info| info.label() == label);
    let slot = slots.into_iter().find(ours).ok_or("no such token")?;
    let label = Attribute::Label(kid.key.to_string().into_bytes());
    let bare_loop = || {
        let session = bare.open_ro_session(slot).expect("a session");
        let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), label.clone()];
        let key = session.find_objects(&template).expect("a search")[0];
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
        move || session.sign(&mechanism, key, &MESSAGE).is_ok()
    };
    let pooled = || || token.sign(&kid, &MESSAGE, WITHIN).is_ok();
    for threads in [1, 8] {
        let (mut of_token, mut of_loop) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let rates = if round % 2 == 0 {
                let first = rate(threads, &pooled);
                (first, rate(threads, &bare_loop))
            } else {
                let first = rate(threads, &bare_loop);
                (rate(threads, &pooled), first)
            };
            // The first round warms up.
            if round > 0 {
                of_token.push(rates.0);
                of_loop.push(rates.1);
            }
        }
        let (of_token, of_loop) = (median(of_token), median(of_loop));
        println!(
            "{threads} callers: token {of_token:.0}/s, bare C_Sign {of_loop:.0}/s, ratio {:.3}",
            of_token / of_loop
        );
    }
    token.destroy(&kid, WITHIN)?;
    token.close(WITHIN);
    Ok(())
}
