//! Panics inside the engine. One test, because what is armed is global.

use super::*;
use crate::{EngineConfig, ItemKid, RotateKey, SignItem};

#[test]
fn a_panic_is_an_error_and_closes_its_own_key_only() {
    let (engine, _) = engine();
    let kid = create(&engine, "message").to_string();
    let other = create(&engine, "message").to_string();
    let signature = sign(&engine, &kid, b"m").unwrap();

    crate::faults::arm("sign.act");
    assert_eq!(refusal(sign(&engine, &kid, b"m")).0, "Internal");
    assert!(sign(&engine, &kid, b"m").is_ok(), "no lock was held");

    crate::faults::arm("rotate.publish");
    let rotate = |kid: &str| engine.rotate(&Context::library(), kid, &RotateKey::default());
    assert_eq!(refusal(rotate(&kid)).0, "Internal");
    assert_eq!(refusal(rotate(&kid)).0, "Internal", "closed to changes");
    assert_eq!(refusal(sign(&engine, &kid, b"m")).0, "Internal", "and to signing");
    assert!(verify(&engine, &kid, b"m", &signature).unwrap(), "not to verifying");
    let unpublished = kid.replace("#v1", "#v2");
    assert_eq!(refusal(verify(&engine, &unpublished, b"m", &signature)).0, "NotFound");
    assert!(sign(&engine, &other, b"m").is_ok());
    assert!(rotate(&other).is_ok());

    a_bit_that_flips_while_signing_leaves_no_signature();
}

fn a_bit_that_flips_while_signing_leaves_no_signature() {
    let checking = Engine::new(EngineConfig { verify_after_sign: true, ..EngineConfig::default() });
    let kid = create(&checking, "message").to_string();
    crate::faults::arm("sign.flip");
    assert_eq!(refusal(sign(&checking, &kid, b"m")).0, "Internal");
    let good = sign(&checking, &kid, b"m").unwrap();

    let item = SignItem { kid: ItemKid::Named(&kid), message: b"m" };
    let mut out = [[9; 64]; 3];
    crate::faults::arm("sign.flip");
    let errors = checking.sign_items(&Context::library(), &[item; 3], false, &mut out).unwrap();
    let failed: Vec<_> = errors.iter().map(|(i, error)| (*i, error.code.name())).collect();
    assert_eq!(failed, [(0, "Internal")]);
    assert_eq!(out, [[0; 64], good, good]);

    let (trusting, _) = engine();
    let kid = create(&trusting, "message").to_string();
    crate::faults::arm("sign.flip");
    let faulty = sign(&trusting, &kid, b"m").unwrap();
    assert!(!verify(&trusting, &kid, b"m", &faulty).unwrap(), "the bit did flip");
}
