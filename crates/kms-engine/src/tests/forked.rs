//! In a child that was forked from the process with the keys.

use kms_core::{Context, ErrorCode};
use kms_testkit::fork::in_child;

use super::*;

fn is_refused<T>(result: &kms_core::Result<T>) -> bool {
    matches!(result, Err(error) if error.code == ErrorCode::StoreUnavailable && !error.retryable)
}

#[test]
fn every_operation_is_refused_in_a_forked_child_and_goes_on_in_the_parent() {
    let (engine, _) = engine();
    let kid = create(&engine, "message").to_string();
    let signature = sign(&engine, &kid, b"before").expect("a signature");
    let refused = in_child(|| {
        [
            is_refused(&sign(&engine, &kid, b"m")),
            is_refused(&verify(&engine, &kid, b"before", &signature)),
            is_refused(&engine.create(&Context::library(), &wish("message"))),
            engine.sweep().is_none(),
        ]
        .into_iter()
        .filter(|refused| *refused)
        .count() as u8
    });
    assert_eq!(refused, 4);
    assert_eq!(sign(&engine, &kid, b"before"), Ok(signature));
}

#[test]
fn an_engine_that_is_opened_in_the_child_is_refused_too() {
    drop(engine_with_a_key());
    let refused = in_child(|| {
        let (engine, _) = engine();
        u8::from(is_refused(&engine.create(&Context::library(), &wish("message"))))
    });
    assert_eq!(refused, 1);
}

fn engine_with_a_key() -> Engine {
    let (engine, _) = engine();
    create(&engine, "message");
    engine
}
