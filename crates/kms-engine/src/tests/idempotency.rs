use std::sync::{Mutex, OnceLock, Weak};

use kms_core::{AuditEvent, AuditSink};
use uuid::Uuid;

use super::*;
use crate::{Payload, Request, Response, RotateKey, SignRequest, Target};

fn with_op_id(actor: &str, op_id: u128) -> Context {
    let op_id = Some(Uuid::from_u128(op_id));
    Context { actor: actor.into(), op_id, ..Context::default() }
}

fn created(response: kms_core::Result<Response>) -> String {
    match response.unwrap() {
        Response::Created(created) => created.kid.to_string(),
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
    let theirs = engine.create(&Context::library(), &other).unwrap().kid.to_string();
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

fn message(kid: &str) -> Request {
    Request::Sign(SignRequest {
        target: Target::Kid(kid.to_owned()),
        payload: Payload::Message(b"m".into()),
        context: vec![],
        produce_hybrid: None,
    })
}

fn changed(response: kms_core::Result<Response>) -> crate::StateChanged {
    match response.unwrap() {
        Response::StateChanged(changed) => changed,
        other => panic!("no change of state: {other:?}"),
    }
}

#[test]
fn a_transition_is_carried_out_once() {
    let (engine, clock) = engine();
    let kid = create(&engine, "message").key.to_string();
    let steps = [
        Request::Disable(kid.clone()),
        Request::Enable(kid.clone()),
        Request::Destroy(kid.clone(), None),
        Request::CancelDestroy(kid.clone()),
    ];
    for (n, step) in steps.iter().enumerate() {
        let caller = with_op_id("a", n as u128);
        let first = changed(engine.dispatch(&caller, step));
        clock.advance_ms(1);
        assert_eq!(changed(engine.dispatch(&caller, step)), first);
        let again = engine.dispatch(&with_op_id("a", 9), step);
        assert_eq!(refusal(again), ("Conflict", Some("kid".into())), "another op_id acts anew");
    }
}

#[test]
fn an_op_id_belongs_to_its_operation_and_its_body() {
    let (engine, _) = engine();
    let kid = create(&engine, "message").key.to_string();
    let caller = with_op_id("a", 1);
    changed(engine.dispatch(&caller, &Request::Disable(kid.clone())));
    changed(engine.dispatch(&caller, &Request::Enable(kid.clone())));
    changed(engine.dispatch(&caller, &Request::Destroy(kid.clone(), Some(90_000_000))));
    for other in [Request::Destroy(kid.clone(), None), Request::Destroy(format!("{kid}#v1"), None)]
    {
        let error = engine.dispatch(&caller, &other).unwrap_err();
        assert_eq!((error.code.name(), error.retryable), ("Conflict", false));
        assert_eq!(error.field.as_deref(), Some("op_id"));
    }
}

#[test]
fn a_replayed_state_is_still_the_state_or_has_come_to_its_end() {
    let (engine, clock) = engine();
    let kid = create(&engine, "message").key.to_string();
    let disable = Request::Disable(kid.clone());
    changed(engine.dispatch(&with_op_id("a", 1), &disable));
    engine.enable(&Context::library(), &kid).unwrap();
    let stale = ("Conflict", Some("kid".to_owned()));
    assert_eq!(refusal(engine.dispatch(&with_op_id("a", 1), &disable)), stale);
    engine.disable(&Context::library(), &kid).unwrap();
    assert!(engine.dispatch(&with_op_id("a", 1), &disable).is_ok());

    let destroy = Request::Destroy(kid.clone(), Some(24 * 3_600_000));
    let first = changed(engine.dispatch(&with_op_id("a", 2), &destroy));
    engine.cancel_destroy(&Context::library(), &kid).unwrap();
    assert_eq!(refusal(engine.dispatch(&with_op_id("a", 2), &destroy)), stale);
    clock.advance_ms(1);
    let second = changed(engine.dispatch(&with_op_id("a", 3), &destroy));
    assert_eq!(refusal(engine.dispatch(&with_op_id("a", 2), &destroy)), stale, "another time");
    clock.advance_ms(24 * 3_600_000 - 1);
    assert_eq!(changed(engine.dispatch(&with_op_id("a", 3), &destroy)), second);
    assert_ne!(first, second);
}

#[test]
fn a_replay_after_the_end_still_says_what_was_scheduled() {
    let config = EngineConfig { min_destroy_delay_ms: 0, ..EngineConfig::default() };
    let engine = Engine::new(config);
    let kid = create(&engine, "message").key.to_string();
    let destroy = Request::Destroy(kid.clone(), None);
    let first = changed(engine.dispatch(&with_op_id("a", 1), &destroy));
    engine.sweep();
    assert_eq!(changed(engine.dispatch(&with_op_id("a", 1), &destroy)), first);
}

#[test]
fn nothing_is_replayed_of_a_key_that_is_out_of_use() {
    let library = Context::library();
    let config = EngineConfig { min_destroy_delay_ms: 0, ..EngineConfig::default() };
    let engine = Engine::new(config);
    let make = Request::Create(wish("message"));
    let kid = created(engine.dispatch(&with_op_id("a", 1), &make));
    let key = kid.trim_end_matches("#v1").to_owned();
    let rotate = Request::Rotate(key.clone(), RotateKey::default());
    engine.dispatch(&with_op_id("a", 2), &message(&key)).unwrap();
    engine.dispatch(&with_op_id("a", 3), &rotate).unwrap();
    let recorded = [(1, &make), (2, &message(&key)), (3, &rotate)];
    let conflict = ("Conflict", Some("kid".to_owned()));
    let replays = || recorded.map(|(n, request)| engine.dispatch(&with_op_id("a", n), request));

    engine.disable(&library, &kid).unwrap();
    let [made, signed, rotated] = replays();
    assert_eq!(refusal(signed), conflict, "version 1 signed it, and is out of use");
    assert!(made.is_ok() && rotated.is_ok());
    engine.enable(&library, &kid).unwrap();
    engine.disable(&library, &key).unwrap();
    for replay in replays() {
        assert_eq!(refusal(replay), conflict);
    }
    engine.enable(&library, &key).unwrap();
    assert!(replays().iter().all(Result::is_ok));
    engine.schedule_destroy(&library, &key, None).unwrap();
    engine.sweep();
    for replay in replays() {
        assert_eq!(refusal(replay), conflict, "destroyed");
    }
}

/// Repeats the request that it is asked to record.
#[derive(Default)]
struct Repeating(OnceLock<(Weak<Engine>, Mutex<Vec<kms_core::KmsError>>)>);

impl AuditSink for Repeating {
    fn append(&self, event: &AuditEvent<'_>) -> kms_core::Result<Option<u64>> {
        let Some((engine, errors)) = self.0.get() else { return Ok(None) };
        let request = match event.op {
            "disable" => Request::Disable(event.kid.unwrap().to_string()),
            _ => Request::Create(wish("message")),
        };
        let again = engine.upgrade().unwrap().dispatch(event.context, &request);
        errors.lock().unwrap().push(again.unwrap_err());
        Ok(None)
    }
}

#[test]
fn an_op_id_in_flight_may_be_tried_again() {
    let sink = Arc::new(Repeating::default());
    let config = EngineConfig { audit: Some(sink.clone()), ..EngineConfig::default() };
    let engine = Arc::new(Engine::new(config));
    let kid = create(&engine, "message").key.to_string();
    assert!(sink.0.set((Arc::downgrade(&engine), Mutex::default())).is_ok());
    for request in [Request::Create(wish("message")), Request::Disable(kid)] {
        engine.dispatch(&with_op_id("a", 1), &request).unwrap();
    }
    let errors = sink.0.get().unwrap().1.lock().unwrap();
    assert_eq!(errors.len(), 2);
    for error in errors.iter() {
        assert_eq!((error.code.name(), error.retryable), ("Conflict", true));
        assert_eq!(error.field.as_deref(), Some("op_id"));
    }
}
