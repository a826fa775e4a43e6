//! Our own known answers, `test/vectors/kms/audit.json`: what strangers are given to accept.
//!
//! `KMS_WRITE_VECTORS=1 cargo test -p kms-audit own_vectors` writes them; every other run compares.

use std::convert::Infallible;
use std::num::NonZeroU32;

use kms_core::{ErrorCode, KidRef, Track};
use kms_testkit::vectors;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::checkpoint::{Checkpoint, device_name};
use crate::json::{self, hex};
use crate::merkle::{Frontier, Hash, Nodes, consistency_proof, inclusion_proof, leaf_hash};
use crate::note::NoteSigner;
use crate::proof::{consistency_text, inclusion_text};
use crate::record::{
    AuditKey, AuditKeys, Body, Continuity, DeviceKey, Dropped, Opened, Operation, Override, Record,
    Refusal, Refusals, Sealing, Target, Verifications,
};
use crate::test_keys::{Ed25519, MlDsa};

const ORIGIN: &str = "ron-kms/known-answers";
const KID: &str = "core/audit/ed25519/0b2e7c1e-1111-4222-8333-444455556666#v3";
const UNIX_S: u64 = 1_764_000_000;

/// Compares with the committed file, or writes it.
fn committed(name: &str, made: &Value) {
    let name = format!("kms/{name}");
    if std::env::var_os("KMS_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(made).unwrap();
        std::fs::write(vectors::path(&name), text + "\n").unwrap();
    }
    assert!(vectors::json(&name) == *made, "{name} differs: is the change of format meant?");
}

/// A whole tree, by its leaves.
struct Leaves<'a>(&'a [Hash]);

impl Nodes for Leaves<'_> {
    type Error = Infallible;

    fn node(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
        let (from, to) = ((index << level) as usize, ((index + 1) << level) as usize);
        Ok(root(&self.0[from..to]))
    }
}

fn root(leaves: &[Hash]) -> Hash {
    let mut tree = Frontier::default();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree.root()
}

/// One of each other kind, and of the options in it.
fn bodies() -> Vec<Body<'static>> {
    let kid = KidRef::parse(KID).unwrap();
    vec![
        Body::Opened(Opened { software: "0.1.0", boot: Some([1; 16]), dropped_bytes: 0 }),
        Body::Opened(Opened { software: "0.1.0", boot: None, dropped_bytes: 77 }),
        Body::Operation(Operation {
            op: "sign",
            op_id: Some(Uuid::from_u128(0x0190_b6a0_7c1e_7000_8000_4444_5555_6666)),
            request_id: "r-1",
            actor: "cap:1",
            target: Target::Key(kid),
            input_hash: Some([3; 32]),
            refusal: None,
            attestation: Some([4; 32]),
        }),
        Body::Operation(Operation {
            op: "create",
            op_id: None,
            request_id: "r-2 é",
            actor: "library",
            target: Target::Tenant("core"),
            input_hash: None,
            refusal: Some(Refusal { code: ErrorCode::Conflict, reason: "it is there" }),
            attestation: None,
        }),
        Body::Verifications(Verifications {
            op: "verify_batch",
            request_id: "r-3",
            actor: "cap:1",
            tenant: "core",
            count: 64,
            failures: 2,
            inputs_hash: [5; 32],
        }),
        Body::Refusals(Refusals {
            counts: vec![(ErrorCode::BadRequest, 2), (ErrorCode::NoCapability, 300)],
        }),
        Body::Continuity(Continuity {
            actor: "cap:1",
            from: kid,
            to: NonZeroU32::new(4).unwrap(),
            from_public: vec![Track { alg: "ed25519", bytes: &[6; 32] }],
            public: vec![Track { alg: "ed25519", bytes: &[7; 32] }],
            signatures: vec![Track { alg: "ed25519", bytes: &[8; 64] }],
        }),
        Body::Dropped(Dropped { first: 1, count: 2 }),
        Body::Override(Override {
            actor: "ops",
            refused: "log older than its anchor",
            anchor_size: 9,
            anchor_root: [9; 32],
        }),
    ]
}

