use kms_core::Context;

use super::*;
use crate::{BatchItem, ItemKid, RotateKey, SignItem};

fn rotate(engine: &Engine, kid: &str, activate_after_ms: u64) -> kms_core::Result<crate::Rotated> {
    engine.rotate(&Context::library(), kid, &RotateKey { alg: None, activate_after_ms })
}

#[test]
fn rotation_makes_a_new_head_and_old_signatures_verify() {
    let (engine, _) = engine();
    let v1 = create(&engine, "message").to_string();
    let old = sign(&engine, &v1, b"m").unwrap();
    let rotated = rotate(&engine, &v1, 0).unwrap();
    let v2 = rotated.kid.to_string();
    assert_eq!(rotated.previous.to_string(), v1);
    assert_eq!(v2, v1.replace("#v1", "#v2"));

    let new = sign(&engine, &v2, b"m").unwrap();
    assert_ne!(old, new);
    assert!(verify(&engine, &v1, b"m", &old).unwrap());
    assert!(verify(&engine, &v2, b"m", &new).unwrap());
    assert!(!verify(&engine, &v2, b"m", &old).unwrap());
    assert!(!verify(&engine, &v1, b"n", &old).unwrap());
}

#[test]
fn a_stale_version_neither_signs_nor_rotates() {
    let (engine, _) = engine();
    let v1 = create(&engine, "message").to_string();
    rotate(&engine, &v1, 0).unwrap();
    let conflict = ("Conflict", Some("kid".to_owned()));
    assert_eq!(refusal(sign(&engine, &v1, b"m")), conflict);
    assert_eq!(refusal(rotate(&engine, &v1, 0)), conflict);
}

#[test]
fn a_kid_without_a_version_is_the_head_where_something_is_made_only() {
    let (engine, _) = engine();
    let v1 = create(&engine, "message").to_string();
    let key = v1.trim_end_matches("#v1");
    let signature = sign(&engine, key, b"m").unwrap();
    assert!(verify(&engine, &v1, b"m", &signature).unwrap());
    let missing = ("BadRequest", Some("kid".to_owned()));
    assert_eq!(refusal(verify(&engine, key, b"m", &signature)), missing);
    assert_eq!(rotate(&engine, key, 0).unwrap().kid.version.get(), 2);
    let shown = engine.describe(&Context::library(), key).unwrap();
    assert_eq!((shown.kid.version.get(), shown.head.get()), (2, 2));
}

#[test]
fn a_pending_version_verifies_and_does_not_sign_until_its_time() {
    let (engine, clock) = engine();
    let v1 = create(&engine, "message").to_string();
    let rotated = rotate(&engine, &v1, 500).unwrap();
    let v2 = rotated.kid.to_string();
    assert_eq!(rotated.active_at_unix_ms, Some(500));
    assert_eq!(refusal(sign(&engine, &v2, b"m")).0, "Conflict");
    assert_eq!(refusal(rotate(&engine, &v1, 0)).0, "Conflict", "one pending at most");
    assert!(!verify(&engine, &v2, b"m", &[0; 64]).unwrap(), "published");
    let by_head = sign(&engine, &v1, b"m").unwrap();

    clock.advance_ms(499);
    assert!(sign(&engine, &v1, b"m").is_ok());
    clock.advance_ms(1);
    assert_eq!(refusal(sign(&engine, &v1, b"m")).0, "Conflict");
    let by_next = sign(&engine, &v2, b"m").unwrap();
    assert!(verify(&engine, &v2, b"m", &by_next).unwrap());
    assert!(verify(&engine, &v1, b"m", &by_head).unwrap());
    assert_eq!(rotate(&engine, &v2, 0).unwrap().kid.version.get(), 3);
}

#[test]
fn attestation_lists_the_versions() {
    let (engine, clock) = engine();
    clock.advance_ms(7);
    let v1 = create(&engine, "message").to_string();
    rotate(&engine, &v1, 0).unwrap();
    let attested = engine.attest(&Context::library(), &v1).unwrap();
    assert_eq!(attested.kid.key.alg.name(), "ed25519");
    assert_eq!((attested.head.get(), attested.newest.get()), (2, 2));
    assert_eq!(attested.created_unix_ms, 7);
}

