//! Keys in a token: how they are used, and what follows when it is away.

use std::sync::atomic::Ordering::SeqCst;

use kms_core::{Algorithm, ErrorCode, Result};
use kms_store::root_key::KeyFile;
use kms_store::{FileStore, Options, Unlocked};
use smallvec::smallvec;

use super::map_token::{Place, create_as, presigned, rotate, sign_later, until};
use super::*;
use crate::{AttestPolicy, Op, Reconciled, SignRequest, Target, is_moved};

#[test]
fn keys_of_a_token_sign_rotate_and_are_there_after_a_restart() {
    let place = Place::new(AttestPolicy::IfAvailable);
    let (engine, _) = place.open();
    let first = create_as(&engine, "ed25519").unwrap();
    let hybrid = create_as(&engine, "hybrid").unwrap();
    let old = sign_later(&engine, &first, b"m").unwrap();
    let second = rotate(&engine, &first).unwrap();
    let waits = refusal(sign(&engine, &second, b"m"));
    assert_eq!(waits, ("Unsupported", Some("kid".to_owned())), "this thread must not wait");
    let (engine, found) = place.reopen(engine);
    assert_eq!(found, Reconciled { present: 3, ..Reconciled::default() });
    let new = sign_later(&engine, &second, b"m").unwrap();
    assert!(verify(&engine, &first, b"m", &old).unwrap());
    assert!(verify(&engine, &second, b"m", &new).unwrap());
    let wish = SignRequest {
        target: Target::Kid(hybrid.clone()),
        payload: crate::Payload::Local(b"m"),
        context: vec![],
        produce_hybrid: None,
    };
    let context = presigned(&engine, engine.needs(&Context::library(), &wish));
    let signed = engine.sign(&context, &wish).unwrap();
    assert_eq!(signed.len(), 2);
    let class = |kid: &str| engine.attest(&Context::library(), kid).unwrap().class;
    assert_eq!((class(&second), class(&hybrid)), ("pkcs11-map".into(), "pkcs11-map-sealed".into()));
    let derived = engine.derive(&Context::library(), &second, "orders");
    assert_eq!(refusal(derived).0, "Unsupported");
}

#[test]
fn many_signatures_are_made_side_by_side_and_a_token_that_goes_fails_the_rest_at_once() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let messages: Vec<[u8; 4]> = (0..5_000u32).map(u32::to_be_bytes).collect();
    let items: Vec<_> = messages
        .iter()
        .map(|message| crate::SignItem { kid: ItemKid::Named(&kid), message })
        .collect();
    let needs = engine.needs_of_items(&Context::library(), &items);
    let context = presigned(&engine, needs);
    let signed = engine.sign_items(&context, &items, true).unwrap();
    assert!(signed.iter().all(Result::is_ok));
    let needs = engine.needs_of_items(&Context::library(), &items);
    place.token.away_ms.store(1, SeqCst);
    let context = presigned(&engine, needs);
    let refused = engine.sign_items(&context, &items, true).unwrap();
    let unavailable =
        |it: &Result<_>| it.as_ref().is_err_and(|it| it.code == ErrorCode::StoreUnavailable);
    assert!(refused.iter().all(unavailable));
}

#[test]
fn a_head_that_changes_while_the_token_signs_is_told_apart() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let key = kid.split('#').next().unwrap();
    let needs = engine.needs_of_one(&Context::library(), ItemKid::Named(key), b"m");
    let context = presigned(&engine, needs);
    rotate(&engine, key).unwrap();
    let error = engine.sign_one(&context, ItemKid::Named(key), b"m", true).unwrap_err();
    assert!(is_moved(&error), "{error:?}");
    assert!(sign_later(&engine, key, b"m").is_ok());
}

#[test]
fn no_wrong_signature_of_a_token_leaves_and_no_key_that_makes_one_is_shown() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    place.token.lies.store(true, SeqCst);
    assert_eq!(refusal(sign_later(&engine, &kid, b"m")).0, "Internal");
    assert_eq!(refusal(create_as(&engine, "ed25519")).0, "Internal");
    place.token.lies.store(false, SeqCst);
    until(|| place.token.kids() == [kid.clone()]);
}

#[test]
fn a_destruction_waits_for_the_token_and_is_out_of_use_meanwhile() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let key = kid.split('#').next().unwrap().to_owned();
    rotate(&engine, &key).unwrap();
    place.token.away_ms.store(1, SeqCst);
    engine.schedule_destroy(&Context::library(), &key, None).unwrap();
    engine.sweep();
    let state = || engine.describe(&Context::library(), &key).unwrap().state.name();
    assert_eq!(state(), "destroy_scheduled");
    assert_eq!(refusal(sign_later(&engine, &key, b"m")).0, "Conflict");
    assert_eq!(place.token.kids().len(), 2);
    place.token.away_ms.store(0, SeqCst);
    until(|| {
        place.clock.advance_ms(60_000);
        engine.sweep();
        state() == "destroyed"
    });
    assert_eq!(place.token.kids(), Vec::<String>::new());
    let (engine, found) = place.reopen(engine);
    assert_eq!((found.present, found.missing), (0, vec![]));
    assert_eq!(engine.describe(&Context::library(), &key).unwrap().state.name(), "destroyed");
}

