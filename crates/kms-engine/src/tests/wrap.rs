//! Wrapping and derivation.

use kms_core::Algorithm;
use kms_crypto::hpke::{Kem, PublicKey};

use super::*;
use crate::{DataKey, KemMode, RotateKey};

fn new_key(engine: &Engine, alg: &str, hints: Option<&str>) -> String {
    let wish = CreateKey {
        alg: alg.into(),
        purpose: "kem".into(),
        policy_hints: hints.map(Into::into),
        ..wish("message")
    };
    engine.create(&Context::library(), &wish).expect("a key").kid.to_string()
}

fn wrap(engine: &Engine, kid: &str, key: &[u8]) -> Vec<u8> {
    engine.wrap(&Context::library(), kid, DataKey::Given(key), None).unwrap().envelope
}

fn unwrap(engine: &Engine, kid: Option<&str>, envelope: &[u8]) -> kms_core::Result<Vec<u8>> {
    engine.unwrap(&Context::library(), kid, envelope).map(|it| it.data_key.expose().to_vec())
}

#[test]
fn every_kem_unwraps_what_it_wrapped_before_and_after_a_rotation() {
    let (engine, _) = engine();
    for (alg, mode, name) in [
        ("x25519", KemMode::Classical, "x25519"),
        ("ml-kem", KemMode::Pq, "ml-kem"),
        ("ml-kem-512", KemMode::Pq, "ml-kem-512"),
        ("ml-kem-1024", KemMode::Pq, "ml-kem-1024"),
        ("hybrid", KemMode::Hybrid, "hybrid"),
    ] {
        let kid = new_key(&engine, alg, None);
        let old = wrap(&engine, &kid, b"a data key");
        engine.rotate(&Context::library(), &kid, &RotateKey::default()).unwrap();
        let v2 = kid.replace("#v1", "#v2");
        let new = wrap(&engine, &v2, b"a data key");
        for envelope in [&old, &new] {
            assert_eq!(unwrap(&engine, None, envelope).unwrap(), b"a data key");
        }
        assert_eq!(unwrap(&engine, Some(&kid), &old).unwrap(), b"a data key");
        assert!(unwrap(&engine, Some(&kid), &new).is_err(), "for another version");
        let key = kid.strip_suffix("#v1").unwrap();
        assert_eq!(unwrap(&engine, Some(key), &new).unwrap(), b"a data key");

        let context = Context::library();
        let stale = engine.wrap(&context, &kid, DataKey::Given(b"k"), None);
        assert_eq!(refusal(stale).0, "Conflict");
        let fresh = engine.wrap(&context, key, DataKey::Fresh(32), Some(mode)).unwrap();
        assert_eq!((fresh.alg, fresh.kid.to_string()), (name, v2.clone()));
        let made = fresh.fresh.unwrap();
        assert_eq!(made.len(), 32);
        assert_eq!(unwrap(&engine, None, &fresh.envelope).unwrap(), made.expose());

        let moved = engine.rewrap(&context, None, &old).unwrap();
        assert_eq!(moved.kid.to_string(), v2);
        assert!(moved.fresh.is_none());
        assert_eq!(unwrap(&engine, Some(&v2), &moved.envelope).unwrap(), b"a data key");
    }
}

#[test]
fn every_failure_to_unwrap_is_the_same() {
    let (engine, _) = engine();
    let kid = new_key(&engine, "hybrid", None);
    let other = new_key(&engine, "hybrid", None);
    let signer = create(&engine, "message").to_string();
    let good = wrap(&engine, &kid, b"key");
    let spoilt = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let unpublished = {
        let mut bytes = good.clone();
        let at = bytes.windows(3).position(|it| it == b"#v1").unwrap() + 2;
        bytes[at] = b'9';
        bytes
    };
    let foreign = {
        let mut bytes = good.clone();
        bytes.splice(11..12 + usize::from(good[11]), {
            let mut kid = vec![u8::try_from(signer.len()).unwrap()];
            kid.extend(signer.bytes());
            kid
        });
        bytes
    };
    let elsewhere = Engine::new(EngineConfig::default());
    let mut errors = vec![
        unwrap(&engine, None, b"").unwrap_err(),
        unwrap(&engine, None, b"nonsense").unwrap_err(),
        unwrap(&engine, Some(&other), &good).unwrap_err(),
        unwrap(&engine, None, &unpublished).unwrap_err(),
        unwrap(&engine, None, &foreign).unwrap_err(),
        unwrap(&engine, None, &good[..good.len() - 1]).unwrap_err(),
        unwrap(&elsewhere, None, &good).unwrap_err(),
    ];
    for at in [0, 3, 4, 8, 10, 11, 20, 150, 700, 1200, good.len() - 1] {
        errors.push(unwrap(&engine, None, &spoilt(at)).unwrap_err());
    }
    let tenant = Context { tenant: Some("other".into()), ..Context::library() };
    errors.push(engine.unwrap(&tenant, None, &good).unwrap_err());
    for error in &errors {
        assert_eq!(error, &errors[0]);
    }
    assert_eq!(errors[0].field.as_deref(), Some("wrapped_b64"));
}

