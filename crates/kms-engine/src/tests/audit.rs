use std::sync::Mutex;

use kms_core::{AuditEvent, AuditSink, ErrorCode, KmsError, Result};

use super::*;
use crate::RotateKey;

#[derive(Default)]
struct Recorder {
    events: Mutex<Vec<(String, String, bool)>>,
    full: std::sync::atomic::AtomicBool,
}

impl AuditSink for Recorder {
    fn append(&self, event: &AuditEvent<'_>) -> Result<Option<u64>> {
        if self.full.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(KmsError::new(ErrorCode::Backpressure, "the audit log is full"));
        }
        let kid = event.kid.unwrap().to_string();
        let refused = event.refusal.map_or("", |_| " refused");
        let entry = (format!("{}{refused}", event.op), kid, event.input_hash.is_some());
        self.events.lock().unwrap().push(entry);
        Ok(None)
    }
}

#[test]
fn every_key_version_and_signature_is_recorded_once() {
    let recorder = Arc::new(Recorder::default());
    let engine =
        Engine::new(EngineConfig { audit: Some(recorder.clone()), ..EngineConfig::default() });
    let v1 = create(&engine, "message").to_string();
    sign(&engine, &v1, b"m").unwrap();
    engine.rotate(&Context::library(), &v1, &RotateKey::default()).unwrap();
    sign(&engine, &v1, b"m").unwrap_err();
    let v2 = v1.replace("#v1", "#v2");
    let key = v1.replace("#v1", "");
    let expected = [
        ("create", &v1, false),
        ("sign", &v1, true),
        ("rotate", &v2, false),
        ("sign refused", &key, false),
    ]
    .map(|(op, kid, hashed)| (op.to_owned(), kid.clone(), hashed));
    assert_eq!(*recorder.events.lock().unwrap(), expected);
}

#[test]
fn a_refusal_is_recorded_with_a_key_that_the_caller_may_know_of_and_only_then() {
    let recorder = Arc::new(Recorder::default());
    let engine =
        Engine::new(EngineConfig { audit: Some(recorder.clone()), ..EngineConfig::default() });
    let v1 = create(&engine, "message").to_string();
    let of_refusals = || {
        let events = recorder.events.lock().unwrap();
        let refused = events.iter().filter(|(op, ..)| op.ends_with("refused"));
        refused.map(|(op, ..)| op.clone()).collect::<Vec<_>>()
    };
    let stranger = Context { tenant: Some("evil".into()), ..Context::library() };
    let export = crate::Request::Export(v1.clone());
    assert_eq!(refusal(engine.dispatch(&stranger, &export)).0, "ExportForbidden");
    assert_eq!(refusal(sign(&engine, "nonsense", b"m")).0, "BadRequest");
    assert!(of_refusals().is_empty());
    assert_eq!(refusal(engine.dispatch(&Context::library(), &export)).0, "ExportForbidden");
    // In the service's own name: malformed, and what an attacker would send.
    assert_eq!(refusal(sign(&engine, &v1, b"ron-kms/x")).0, "BadRequest");
    assert_eq!(of_refusals(), ["export refused", "sign refused"]);
}

#[test]
fn nothing_happens_that_cannot_be_recorded() {
    let recorder = Arc::new(Recorder::default());
    let engine =
        Engine::new(EngineConfig { audit: Some(recorder.clone()), ..EngineConfig::default() });
    let v1 = create(&engine, "message").to_string();
    recorder.full.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(refusal(sign(&engine, &v1, b"m")).0, "Backpressure");
    assert_eq!(refusal(engine.create(&Context::library(), &wish("message"))).0, "Backpressure");
    let rotate = || engine.rotate(&Context::library(), &v1, &RotateKey::default());
    assert_eq!(refusal(rotate()).0, "Backpressure");
    recorder.full.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(rotate().unwrap().kid.version.get(), 2, "no version was lost or left behind");
}
