use std::io::Write;
use std::sync::{Arc, Mutex};

use kms_core::{
    AuditEvent, AuditSink, Context, ContinuityEvent, KidRef, KmsError, Rotation, Track,
    VerificationEvent,
};

use crate::export::{Exporter, JsonLines};
use crate::test_support::{Place, operation};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lines(&self) -> Vec<serde_json::Value> {
        let bytes = self.0.lock().unwrap();
        bytes
            .split_inclusive(|b| *b == b'\n')
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}

#[test]
fn every_record_is_shipped_once_and_in_order() {
    let place = Place::new("export");
    let log = place.open().unwrap();
    let out = Shared::default();
    let exporter = Exporter::start(&place.dir(), Box::new(JsonLines::new(out.clone(), 1))).unwrap();
    let long = "x".repeat(200);
    for _ in 0..2000 {
        log.submit(operation(&long)).unwrap();
    }
    while exporter.next() < 2002 {
        std::thread::yield_now();
    }
    log.submit(operation("last")).unwrap();
    drop(exporter);
    let lines = out.lines();
    let seqs: Vec<_> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..2003).collect::<Vec<_>>());
    assert_eq!(lines[0]["kind"], "opened");
    assert_eq!(lines[2001]["request_id"], "last");
}

#[test]
fn events_become_records() {
    let place = Place::new("sink");
    let log = place.open().unwrap();
    let kid = "core/audit/ed25519/0b2e7c1e-1111-4222-8333-444455556666#v3";
    let kid = KidRef::parse(kid).unwrap();
    let context =
        Context { request_id: "r".into(), tenant: Some("core".into()), ..Context::library() };
    let sink: &dyn AuditSink = &log;
    let refusal = KmsError::conflict(format!("no\n{}", "é".repeat(200)));
    let event = AuditEvent {
        op: "sign",
        context: &context,
        kid: Some(kid),
        input_hash: Some(&[1; 32]),
        refusal: None,
        attestation: None,
    };
    assert_eq!(sink.append(&event).unwrap(), Some(2));
    let refused = AuditEvent { kid: None, refusal: Some(&refusal), ..event };
    assert_eq!(sink.append(&refused).unwrap(), Some(3));
    let track = [Track { alg: "ed25519", bytes: &[1; 64] }];
    let to = KidRef { version: kid.version.unwrap().checked_add(1), ..kid };
    let rotation = ContinuityEvent {
        context: &context,
        rotation: Rotation { from: kid, to, from_public: &track, public: &track },
        signatures: &track,
    };
    assert_eq!(sink.append_continuity(&rotation).unwrap(), Some(4));
    sink.verified(&VerificationEvent {
        op: "verify",
        context: &context,
        count: 3,
        failures: 1,
        inputs_hash: &[2; 32],
    });
    sink.refused(&KmsError::bad_request("x"));
    sink.refused(&KmsError::bad_request("y"));
    let long = Context { request_id: "x".repeat(256).into(), ..context.clone() };
    assert_eq!(
        sink.append(&AuditEvent { context: &long, ..event }).unwrap_err().field.unwrap(),
        "request_id"
    );
    drop(log);
    let out = Shared::default();
    drop(Exporter::start(&place.dir(), Box::new(JsonLines::new(out.clone(), 2))).unwrap());
    let lines = out.lines();
    assert_eq!(
        (lines[0]["result"].as_str(), lines[0]["kid"].as_str()),
        (Some("ok"), Some(&*kid.to_string()))
    );
    assert_eq!(
        (lines[1]["result"].as_str(), lines[1]["tenant"].as_str()),
        (Some("Conflict"), Some("core"))
    );
    assert!(lines[1]["reason"].as_str().unwrap().starts_with("no é"));
    assert_eq!(
        (lines[2]["kind"].as_str(), lines[2]["to_version"].as_u64()),
        (Some("continuity"), Some(4))
    );
    assert_eq!((lines[3]["count"].as_u64(), lines[3]["failures"].as_u64()), (Some(3), Some(1)));
    assert_eq!(lines[4]["counts"]["BadRequest"], 2, "one record of both");
}
