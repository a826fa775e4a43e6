use uuid::Uuid;

use super::*;
use crate::{Payload, Request, Response, RotateKey, SignRequest, Target};

fn with_op_id(actor: &str, op_id: u128) -> Context {
    let op_id = Some(Uuid::from_u128(op_id));
    Context { actor: actor.into(), op_id, ..Context::default() }
}

fn created(response: kms_core::Result<Response>) -> String {
    match response.unwrap() {
        Response::Created(kid, _) => kid.to_string(),
        other => panic!("not created: {other:?}"),
    }
}

#[test]
fn the_same_op_id_and_body_make_one_key() {
    let (engine, clock) = engine();
    let request = Request::Create(wish("message"));
    let first = created(engine.dispatch(&with_op_id("a", 1), &request));
    assert_eq!(created(engine.dispatch(&with_op_id("a", 1), &request)), first);
    assert_ne!(created(engine.dispatch(&with_op_id("a", 2), &request)), first, "another op_id");
    assert_ne!(created(engine.dispatch(&with_op_id("b", 1), &request)), first, "another actor");
    clock.advance_ms(24 * 3_600_000);
    assert_ne!(created(engine.dispatch(&with_op_id("a", 1), &request)), first, "a day later");
}

#[test]
fn the_same_op_id_with_another_body_is_a_conflict() {
    let (engine, _) = engine();
    created(engine.dispatch(&with_op_id("a", 1), &Request::Create(wish("message"))));
    let other = engine.dispatch(&with_op_id("a", 1), &Request::Create(wish("digest")));
    let error = other.unwrap_err();
    assert_eq!((error.code.name(), error.retryable), ("Conflict", false));
}

#[test]
fn a_rotation_is_carried_out_once() {
    let (engine, _) = engine();
    let kid = create(&engine, "message").to_string();
    let request = Request::Rotate(kid.clone(), RotateKey::default());
    for _ in 0..3 {
        let response = engine.dispatch(&with_op_id("a", 1), &request).unwrap();
        let Response::Rotated(rotated) = response else { panic!("not rotated") };
        assert_eq!(rotated.kid.version.get(), 2);
    }
}

#[test]
fn a_failure_is_not_recorded() {
    let (engine, _) = engine();
    let kid = create(&engine, "message").to_string();
    let request = Request::Rotate(kid.replace("#v1", "#v2"), RotateKey::default());
    assert_eq!(refusal(engine.dispatch(&with_op_id("a", 1), &request)).0, "Conflict");
    engine.rotate(&Context::library(), &kid, &RotateKey::default()).unwrap();
    assert!(engine.dispatch(&with_op_id("a", 1), &request).is_ok());
}

#[test]
fn a_replay_checks_rights_again() {
    let (engine, _) = engine();
    let request = Request::Create(wish("message"));
    created(engine.dispatch(&with_op_id("a", 1), &request));
    let narrowed = Context { tenant: Some("other".into()), ..with_op_id("a", 1) };
    assert_eq!(refusal(engine.dispatch(&narrowed, &request)).0, "NotFound");
}

#[test]
fn a_replay_checks_the_rights_to_every_key_of_a_set() {
    let (engine, _) = engine();
    let ours = create(&engine, "message").to_string();
    let other = CreateKey { tenant: "other".into(), ..wish("message") };
    let theirs = engine.create(&Context::library(), &other).unwrap().0.to_string();
    let request = Request::Sign(SignRequest {
        target: Target::Set(vec![ours, theirs]),
        payload: Payload::Message(b"m".into()),
        context: vec![],
        produce_hybrid: None,
    });
    assert!(engine.dispatch(&with_op_id("a", 1), &request).is_ok());
    assert!(engine.dispatch(&with_op_id("a", 1), &request).is_ok());
    let narrowed = Context { tenant: Some("core".into()), ..with_op_id("a", 1) };
    assert_eq!(refusal(engine.dispatch(&narrowed, &request)).0, "NotFound");
}

#[test]
fn a_closed_engine_gives_no_recorded_answer() {
    let (engine, _) = engine();
    let request = Request::Create(wish("message"));
    created(engine.dispatch(&with_op_id("a", 1), &request));
    engine.close();
    assert_eq!(refusal(engine.dispatch(&with_op_id("a", 1), &request)).0, "StoreUnavailable");
}

#[test]
fn a_replay_keeps_the_deadline() {
    let (engine, clock) = engine();
    let request = Request::Create(wish("message"));
    created(engine.dispatch(&with_op_id("a", 1), &request));
    let late = Context { deadline_ms: Some(engine.now_ms()), ..with_op_id("a", 1) };
    clock.advance_ms(1);
    assert_eq!(refusal(engine.dispatch(&late, &request)).0, "Timeout");
}

#[test]
fn of_many_at_once_one_acts() {
    let engine = Engine::new(EngineConfig::default());
    let kid = create(&engine, "message").to_string();
    let request = Request::Rotate(kid.clone(), RotateKey::default());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| match engine.dispatch(&with_op_id("a", 1), &request) {
                Ok(_) => {}
                Err(error) => assert!(error.retryable, "in flight: {error}"),
            });
        }
    });
    assert_eq!(engine.describe(&Context::library(), &kid).unwrap().newest.get(), 2);
}