#[test]
fn the_log() {
    let (classical, pq) = (Ed25519::new(ORIGIN, 1), MlDsa::new(ORIGIN, 2));
    let signers: [&dyn NoteSigner; 2] = [&classical, &pq];
    let keys: Vec<AuditKey<'_>> = signers
        .iter()
        .map(|it| AuditKey { algorithm: it.key().algorithm(), public: it.key().public() })
        .collect();
    let statement = AuditKeys::statement(ORIGIN, &keys[..1]).unwrap();
    let change: Vec<_> = signers.iter().map(|it| it.sign(&statement).unwrap()).collect();
    let first = AuditKeys { origin: ORIGIN, keys: keys.clone(), signatures: vec![] };
    let next = AuditKeys {
        origin: ORIGIN,
        keys: keys[..1].to_vec(),
        signatures: change.iter().map(|signature| &signature[..]).collect(),
    };
    let mut all = vec![Body::AuditKeys(first)];
    all.extend(bodies());
    all.push(Body::AuditKeys(next));
    let (mut records, mut leaves) = (Vec::new(), Vec::new());
    for (seq, body) in all.into_iter().enumerate() {
        let seq = seq as u64;
        let record = Record { seq, utc_ms: UNIX_S * 1000 + seq, mono_ms: seq, body };
        let mut bytes = Vec::new();
        record.encode(&mut bytes).unwrap();
        leaves.push(leaf_hash(&bytes));
        let read = json::record(&record, &leaf_hash(&bytes));
        records.push(json!({ "bytes": hex(&bytes), "json": read }));
    }
    let size = leaves.len() as u64;
    let note = |size: u64| {
        let root = root(&leaves[..size as usize]);
        Checkpoint { origin: ORIGIN.into(), size, root }.sign(&signers, UNIX_S).unwrap()
    };
    let last = note(size);
    let inclusion: Vec<_> = (0..size)
        .map(|index| {
            let Ok(Some(proof)) = inclusion_proof(&Leaves(&leaves), index, size) else {
                panic!("no proof of {index}");
            };
            inclusion_text(index, &proof, &last)
        })
        .collect();
    let consistency: Vec<_> = (1..=size)
        .map(|old| {
            let Ok(Some(proof)) = consistency_proof(&Leaves(&leaves), old, size) else {
                panic!("no proof of {old}");
            };
            consistency_text(old, &proof, &last)
        })
        .collect();
    let made = json!({
        "keys": signers.iter().map(|it| it.key().to_string()).collect::<Vec<_>>(),
        "records": records,
        "checkpoints": (1..=size).map(|size| note(size).to_string()).collect::<Vec<_>>(),
        "inclusion": inclusion,
        "consistency": consistency,
    });
    committed("audit.json", &made);
}

#[test]
fn a_device_that_seals_the_log() {
    let (audit, device) = (Ed25519::new(ORIGIN, 1), Ed25519::new(&device_name(ORIGIN), 3));
    let root = root(&[leaf_hash(b"")]);
    let named = DeviceKey {
        algorithm: device.key().algorithm(),
        public: device.key().public(),
        class: "pkcs11-softhsmv2",
        facts: vec![("slot", "7"), ("token_serial", "0123"), ("cka_local", "true")],
    };
    let of = |device: Option<DeviceKey<'_>>, signers: &[&dyn NoteSigner]| {
        let (after_size, after_root) = (1, root);
        let it = Sealing { origin: ORIGIN, device, after_size, after_root, signatures: vec![] };
        let statement = it.statement().unwrap();
        let signatures: Vec<_> = signers.iter().map(|it| it.sign(&statement).unwrap()).collect();
        let signatures = signatures.iter().map(|it| &it[..]).collect();
        let body = Body::Sealing(Sealing { signatures, ..it });
        let record = Record { seq: 1, utc_ms: UNIX_S * 1000, mono_ms: 1, body };
        let mut bytes = Vec::new();
        record.encode(&mut bytes).unwrap();
        let read = json::record(&record, &leaf_hash(&bytes));
        json!({ "statement": hex(&statement), "bytes": hex(&bytes), "json": read })
    };
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size: 1, root };
    let note = checkpoint.sign(&[&audit, &device], UNIX_S).unwrap();
    let made = json!({
        "keys": [audit.key().to_string(), device.key().to_string()],
        "begins": of(Some(named), &[&audit]),
        "ends": of(None, &[&audit, &device]),
        "checkpoint": note.to_string(),
    });
    committed("audit-device.json", &made);
}

#[test]
fn the_statement_of_a_continuity_proof() {
    let kid = KidRef::parse(KID).unwrap();
    let old = [Track { alg: "ed25519", bytes: &[6; 32] }, Track { alg: "ml-dsa", bytes: &[7; 40] }];
    let new = [Track { alg: "ed25519", bytes: &[8; 32] }, Track { alg: "ml-dsa", bytes: &[9; 40] }];
    let to = NonZeroU32::new(4).unwrap();
    let of = |tracks: &[Track<'_>]| {
        let track = |it: &Track<'_>| json!({ "alg": it.alg, "bytes": hex(it.bytes) });
        tracks.iter().map(track).collect::<Vec<_>>()
    };
    let statement = Continuity::statement(kid, to, &old, &new).unwrap();
    let made = json!({
        "from": KID,
        "to_version": 4,
        "from_public": of(&old),
        "public": of(&new),
        "statement": hex(&statement),
    });
    committed("continuity.json", &made);
}