#[test]
fn what_does_not_exist_is_not_found_in_one_wording() {
    let (engine, _) = engine();
    let v1 = create(&engine, "message").to_string();
    let not_found = ("NotFound", Some("kid".to_owned()));
    let others = [
        v1.replace("#v1", "#v2"),
        v1.replace("core/", "other/"),
        v1.replace("/audit/", "/mail/"),
        v1.replace(&v1[19..23], "0000"),
    ];
    for kid in others {
        assert_eq!(refusal(verify(&engine, &kid, b"m", &[0; 64])), not_found, "{kid}");
        assert_eq!(refusal(sign(&engine, &kid, b"m")), not_found, "{kid}");
    }
    let stranger = Context { tenant: Some("other".into()), ..Context::library() };
    assert_eq!(refusal(engine.describe(&stranger, &v1)), not_found);
}

#[test]
fn there_is_no_export() {
    let (engine, _) = engine();
    let v1 = create(&engine, "message").to_string();
    assert_eq!(refusal(engine.export(&Context::library(), &v1)).0, "ExportForbidden");
}

#[test]
fn messages_of_the_service_itself_are_refused() {
    let (engine, _) = engine();
    for signs in ["message", "digest"] {
        let v1 = create(&engine, signs).to_string();
        assert_eq!(refusal(sign(&engine, &v1, b"ron-kms/audit/v1\0x")).0, "BadRequest");
        assert!(sign(&engine, &v1, b"ron-kms").is_ok());
    }
}

#[test]
fn a_digest_key_signs_the_blake3_of_the_payload() {
    let (engine, _) = engine();
    let v1 = create(&engine, "digest");
    let signature = sign(&engine, &v1.to_string(), b"hello world").unwrap();
    let public = engine.describe(&Context::library(), &v1.to_string()).unwrap().public;
    let digest = kms_crypto::digest::blake3(b"hello world");
    let lane = kms_crypto::ed25519::VerifyLane::Dalek;
    assert!(kms_crypto::ed25519::verify(
        lane,
        kms_crypto::ed25519::KeyRef::Bytes(public.as_bytes()),
        &digest,
        &signature
    ));
}

#[test]
fn a_closed_engine_refuses_and_cannot_sign() {
    let (engine, _) = engine();
    let v1 = create(&engine, "message").to_string();
    engine.close();
    assert_eq!(refusal(sign(&engine, &v1, b"m")).0, "StoreUnavailable");
    assert_eq!(refusal(verify(&engine, &v1, b"m", &[0; 64])).0, "StoreUnavailable");
}

#[test]
fn work_is_not_begun_after_the_deadline() {
    let (engine, clock) = engine();
    let v1 = create(&engine, "message").to_string();
    let context = Context { deadline_ms: Some(10), ..Context::library() };
    assert!(engine.describe(&context, &v1).is_ok());
    clock.advance_ms(11);
    assert_eq!(refusal(engine.describe(&context, &v1)).0, "Timeout");
}

#[test]
fn a_batch_keeps_order_and_names_what_it_could_not_check() {
    let (engine, _) = engine();
    let v1 = create(&engine, "message").to_string();
    let digest = create(&engine, "digest").to_string();
    let good = sign(&engine, &v1, b"m").unwrap();
    let hashed = sign(&engine, &digest, b"m").unwrap();
    let bad = {
        let mut bad = good;
        bad[40] ^= 1;
        bad
    };
    let unknown = v1.replace("#v1", "#v9");
    let known = engine.know(&Context::library(), &v1).unwrap();
    let kids = [
        ItemKid::Known(&known),
        ItemKid::Named(&unknown),
        ItemKid::Named(&digest),
        ItemKid::Named("nonsense"),
        ItemKid::Named(&v1),
    ];
    let item = |kid: usize, signature| BatchItem { kid: kids[kid], message: b"m", signature };
    let items: Vec<BatchItem<'_>> = (0..100)
        .flat_map(|_| {
            [
                item(0, &good[..]),
                item(0, &bad),
                item(1, &good),
                item(2, &hashed),
                item(3, &good),
                item(4, b"short"),
            ]
        })
        .collect();
    for parallel in [false, true] {
        let mut verdicts = vec![9; items.len()];
        let errors =
            engine.verify_items(&Context::library(), &items, parallel, &mut verdicts).unwrap();
        assert!(verdicts.chunks(6).all(|six| six == [1, 0, 2, 1, 2, 0]));
        assert_eq!(errors.len(), 200);
        let codes: Vec<_> = errors.iter().map(|(i, error)| (*i, error.code.name())).collect();
        assert_eq!(codes[..3], [(2, "NotFound"), (4, "BadRequest"), (8, "NotFound")]);
    }
}

