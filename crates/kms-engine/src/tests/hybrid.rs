//! Hybrid keys: both halves, their policy, and what must never pass.

use kms_core::Algorithm;
use kms_crypto::lane::Lane;

use super::*;
use crate::sign::{Payload, Target};
use crate::{
    Mode, Op, PqPolicy, PqRule, RotateKey, SignRequest, SignatureEntry, Signed, VerifyRequest, wire,
};

fn policy(produce_hybrid: bool, verify_mode: Mode) -> PqPolicy {
    let service = PqRule { produce_hybrid, verify_mode, ..PqRule::default() };
    PqPolicy { service, ..PqPolicy::default() }
}

fn new_key(engine: &Engine, alg: &str) -> String {
    let wish = CreateKey { alg: alg.into(), ..wish("message") };
    engine.create(&Context::library(), &wish).expect("a key").kid.to_string()
}

fn sign_all(engine: &Engine, kid: &str, context: &[u8]) -> Vec<Signed> {
    try_sign(engine, kid, context, None).expect("signatures")
}

fn try_sign(
    engine: &Engine,
    kid: &str,
    context: &[u8],
    produce_hybrid: Option<bool>,
) -> kms_core::Result<Vec<Signed>> {
    let wish = SignRequest {
        target: Target::Kid(kid.into()),
        payload: Payload::Message(b"m"[..].into()),
        context: context.into(),
        produce_hybrid,
    };
    engine.sign(&Context::library(), &wish)
}

fn entries(signed: &[&Signed]) -> Vec<SignatureEntry<'static>> {
    let entry = |it: &&Signed| SignatureEntry {
        alg: it.alg,
        signature: it.signature.as_bytes().into(),
        kid: None,
    };
    signed.iter().map(entry).collect()
}

fn check(
    engine: &Engine,
    kid: &str,
    sigs: Vec<SignatureEntry<'static>>,
    context: &[u8],
    mode: Option<Mode>,
) -> kms_core::Result<bool> {
    let (payload, sigs) = (Payload::Message(b"m"[..].into()), sigs.into());
    let wish =
        VerifyRequest { kid: Some(kid.into()), payload, context: context.into(), sigs, mode };
    engine.verify(&Context::library(), &wish).map(|verified| {
        assert_eq!(verified.ok, verified.satisfied_mode.is_some());
        verified.ok
    })
}

fn counted(engine: &Engine) -> (u64, u64) {
    let json = serde_json::to_value(engine.counters()).unwrap();
    let classical = json["classicalOnly"].as_array().unwrap().iter();
    let classical = classical.map(|it| it["value"].as_u64().unwrap()).sum();
    (classical, json["pqRefused"].as_u64().unwrap())
}

#[test]
fn both_halves_sign_and_both_must_hold() {
    let (engine, _) = engine();
    let kid = new_key(&engine, "hybrid");
    assert!(kid.contains("/ed25519/"), "the kid shows the classical name");
    let signed = sign_all(&engine, &kid, b"");
    let algs: Vec<_> = signed.iter().map(|it| it.alg.name()).collect();
    assert_eq!(algs, ["ed25519", "ml-dsa"]);
    let [classical, pq] = &signed[..] else { panic!("two halves") };
    let both = || entries(&[classical, pq]);
    assert!(check(&engine, &kid, both(), b"", None).unwrap());
    assert!(check(&engine, &kid, entries(&[pq, classical]), b"", None).unwrap(), "in any order");
    assert!(!check(&engine, &kid, entries(&[classical]), b"", None).unwrap());
    assert!(!check(&engine, &kid, entries(&[pq]), b"", None).unwrap());
    assert_eq!(counted(&engine), (0, 2), "policy alone refused the halves");

    // Spliced: the halves of two keys, of two versions, of two contexts.
    let other_kid = new_key(&engine, "hybrid");
    let other = sign_all(&engine, &other_kid, b"");
    assert!(!check(&engine, &kid, entries(&[classical, &other[1]]), b"", None).unwrap());
    assert!(!check(&engine, &kid, entries(&[&other[0], pq]), b"", None).unwrap());
    engine.rotate(&Context::library(), &kid, &RotateKey::default()).unwrap();
    let v2 = kid.replace("#v1", "#v2");
    let next = sign_all(&engine, &v2, b"");
    assert!(!check(&engine, &v2, entries(&[&next[0], pq]), b"", None).unwrap());
    assert!(!check(&engine, &kid, entries(&[classical, &next[1]]), b"", None).unwrap());
    assert!(check(&engine, &kid, both(), b"", None).unwrap(), "for ever");
    let bound = sign_all(&engine, &v2, b"invoice");
    let bound = || entries(&[&bound[0], &bound[1]]);
    assert!(check(&engine, &v2, bound(), b"invoice", None).unwrap());
    assert!(!check(&engine, &v2, bound(), b"receipt", None).unwrap(), "replayed");
    assert!(!check(&engine, &v2, bound(), b"", None).unwrap());

    // Swapped.
    let mut swapped = both();
    swapped[0].alg = Algorithm::MlDsa65;
    swapped[1].alg = Algorithm::Ed25519;
    assert!(!check(&engine, &kid, swapped, b"", None).unwrap());
    let twice = entries(&[classical, classical]);
    assert_eq!(refusal(check(&engine, &kid, twice, b"", None)).1.as_deref(), Some("sigs[1]"));
    let mut foreign = both();
    foreign[1].alg = Algorithm::MlDsa87;
    let refused = refusal(check(&engine, &kid, foreign, b"", None));
    assert_eq!(refused, ("BadRequest", Some("sigs[1].alg".to_owned())));
}

