use std::num::NonZeroU32;

use kms_core::{ErrorCode, Track};
use kms_testkit::cases::{Random, run};
use proptest::prelude::*;

use super::*;

const KID: &str = "core/audit/ed25519/0b2e7c1e-1111-4222-8333-444455556666#v3";

fn encode(record: &Record<'_>) -> Result<Vec<u8>, Malformed> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes).map(|()| bytes)
}

fn record(body: Body<'_>) -> Record<'_> {
    Record { seq: 7, utc_ms: 1_764_000_000_000, mono_ms: 5, body }
}

fn operation() -> Operation<'static> {
    Operation {
        op: "sign",
        op_id: Some(Uuid::from_u128(1)),
        request_id: "r-1",
        actor: "cap:1",
        target: Target::Key(KidRef::parse(KID).unwrap()),
        input_hash: Some([3; 32]),
        refusal: None,
        attestation: None,
    }
}

/// One of each kind, and of the options in it.
fn samples() -> Vec<Body<'static>> {
    let refusal = Some(Refusal { code: ErrorCode::ExportForbidden, reason: "never" });
    let public = vec![Track { alg: "ed25519", bytes: &[1; 32] }];
    let key = AuditKey { algorithm: 1, public: &[7; 32] };
    vec![
        Body::Operation(operation()),
        Body::Operation(Operation { refusal, attestation: Some([9; 32]), ..operation() }),
        Body::Operation(Operation { target: Target::Tenant(""), op_id: None, ..operation() }),
        Body::Verifications(Verifications {
            op: "verify_batch",
            request_id: "",
            actor: "a",
            tenant: "core",
            count: 5,
            failures: 5,
            inputs_hash: [1; 32],
        }),
        Body::Refusals(Refusals {
            counts: vec![(ErrorCode::BadRequest, 1), (ErrorCode::NoCapability, u64::MAX)],
        }),
        Body::Continuity(Continuity {
            actor: "a",
            from: KidRef::parse(KID).unwrap(),
            to: NonZeroU32::new(4).unwrap(),
            from_public: vec![Track { alg: "ed25519", bytes: &[3; 32] }],
            public,
            signatures: vec![Track { alg: "ed25519", bytes: &[2; 64] }],
        }),
        Body::AuditKeys(AuditKeys { origin: "ron-kms/a", keys: vec![key], signatures: vec![] }),
        Body::AuditKeys(AuditKeys {
            origin: "ron-kms/a",
            keys: vec![key, key],
            signatures: vec![&[1; 64], &[2; 10]],
        }),
        Body::Opened(Opened { software: "0.1.0", boot: Some([1; 16]), dropped_bytes: 3 }),
        Body::Dropped(Dropped { first: 1, count: 2 }),
        Body::Override(Override {
            actor: "ops",
            refused: "log older than its anchor",
            anchor_size: 9,
            anchor_root: [4; 32],
        }),
        Body::Sealing(sealing()),
        Body::Sealing(Sealing { device: None, signatures: vec![&[1; 64], &[2; 64]], ..sealing() }),
    ]
}

fn sealing() -> Sealing<'static> {
    Sealing {
        origin: "ron-kms/a",
        device: Some(DeviceKey {
            algorithm: 1,
            public: &[7; 32],
            class: "pkcs11-yubihsm",
            facts: vec![("slot", "3"), ("cka_local", "true")],
        }),
        after_size: 9,
        after_root: [4; 32],
        signatures: vec![&[1; 64]],
    }
}

#[test]
fn decode_gives_back_what_was_encoded() {
    for body in samples() {
        let bytes = encode(&record(body.clone())).unwrap();
        assert_eq!(Record::decode(&bytes).unwrap(), record(body));
    }
}

#[test]
fn a_record_cut_anywhere_or_lengthened_is_refused() {
    for body in samples() {
        let mut bytes = encode(&record(body)).unwrap();
        for len in 0..bytes.len() {
            Record::decode(&bytes[..len]).unwrap_err();
        }
        bytes.push(0);
        assert_eq!(Record::decode(&bytes), Err(Malformed("length")));
    }
}