#[test]
fn a_batch_of_signatures_keeps_order_and_names_what_it_could_not_sign() {
    for verify_after_sign in [false, true] {
        let engine = Engine::new(EngineConfig { verify_after_sign, ..EngineConfig::default() });
        let v1 = create(&engine, "message").to_string();
        let digest = create(&engine, "digest").to_string();
        let known = engine.know(&Context::library(), &v1).unwrap();
        let stale = create(&engine, "message").to_string();
        engine.rotate(&Context::library(), &stale, &RotateKey::default()).unwrap();
        let items: Vec<SignItem<'_>> = (0..50)
            .flat_map(|_| {
                [
                    SignItem { kid: ItemKid::Known(&known), message: b"m" },
                    SignItem { kid: ItemKid::Named(&digest), message: b"m" },
                    SignItem { kid: ItemKid::Named(&stale), message: b"m" },
                    SignItem { kid: ItemKid::Named(&v1), message: b"ron-kms/x" },
                ]
            })
            .collect();
        for parallel in [false, true] {
            let mut out = vec![[9; 64]; items.len()];
            let errors =
                engine.sign_items(&Context::library(), &items, parallel, &mut out).unwrap();
            assert_eq!(errors.len(), 100);
            let codes: Vec<_> = errors.iter().map(|(i, error)| (*i, error.code.name())).collect();
            assert_eq!(codes[..3], [(2, "Conflict"), (3, "BadRequest"), (6, "Conflict")]);
            for four in out.chunks(4) {
                assert!(verify(&engine, &v1, b"m", &four[0]).unwrap());
                assert!(verify(&engine, &digest, b"m", &four[1]).unwrap());
                assert_eq!(four[2..], [[0; 64]; 2]);
            }
        }
    }
}

#[test]
fn a_kid_that_was_looked_up_before_a_rotation_is_what_it_names() {
    let (engine, _) = engine();
    let v1 = create(&engine, "message").to_string();
    let context = Context::library();
    let versioned = engine.know(&context, &v1).unwrap();
    let head = engine.know(&context, v1.strip_suffix("#v1").unwrap()).unwrap();
    let sign = |kid| {
        let mut out = [0; 64];
        engine.sign_into(&context, ItemKid::Known(kid), b"m", &mut out).map(|()| out)
    };
    let first = sign(&versioned).unwrap();
    engine.rotate(&context, &v1, &RotateKey::default()).unwrap();
    assert_eq!(refusal(sign(&versioned)).0, "Conflict");
    let second = sign(&head).unwrap();
    let verify = |kid, signature: &[u8; 64]| {
        engine.verify_one(&context, ItemKid::Known(kid), b"m", signature)
    };
    assert!(verify(&versioned, &first).unwrap());
    assert!(!verify(&versioned, &second).unwrap());
    assert_eq!(refusal(verify(&head, &second)).0, "BadRequest");
    let v2 = engine.know(&context, &v1.replace("#v1", "#v2")).unwrap();
    assert!(verify(&v2, &second).unwrap());
    engine.close();
    assert_eq!(refusal(verify(&v2, &second)).0, "StoreUnavailable");
}

#[test]
fn only_allowed_algorithms_are_created() {
    let config = EngineConfig { allowed_algs: vec![], ..EngineConfig::default() };
    let refused = Engine::new(config).create(&Context::library(), &wish("message"));
    assert_eq!(refusal(refused), ("Unsupported", Some("alg".to_owned())));
}

#[test]
fn names_of_a_new_key_are_checked_by_field() {
    let (engine, _) = engine();
    let context = Context::library();
    for (field, wish) in [
        ("tenant", CreateKey { tenant: "RON-kms".into(), ..wish("message") }),
        ("tenant", CreateKey { tenant: "a/b".into(), ..wish("message") }),
        ("purpose", CreateKey { purpose: "#".into(), ..wish("message") }),
        ("alg", CreateKey { alg: "rsa".into(), ..wish("message") }),
        ("signs", CreateKey { signs: Some("both".into()), ..wish("message") }),
    ] {
        assert_eq!(refusal(engine.create(&context, &wish)).1.as_deref(), Some(field));
    }
}