#[test]
fn the_ml_dsa_half_alone_does_not_verify_without_its_binding() {
    let (engine, _) = engine();
    let kid = new_key(&engine, "hybrid");
    let signed = sign_all(&engine, &kid, b"");
    let shown = engine.describe(&Context::library(), &kid).unwrap().public.tracks();
    assert_eq!(shown.len(), 2);
    let key =
        kms_crypto::ml_dsa::PublicKey::from_bytes(kms_crypto::ml_dsa::Set::MlDsa65, &shown[1].1)
            .unwrap();
    let empty = kms_crypto::context::Context::EMPTY;
    let plain =
        kms_crypto::ml_dsa::verify(Lane::Auto, &key, b"m", empty, signed[1].signature.as_bytes());
    assert!(!plain);
    let mut ed = [0; 32];
    ed.copy_from_slice(&shown[0].1);
    let bound = kms_crypto::hybrid::HybridContext::new(&kid, &ed, &key, empty);
    let context = bound.as_context();
    for &lane in Lane::ALL {
        let signature = signed[1].signature.as_bytes();
        assert!(kms_crypto::ml_dsa::verify(lane, &key, b"m", context, signature));
    }
}

/// What each phase accepts, and what it counts.
#[test]
fn a_tenant_moves_through_the_phases_and_back() {
    let (engine, clock) = engine();
    let classical_kid = new_key(&engine, "ed25519");
    let classical = sign_all(&engine, &classical_kid, b"");
    let kid = new_key(&engine, "hybrid");
    let full = sign_all(&engine, &kid, b"");
    let pq_kid = new_key(&engine, "ml-dsa");
    let pq_only = sign_all(&engine, &pq_kid, b"");
    let phases = [
        // produce, mode; signs with; classical half, pq half, both, classical key, pq key
        ((false, Mode::Or), &["ed25519"][..], [true, true, true, true, true], (2, 0)),
        ((true, Mode::Or), &["ed25519", "ml-dsa"], [true, true, true, true, true], (2, 0)),
        ((true, Mode::And), &["ed25519", "ml-dsa"], [false, false, true, true, true], (1, 2)),
        ((true, Mode::PqOnly), &["ed25519", "ml-dsa"], [false, true, true, false, true], (0, 2)),
        ((false, Mode::PqOnly), &["ml-dsa"], [false, true, true, false, true], (0, 2)),
        ((true, Mode::And), &["ed25519", "ml-dsa"], [false, false, true, true, true], (1, 2)),
    ];
    for ((produce, mode), signs, accepts, counts) in phases {
        engine.set_pq_policy(policy(produce, mode));
        let algs: Vec<_> = sign_all(&engine, &kid, b"").iter().map(|it| it.alg.name()).collect();
        assert_eq!(algs, signs, "{mode:?}");
        let before = counted(&engine);
        let verdicts = [
            check(&engine, &kid, entries(&[&full[0]]), b"", None),
            check(&engine, &kid, entries(&[&full[1]]), b"", None),
            check(&engine, &kid, entries(&[&full[0], &full[1]]), b"", None),
            check(&engine, &classical_kid, entries(&[&classical[0]]), b"", None),
            check(&engine, &pq_kid, entries(&[&pq_only[0]]), b"", None),
        ];
        assert_eq!(verdicts.map(|verdict| verdict.unwrap()), accepts, "{mode:?}");
        let after = counted(&engine);
        assert_eq!((after.0 - before.0, after.1 - before.1), counts, "{mode:?}");
    }

    // Post-quantum only: no classical key is made or signs, except within the grace.
    engine.set_pq_policy(policy(true, Mode::PqOnly));
    let wish = CreateKey { alg: "ed25519".into(), ..wish("message") };
    let refused = refusal(engine.create(&Context::library(), &wish));
    assert_eq!(refused, ("Unsupported", Some("alg".to_owned())));
    assert_eq!(refusal(sign(&engine, &classical_kid, b"m")).0, "Unsupported");
    let bytes = classical[0].signature.as_bytes();
    assert!(!verify(&engine, &classical_kid, b"m", bytes).unwrap());
    let mut graced = policy(true, Mode::PqOnly);
    graced.service.legacy_grace_until_ms = Some(1000);
    engine.set_pq_policy(graced);
    assert!(verify(&engine, &classical_kid, b"m", bytes).unwrap());
    assert!(sign(&engine, &classical_kid, b"m").is_ok());
    clock.advance_ms(1000);
    assert!(!verify(&engine, &classical_kid, b"m", bytes).unwrap(), "the grace is over");
}

