//! Keys that agree on secrets in a token.

use std::sync::atomic::Ordering::SeqCst;

use kms_core::ErrorCode;

use super::map_token::{Place, rotate, until};
use super::*;
use crate::{AttestPolicy, DataKey};

fn wrapped(engine: &Engine, kid: &str) -> kms_core::Result<Vec<u8>> {
    let data_key = DataKey::Given(b"a data key");
    engine.wrap(&Context::library(), kid, data_key, None).map(|wrapped| wrapped.envelope)
}

fn unwrapped(engine: &Engine, envelope: &[u8]) -> kms_core::Result<Vec<u8>> {
    let opened = engine.unwrap(&Context::library(), None, envelope)?;
    Ok(opened.data_key.expose().to_vec())
}

fn create_kem(engine: &Engine, alg: &str) -> String {
    let wish = CreateKey { alg: alg.into(), purpose: "kem".into(), ..wish("message") };
    engine.create(&Context::library(), &wish).unwrap().kid.to_string()
}

#[test]
fn keys_that_agree_in_the_token_open_envelopes_there_and_wrap_without_it() {
    let place = Place::new(AttestPolicy::Required);
    place.token.agrees.store(true, SeqCst);
    let (engine, _) = place.open();
    let kids = [create_kem(&engine, "x25519"), create_kem(&engine, "hybrid")];
    assert_eq!(place.token.kids().len(), 2, "both have their X25519 half in the token");
    let envelopes = kids.each_ref().map(|kid| wrapped(&engine, kid).unwrap());
    for envelope in &envelopes {
        assert!(engine.opens_in_token(envelope));
        assert_eq!(unwrapped(&engine, envelope).unwrap(), b"a data key");
    }
    let class = |engine: &Engine, kid: &str| engine.attest(&Context::library(), kid).unwrap();
    assert_eq!(class(&engine, &kids[0]).class, "pkcs11-map");
    assert_eq!(class(&engine, &kids[1]).class, "pkcs11-map-sealed");
    assert!(class(&engine, &kids[0]).evidence.is_some_and(|it| it.complete));
    let derived = engine.derive(&Context::library(), &kids[0], "orders");
    assert_eq!(refusal(derived).0, "Unsupported");

    let (engine, found) = place.reopen(engine);
    assert_eq!((found.present, found.strangers), (2, 0));
    for (kid, envelope) in kids.iter().zip(&envelopes) {
        assert_eq!(unwrapped(&engine, envelope).unwrap(), b"a data key");
        let second = rotate(&engine, kid).unwrap();
        let rewrapped = engine.rewrap(&Context::library(), None, envelope).unwrap();
        assert_eq!(rewrapped.kid.to_string(), second);
        assert_eq!(unwrapped(&engine, &rewrapped.envelope).unwrap(), b"a data key");
        assert_eq!(unwrapped(&engine, envelope).unwrap(), b"a data key");
    }
    place.token.away_ms.store(1, SeqCst);
    let key = kids[0].split('#').next().unwrap();
    let fresh = wrapped(&engine, key).unwrap();
    assert_eq!(unwrapped(&engine, &fresh).unwrap_err().code, ErrorCode::StoreUnavailable);
    place.token.away_ms.store(0, SeqCst);
    assert_eq!(unwrapped(&engine, &fresh).unwrap(), b"a data key");
    engine.schedule_destroy(&Context::library(), key, None).unwrap();
    until(|| {
        engine.sweep();
        place.token.kids().len() == 2
    });
    assert_eq!(refusal(unwrapped(&engine, &fresh)).0, "Conflict");
}

#[test]
fn no_token_is_asked_for_an_envelope_that_cannot_open() {
    let place = Place::new(AttestPolicy::Never);
    place.token.agrees.store(true, SeqCst);
    let (engine, _) = place.open();
    let (x25519, hybrid) = (create_kem(&engine, "x25519"), create_kem(&engine, "hybrid"));
    for (kid, at) in [(x25519, 0), (hybrid, 1088)] {
        let good = wrapped(&engine, &kid).unwrap();
        let asked = place.token.agreed.load(SeqCst);
        let enc = 12 + kid.len() + at;
        let mut small_order = good.clone();
        small_order[enc..enc + 32].fill(0);
        let mut base = good.clone();
        base[10] = 0;
        let mut other_aead = good.clone();
        other_aead[9] ^= 1;
        for bad in [&small_order, &base, &other_aead, &good[..enc + 31].to_vec()] {
            assert_eq!(refusal(unwrapped(&engine, bad)).1.as_deref(), Some("wrapped_b64"));
        }
        assert_eq!(place.token.agreed.load(SeqCst), asked);
        let mut forged = good.clone();
        forged[enc] ^= 1;
        place.token.lies.store(true, SeqCst);
        for bad in [&forged, &good] {
            assert_eq!(refusal(unwrapped(&engine, bad)).1.as_deref(), Some("wrapped_b64"));
        }
        place.token.lies.store(false, SeqCst);
        assert_eq!(unwrapped(&engine, &good).unwrap(), b"a data key");
    }
    place.token.lies.store(true, SeqCst);
    let wish = CreateKey { alg: "x25519".into(), purpose: "kem".into(), ..wish("message") };
    let refused = engine.create(&Context::library(), &wish);
    assert_eq!(refusal(refused).0, "Internal", "a key that does not agree is not shown");
}

#[test]
fn keys_that_were_sealed_before_stay_so_until_they_are_rotated() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kids = [create_kem(&engine, "x25519"), create_kem(&engine, "hybrid")];
    assert!(place.token.kids().is_empty());
    let envelopes = kids.each_ref().map(|kid| wrapped(&engine, kid).unwrap());
    place.token.agrees.store(true, SeqCst);
    let (engine, _) = place.reopen(engine);
    for (kid, envelope) in kids.iter().zip(&envelopes) {
        assert!(!engine.opens_in_token(envelope));
        assert_eq!(unwrapped(&engine, envelope).unwrap(), b"a data key");
        let second = rotate(&engine, kid).unwrap();
        assert!(place.token.kids().contains(&second));
        let fresh = wrapped(&engine, &second).unwrap();
        assert!(engine.opens_in_token(&fresh));
        assert_eq!(unwrapped(&engine, &fresh).unwrap(), b"a data key");
        assert_eq!(unwrapped(&engine, envelope).unwrap(), b"a data key");
    }
    // Not known is not no: no key lands in the store because the token was away.
    place.token.away_ms.store(1, SeqCst);
    let wish = CreateKey { alg: "x25519".into(), purpose: "kem".into(), ..wish("message") };
    let refused = engine.create(&Context::library(), &wish);
    assert_eq!(refusal(refused).0, "StoreUnavailable");
}
