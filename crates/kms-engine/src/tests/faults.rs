//! Panics inside the engine. One test, because what is armed is global.

use super::*;
use crate::RotateKey;

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
}
