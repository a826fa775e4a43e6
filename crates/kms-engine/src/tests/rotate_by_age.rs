use kms_core::Context;

use super::*;
use crate::RotateKey;

const DAY_MS: u64 = 24 * 3_600_000;

fn aging(engine: &Engine, hints: &str) -> String {
    let wish = CreateKey { policy_hints: Some(hints.into()), ..wish("message") };
    let kid = engine.create(&Context::library(), &wish).unwrap().kid;
    kid.key.to_string()
}

fn head(engine: &Engine, key: &str) -> u32 {
    engine.describe(&Context::library(), key).unwrap().head.get()
}

#[test]
fn a_key_is_rotated_when_its_newest_version_is_old_enough() {
    let (engine, clock) = engine();
    assert_eq!(engine.next_rotation(), None);
    let key = aging(&engine, r#"{"rotate_days":30}"#);
    assert_eq!(engine.next_rotation(), Some(30 * DAY_MS));
    clock.advance_ms(30 * DAY_MS - 1);
    engine.rotate_due();
    assert_eq!(head(&engine, &key), 1);
    let old = sign(&engine, &key, b"m").unwrap();
    clock.advance_ms(1);
    assert_eq!(engine.next_rotation(), Some(0));
    engine.rotate_due();
    engine.rotate_due();
    assert_eq!(head(&engine, &key), 2, "once");
    assert!(verify(&engine, &format!("{key}#v1"), b"m", &old).unwrap());
    assert_eq!(engine.next_rotation(), Some(30 * DAY_MS));
}

#[test]
fn a_rotation_that_was_asked_for_counts() {
    let (engine, clock) = engine();
    let key = aging(&engine, r#"{"rotate_days":30,"owner":"service"}"#);
    clock.advance_ms(20 * DAY_MS);
    engine.rotate(&Context::library(), &key, &RotateKey::default()).unwrap();
    clock.advance_ms(29 * DAY_MS);
    engine.rotate_due();
    assert_eq!(head(&engine, &key), 2);
    clock.advance_ms(DAY_MS);
    engine.rotate_due();
    assert_eq!(head(&engine, &key), 3);
}

#[test]
fn a_key_that_somebody_else_owns_is_left_to_them() {
    let (engine, clock) = engine();
    let key = aging(&engine, r#"{"rotate_days":30,"owner":"ops"}"#);
    clock.advance_ms(90 * DAY_MS);
    engine.rotate_due();
    assert_eq!((engine.next_rotation(), head(&engine, &key)), (None, 1));
}

#[test]
fn a_key_out_of_use_is_not_put_in_use_by_its_age() {
    let (engine, clock) = engine();
    let (key, version) =
        (aging(&engine, r#"{"rotate_days":1}"#), aging(&engine, r#"{"rotate_days":1}"#) + "#v1");
    let library = Context::library();
    engine.disable(&library, &key).unwrap();
    engine.disable(&library, &version).unwrap();
    clock.advance_ms(2 * DAY_MS);
    engine.rotate_due();
    assert_eq!((head(&engine, &key), head(&engine, &version)), (1, 1));
    // It is looked at again, and rotated once it is in use.
    engine.enable(&library, &key).unwrap();
    clock.advance_ms(DAY_MS);
    engine.rotate_due();
    assert_eq!((head(&engine, &key), head(&engine, &version)), (2, 1));
}

#[test]
fn nothing_is_rotated_after_close() {
    let (engine, clock) = engine();
    aging(&engine, r#"{"rotate_days":1}"#);
    clock.advance_ms(2 * DAY_MS);
    engine.close();
    engine.rotate_due();
    assert_eq!(engine.next_rotation(), Some(0));
}