#[test]
fn keys_and_requests_only_tighten() {
    let (engine, _) = engine();
    engine.set_pq_policy(policy(false, Mode::Or));
    let kid = new_key(&engine, "hybrid");
    let both = try_sign(&engine, &kid, b"", Some(true)).unwrap();
    assert_eq!(both.len(), 2, "a request may ask for more");
    let classical = || entries(&[&both[0]]);
    assert!(check(&engine, &kid, classical(), b"", None).unwrap());
    assert!(!check(&engine, &kid, classical(), b"", Some(Mode::And)).unwrap());
    engine.set_pq_policy(policy(true, Mode::And));
    assert!(!check(&engine, &kid, classical(), b"", Some(Mode::Or)).unwrap(), "not for less");
    assert_eq!(try_sign(&engine, &kid, b"", Some(false)).unwrap().len(), 2);

    engine.set_pq_policy(policy(true, Mode::Or));
    let strict = CreateKey {
        alg: "hybrid".into(),
        policy_hints: Some(r#"{"verify_mode":"pq_only"}"#.into()),
        ..wish("message")
    };
    let kid = engine.create(&Context::library(), &strict).unwrap().kid.to_string();
    let signed = sign_all(&engine, &kid, b"");
    assert!(!check(&engine, &kid, entries(&[&signed[0]]), b"", None).unwrap());
    assert!(check(&engine, &kid, entries(&[&signed[1]]), b"", None).unwrap());
}

#[test]
fn a_tenant_has_its_own_rule_and_a_rollout_is_by_key() {
    let (engine, _) = engine();
    let own = PqRule { verify_mode: Mode::Or, ..PqRule::default() };
    let tenants = [("core".into(), own)].into();
    engine.set_pq_policy(PqPolicy { tenants, ..policy(true, Mode::And) });
    let kid = new_key(&engine, "hybrid");
    let signed = sign_all(&engine, &kid, b"");
    assert!(check(&engine, &kid, entries(&[&signed[0]]), b"", None).unwrap());
    engine.set_pq_policy(policy(true, Mode::And));
    assert!(!check(&engine, &kid, entries(&[&signed[0]]), b"", None).unwrap());

    let service = PqRule { rollout_percent: 50, ..PqRule::default() };
    engine.set_pq_policy(PqPolicy { service, ..PqPolicy::default() });
    let halves: Vec<usize> =
        (0..60).map(|_| sign_all(&engine, &new_key(&engine, "hybrid"), b"").len()).collect();
    assert!(halves.contains(&1) && halves.contains(&2), "{halves:?}");
}

#[test]
fn a_rotation_upgrades_a_classical_key_and_never_downgrades() {
    let (engine, _) = engine();
    let kid = new_key(&engine, "ed25519");
    let old = sign_all(&engine, &kid, b"");
    let rotate = |kid: &str, alg: Option<&str>| {
        let wish = RotateKey { alg: alg.map(str::to_owned), ..RotateKey::default() };
        engine.rotate(&Context::library(), kid, &wish)
    };
    let v2 = rotate(&kid, Some("hybrid")).unwrap().kid.to_string();
    assert!(v2.contains("/ed25519/") && v2.ends_with("#v2"));
    let new = sign_all(&engine, &v2, b"");
    assert_eq!(new.len(), 2);
    assert!(check(&engine, &kid, entries(&[&old[0]]), b"", None).unwrap());
    assert!(check(&engine, &v2, entries(&[&new[0], &new[1]]), b"", None).unwrap());
    let fault = |alg| refusal(rotate(&v2, Some(alg))).1;
    assert_eq!(fault("ed25519").as_deref(), Some("alg"));
    assert_eq!(fault("ml-dsa").as_deref(), Some("alg"));
    let v3 = rotate(&v2, None).unwrap().kid.to_string();
    assert_eq!(sign_all(&engine, &v3, b"").len(), 2, "without a wish it stays what it is");
}

#[test]
fn a_key_with_two_tracks_has_no_single_signature() {
    let (engine, _) = engine();
    let kid = new_key(&engine, "hybrid");
    assert_eq!(refusal(sign(&engine, &kid, b"m")), ("Unsupported", Some("kid".to_owned())));
    let refused = refusal(verify(&engine, &kid, b"m", &[0; 64]));
    assert_eq!(refused, ("Unsupported", Some("kid".to_owned())));
    let kem = new_key(&engine, "x25519");
    assert_eq!(refusal(sign(&engine, &kem, b"m")).0, "Unsupported");
    assert_eq!(refusal(verify(&engine, &kem, b"m", &[0; 64])).0, "Unsupported");
}

#[test]
fn every_signing_algorithm_signs_what_it_verifies() {
    let (engine, _) = engine();
    for alg in Algorithm::ALL.into_iter().filter(|alg| !alg.wraps()) {
        // A slow one of each hash is enough.
        if alg.family() == "slh-dsa" && !alg.name().ends_with("128f") {
            continue;
        }
        let kid = new_key(&engine, alg.name());
        let has_context = alg != Algorithm::Ed25519;
        let context = if has_context { &b"c"[..] } else { b"" };
        let signed = sign_all(&engine, &kid, context);
        assert_eq!(signed.len(), 1);
        assert_eq!(signed[0].alg, alg);
        let good = || entries(&[&signed[0]]);
        assert!(check(&engine, &kid, good(), context, None).unwrap(), "{}", alg.name());
        if has_context {
            assert!(!check(&engine, &kid, good(), b"d", None).unwrap());
        } else {
            assert_eq!(refusal(try_sign(&engine, &kid, b"c", None)).0, "Unsupported");
            assert_eq!(refusal(check(&engine, &kid, good(), b"c", None)).0, "Unsupported");
        }
        let mut bad = good();
        bad[0].signature[10] ^= 1;
        assert!(!check(&engine, &kid, bad, context, None).unwrap());
        let mut short = good();
        short[0].signature.pop();
        assert!(!check(&engine, &kid, short, context, None).unwrap());
    }
}

/// On the event loop nothing slow is begun: the transport is told to come again on another thread.
#[test]
fn slow_requests_are_not_begun_where_they_may_not_wait() {
    let (engine, _) = engine();
    let create =
        br#"{"tenant":"core","purpose":"audit","alg":"slh-dsa-sha2-128f","signs":"message"}"#;
    let call = |op, body: &[u8], parallel| {
        wire::handle(&engine, op, None, body, Context::library(), parallel).unwrap()
    };
    assert!(call(Op::Create, create, false).is_none());
    let made = call(Op::Create, create, true).unwrap();
    let made: serde_json::Value = serde_json::from_slice(&made).unwrap();
    let kid = made["kid"].as_str().unwrap();
    let sign = format!(r#"{{"kid_or_set":{{"kid":"{kid}"}},"message_b64":"bQ=="}}"#);
    assert!(call(Op::Sign, sign.as_bytes(), false).is_none());
    assert!(call(Op::SignBatch, format!("[{sign}]").as_bytes(), false).is_none());
    assert!(call(Op::Sign, sign.as_bytes(), true).is_some());
    assert_eq!(refusal(super::sign(&engine, kid, b"m")).0, "Unsupported");
}
