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

    a_panic_in_a_transition_closes_its_own_key_only();
    a_bit_that_flips_while_signing_leaves_no_signature();
}

fn a_panic_in_a_transition_closes_its_own_key_only() {
    let library = Context::library();
    for name in ["disable", "destroyed"] {
        let (engine, clock) = engine();
        let kid = create(&engine, "message").to_string();
        let other = create(&engine, "message").to_string();
        let signature = sign(&engine, &kid, b"m").unwrap();
        if name == "destroyed" {
            engine.schedule_destroy(&library, &kid, None).unwrap();
            clock.advance_ms(24 * 3_600_000);
        }
        crate::faults::arm("life_cycle.publish");
        match name {
            "disable" => assert_eq!(refusal(engine.disable(&library, &kid)).0, "Internal"),
            _ => assert_eq!(engine.sweep(), None),
        }
        assert_eq!(refusal(engine.enable(&library, &kid)).0, "Internal", "closed to changes");
        assert_eq!(refusal(sign(&engine, &kid, b"m")).0, "Internal", "and to signing");
        match name {
            "disable" => assert!(verify(&engine, &kid, b"m", &signature).unwrap()),
            _ => assert_eq!(refusal(verify(&engine, &kid, b"m", &signature)).0, "Conflict"),
        }
        assert!(engine.disable(&library, &other).is_ok());
        assert!(engine.enable(&library, &other).is_ok());
        assert!(sign(&engine, &other, b"m").is_ok());
    }
}

fn a_bit_that_flips_while_signing_leaves_no_signature() {
    let checking = Engine::new(EngineConfig { verify_after_sign: true, ..EngineConfig::default() });
    let kid = create(&checking, "message").to_string();
    crate::faults::arm("sign.flip");
    assert_eq!(refusal(sign(&checking, &kid, b"m")).0, "Internal");
    let good = sign(&checking, &kid, b"m").unwrap();

    let item = SignItem { kid: ItemKid::Named(&kid), message: b"m" };
    crate::faults::arm("sign.flip");
    let signed = checking.sign_items(&Context::library(), &[item; 3], false).unwrap();
    assert_eq!(signed[0].as_ref().unwrap_err().code.name(), "Internal");
    assert!(signed[1..].iter().all(|it| it.as_ref().unwrap().as_bytes() == good));

    let (trusting, _) = engine();
    let kid = create(&trusting, "message").to_string();
    crate::faults::arm("sign.flip");
    let faulty = sign(&trusting, &kid, b"m").unwrap();
    assert!(!verify(&trusting, &kid, b"m", &faulty).unwrap(), "the bit did flip");
}