#[test]
fn what_does_not_fit_is_named() {
    let (engine, _) = engine();
    let kid = new_key(&engine, "x25519", None);
    let context = Context::library();
    let try_wrap = |kid: &str, key, mode| refusal(engine.wrap(&context, kid, key, mode));
    let too_long = vec![0; 4097];
    let field = |field: &str| Some(field.to_owned());
    assert_eq!(
        try_wrap(&kid, DataKey::Given(b"k"), Some(KemMode::Hybrid)),
        ("Unsupported", field("kem_mode"))
    );
    for bad in [&[][..], &too_long] {
        let refused = try_wrap(&kid, DataKey::Given(bad), None);
        assert_eq!(refused, ("BadRequest", field("plaintext_key_b64")));
    }
    for bad in [0, 513] {
        assert_eq!(try_wrap(&kid, DataKey::Fresh(bad), None), ("BadRequest", field("size")));
    }
    let signer = create(&engine, "message").to_string();
    assert_eq!(try_wrap(&signer, DataKey::Given(b"k"), None), ("Unsupported", field("kid")));
}

/// An envelope that somebody made with the public key opens only where the key's policy lets it.
#[test]
fn outsiders_wrap_only_where_the_key_allows_it() {
    let (engine, _) = engine();
    for (hints, opens) in [(None, false), (Some(r#"{"wrap_outside":true}"#), true)] {
        let kid = new_key(&engine, "hybrid", hints);
        let tracks = engine.describe(&Context::library(), &kid).unwrap().public.tracks();
        let algs: Vec<_> = tracks.iter().map(|(alg, _)| *alg).collect();
        assert_eq!(algs, [Algorithm::X25519, Algorithm::MlKem768]);
        let public = [&tracks[1].1[..], &tracks[0].1].concat();
        let public = PublicKey::from_bytes(Kem::XWing, &public).unwrap();
        let aead = kms_crypto::aead::Aead::default();
        let lane = kms_crypto::lane::Lane::Auto;
        let entropy = kms_core::OsEntropy;
        let outside =
            kms_crypto::wrap::seal(lane, &public, aead, &kid, None, b"theirs", &entropy).unwrap();
        assert_eq!(unwrap(&engine, None, &outside).is_ok(), opens);
        let ours = wrap(&engine, &kid, b"ours");
        assert_eq!(unwrap(&engine, None, &ours).unwrap(), b"ours");
    }
}

#[test]
fn the_cipher_is_the_keys() {
    let (engine, _) = engine();
    let kid = new_key(&engine, "x25519", Some(r#"{"aead":"aes-256-gcm"}"#));
    let envelope = wrap(&engine, &kid, b"key");
    let parsed = kms_crypto::wrap::Envelope::parse(&envelope).unwrap();
    assert_eq!(parsed.aead, kms_crypto::aead::Aead::Aes256Gcm);
    assert_eq!(unwrap(&engine, None, &envelope).unwrap(), b"key");
}

#[test]
fn a_derived_key_is_a_key_and_the_same_every_time() {
    let (engine, _) = engine();
    let context = Context::library();
    for alg in ["ed25519", "ml-dsa", "hybrid"] {
        let wish = CreateKey { alg: alg.into(), ..wish("message") };
        let parent = engine.create(&context, &wish).unwrap().kid.to_string();
        let derive = |name: &str| {
            let made = engine.derive(&context, &parent, name).unwrap();
            (made.kid, made.public)
        };
        let (kid, public) = derive("db/users");
        let (again, same) = derive("db/users");
        assert_eq!((kid.to_string(), public.tracks()), (again.to_string(), same.tracks()));
        let (other, different) = derive("db/orders");
        assert_ne!(kid.to_string(), other.to_string());
        assert_ne!(public.tracks(), different.tracks());
        assert_ne!(kid.key.uuid, kms_core::KidRef::parse(&parent).unwrap().uuid);
        let child = kid.to_string();
        let grandchild = engine.derive(&context, &child, "db/users").unwrap().kid;
        assert_ne!(grandchild.to_string(), child);
        // The next version of the parent gives other keys.
        engine.rotate(&context, &parent, &RotateKey::default()).unwrap();
        let key = parent.strip_suffix("#v1").unwrap();
        assert_ne!(engine.derive(&context, key, "db/users").unwrap().kid.to_string(), child);
        assert_eq!(engine.derive(&context, &parent, "db/users").unwrap().kid.to_string(), child);
    }
    let parent = create(&engine, "message").to_string();
    for bad in ["", "a\nb", &"x".repeat(257)] {
        let refused = refusal(engine.derive(&context, &parent, bad));
        assert_eq!(refused, ("BadRequest", Some("context".to_owned())));
    }
    let stranger = Context { tenant: Some("other".into()), ..Context::library() };
    assert_eq!(refusal(engine.derive(&stranger, &parent, "x")).0, "NotFound");
}