#[test]
fn no_two_strings_of_bytes_mean_the_same() {
    for body in samples() {
        let bytes = encode(&record(body)).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(record) = Record::decode(&flipped) {
                assert_eq!(encode(&record).unwrap(), flipped, "bit {bit}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_by_its_name() {
    let long = "x".repeat(256);
    let of = |op: Operation<'_>| encode(&record(Body::Operation(op))).map(|_| ());
    assert_eq!(of(Operation { op: &long, ..operation() }), Err(Malformed("op")));
    assert_eq!(of(Operation { actor: "a\nb", ..operation() }), Err(Malformed("actor")));
    assert_eq!(of(Operation { request_id: "\u{7f}", ..operation() }), Err(Malformed("request_id")));
    assert_eq!(of(Operation { request_id: &long[1..], ..operation() }), Ok(()));
    let bad = KidRef { tenant: "no tenant", ..KidRef::parse(KID).unwrap() };
    assert_eq!(of(Operation { target: Target::Key(bad), ..operation() }), Err(Malformed("kid")));
    let of = |body: Body<'static>| encode(&record(body)).map(|_| ());
    assert_eq!(of(Body::Dropped(Dropped { first: 1, count: 0 })), Err(Malformed("count")));
    assert_eq!(of(Body::Dropped(Dropped { first: u64::MAX, count: 1 })), Err(Malformed("count")));
    for counts in [
        vec![],
        vec![(ErrorCode::Timeout, 0)],
        vec![(ErrorCode::Timeout, 1), (ErrorCode::Timeout, 1)],
        vec![(ErrorCode::Timeout, 1), (ErrorCode::BadRequest, 1)],
    ] {
        assert_eq!(of(Body::Refusals(Refusals { counts })), Err(Malformed("counts")));
    }
    let none = Sealing { signatures: vec![], ..sealing() };
    assert_eq!(of(Body::Sealing(none)), Err(Malformed("signatures")));
    for facts in [vec![], vec![("a", "b"); 33], vec![("a", "\n")]] {
        let device = sealing().device.map(|it| DeviceKey { facts, ..it });
        assert_eq!(of(Body::Sealing(Sealing { device, ..sealing() })), Err(Malformed("facts")));
    }
}

#[test]
fn the_stamp_changes_the_header_only() {
    let mut bytes = encode(&record(samples().remove(0))).unwrap();
    Record::stamp(&mut bytes, 8, 2, 3);
    let expected = Record { seq: 8, utc_ms: 2, mono_ms: 3, body: samples().remove(0) };
    assert_eq!(Record::decode(&bytes).unwrap(), expected);
}

#[test]
fn statements_begin_with_the_prefix_that_no_api_signs() {
    let from = KidRef::parse(KID).unwrap();
    let to = NonZeroU32::new(4).unwrap();
    let old = [Track { alg: "ed25519", bytes: b"the public half of version three" }];
    let new = [Track { alg: "ed25519", bytes: b"and that of version four, in 32." }];
    let statement = Continuity::statement(from, to, &old, &new).unwrap();
    let new_kid = KID.replace("#v3", "#v4");
    let text = format!(
        "ron-kms/continuity/v1\0{KID}\0{new_kid}\0\
         \x01\x07ed25519\0 the public half of version three\
         \x01\x07ed25519\0 and that of version four, in 32."
    );
    assert_eq!(statement, text.as_bytes());
    let head = KidRef { version: None, ..from };
    assert_eq!(Continuity::statement(head, to, &old, &new), Err(Malformed("to")));
    let same = from.version.unwrap();
    assert_eq!(Continuity::statement(from, same, &old, &new), Err(Malformed("to")));
    let keys = [AuditKey { algorithm: 1, public: &[1; 32] }];
    let statement = AuditKeys::statement("ron-kms/a", &keys).unwrap();
    assert!(statement.starts_with(b"ron-kms/audit-key/v1\0"));
    let statement = sealing().statement().unwrap();
    assert!(statement.starts_with(b"ron-kms/audit-device/v1\0"));
    for other in [
        Sealing { device: None, ..sealing() },
        Sealing { after_size: 8, ..sealing() },
        Sealing { after_root: [5; 32], ..sealing() },
        Sealing { origin: "ron-kms/b", ..sealing() },
    ] {
        assert_ne!(other.statement().unwrap(), statement);
    }
    let signed = Sealing { signatures: vec![&[3; 64], &[4; 64]], ..sealing() };
    assert_eq!(signed.statement().unwrap(), statement);
}

#[test]
fn random_bytes_never_panic() {
    run("record random", |random: &mut Random| {
        let mut bytes = random.up_to(300);
        if bytes.len() > 2 {
            bytes[0] = VERSION;
            bytes[1] = 1 + (random.below(9) as u8);
        }
        if let Ok(record) = Record::decode(&bytes) {
            assert_eq!(encode(&record).unwrap(), bytes);
        }
    });
}

proptest! {
    #[test]
    fn operations_survive(
        op in "[a-z_]{0,40}", request_id in "[^\\x00-\\x1f\\x7f]{0,60}", actor in "[^\\x00-\\x1f\\x7f]{0,60}",
        op_id in any::<Option<u128>>(), hash in any::<Option<[u8; 32]>>(), code in 0_usize..13,
        seq in any::<u64>(), utc_ms in any::<u64>(), mono_ms in any::<u64>(),
    ) {
        let refusal = ErrorCode::ALL.get(code).map(|&code| Refusal { code, reason: &actor });
        let body = Body::Operation(Operation {
            op: &op, request_id: &request_id, actor: &actor, op_id: op_id.map(Uuid::from_u128),
            input_hash: hash, refusal, attestation: hash, ..operation()
        });
        let record = Record { seq, utc_ms, mono_ms, body };
        let bytes = encode(&record).unwrap();
        prop_assert_eq!(Record::decode(&bytes).unwrap(), record);
    }
}