#[test]
fn verification_outlives_the_token_for_a_while_and_says_for_how_long() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let signature = sign_later(&engine, &kid, b"m").unwrap();
    let check = crate::VerifyRequest {
        kid: Some(kid.as_str().into()),
        payload: crate::Payload::Local(b"m"),
        context: vec![],
        sigs: smallvec![crate::SignatureEntry {
            alg: Algorithm::Ed25519,
            signature: signature.as_slice().into(),
            kid: None,
        }],
        mode: None,
    };
    let age = || engine.verify(&Context::library(), &check).map(|it| (it.ok, it.cache_age_ms));
    assert_eq!(age().unwrap(), (true, None));
    place.token.away_ms.store(90_000, SeqCst);
    assert_eq!(age().unwrap(), (true, Some(90_000)));
    let error = engine.sign(&Context::library(), &sign_wish(&kid)).unwrap_err();
    assert_eq!((error.code, error.retry_after_ms), (ErrorCode::StoreUnavailable, Some(100)));
    place.token.away_ms.store(120_001, SeqCst);
    assert_eq!(refusal(age()).0, "StoreUnavailable");
    assert_eq!(refusal(verify(&engine, &kid, b"m", &signature)).0, "StoreUnavailable");
    place.token.away_ms.store(0, SeqCst);
    assert_eq!(age().unwrap(), (true, None));
}

#[test]
fn nothing_signs_without_evidence_where_it_is_required() {
    let place = Place::new(AttestPolicy::Required);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let lattice = create_as(&engine, "ml-dsa").unwrap();
    assert!(sign_later(&engine, &kid, b"m").is_ok());
    let missing = ("AttestationMissing", Some("kid".to_owned()));
    assert_eq!(refusal(sign_later(&engine, &lattice, b"m")), missing);
    place.token.incomplete.store(true, SeqCst);
    assert_eq!(refusal(create_as(&engine, "ed25519")), missing);
    until(|| place.token.kids() == [kid.clone()]);
    let (engine, _) = place.reopen(engine);
    assert_eq!(refusal(engine.attest_heads()), missing, "a token that cannot attest");
    assert!(!engine.is_attested());
    assert_eq!(refusal(sign_later(&engine, &kid, b"m")), missing);
    place.token.incomplete.store(false, SeqCst);
    engine.attest_heads().unwrap();
    let signature = sign_later(&engine, &kid, b"m").unwrap();
    assert!(verify(&engine, &kid, b"m", &signature).unwrap());
}

#[test]
fn a_store_with_versions_of_another_backend_is_opened_only_where_that_is_said() {
    let place = Place { anchor: None, ..Place::new(AttestPolicy::Never) };
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let signature = sign_later(&engine, &kid, b"m").unwrap();
    let (stored, own) = {
        let custody = place.dir.path().join("store");
        engine.close();
        drop(engine);
        let root = KeyFile::parse(&kms_core::SecretBytes::copy_of(&[7; 32])).unwrap();
        let mut stored = Vec::new();
        let visit = &mut |key| {
            stored.push(key);
            Ok(())
        };
        let unlocked = Unlocked::open(&custody, &root).unwrap();
        let opened = FileStore::open(unlocked, Options::default(), visit).unwrap();
        drop(opened);
        (stored.pop().unwrap(), EngineConfig::default())
    };
    let alone = Engine::new(own);
    let refused = refusal(alone.adopt(stored.clone()));
    assert_eq!(refused, ("BadRequest", Some("service.multi_backends".to_owned())));
    let both = Engine::new(EngineConfig { other_backends: true, ..EngineConfig::default() });
    both.adopt(stored).unwrap();
    assert!(verify(&both, &kid, b"m", &signature).unwrap());
    let signs = both.sign_one(&Context::library(), ItemKid::Named(&kid), b"m", true);
    assert_eq!(refusal(signs), ("Unsupported", Some("kid".to_owned())));
}

fn sign_wish(kid: &str) -> SignRequest<'static> {
    SignRequest {
        target: Target::Kid(kid.to_owned()),
        payload: crate::Payload::Message(b"m".to_vec().into()),
        context: vec![],
        produce_hybrid: None,
    }
}

#[test]
fn what_is_known_of_a_key_goes_with_its_signatures_and_with_their_replays() {
    let place = Place::new(AttestPolicy::IfAvailable);
    let (engine, _) = place.open();
    let (kid, sealed) =
        (create_as(&engine, "ed25519").unwrap(), create_as(&engine, "ml-dsa").unwrap());
    let signed = |engine: &Arc<Engine>, kid: &str| {
        let body = format!(
            r#"{{"kid_or_set":{{"kid":"{kid}"}},"message_b64":"bQ==","op_id":"{}"}}"#,
            uuid::Uuid::from_u128(5)
        );
        let context = Context::library();
        let needs = crate::wire::needs(engine, Op::Sign, body.as_bytes(), &context);
        let context = presigned(engine, needs);
        let answer = crate::wire::handle(engine, Op::Sign, None, body.as_bytes(), context, true);
        serde_json::from_slice::<serde_json::Value>(&answer.unwrap().unwrap()).unwrap()
    };
    let first = signed(&engine, &kid);
    let evidence = engine.attest(&Context::library(), &kid).unwrap().evidence.unwrap();
    let b3 = base16ct::lower::encode_string(&evidence.hash);
    let expected = serde_json::json!({ "class": "pkcs11-map", "complete": true, "b3": b3 });
    assert_eq!(first["attestation"], expected);
    let (engine, _) = place.reopen(engine);
    assert_eq!(signed(&engine, &kid), first, "the recorded answer is given again, whole");
    let attestation = |engine: &Engine, kid: &str| {
        let wish = SignRequest {
            target: Target::Kid(kid.to_owned()),
            payload: crate::Payload::Local(b"m"),
            context: vec![],
            produce_hybrid: None,
        };
        engine.sign(&Context::library(), &wish).unwrap()[0].attestation.clone()
    };
    // After a restart the first signature has the token asked for it.
    until(|| attestation(&engine, &kid).is_some_and(|it| it.b3() == b3));
    assert_eq!(attestation(&engine, &sealed), None);
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    assert_eq!((0..10).find_map(|_| attestation(&engine, &kid)), None);
}
