//! Records as JSON, for people and for whatever a log is shipped to. The binary form stays the one that counts.

use kms_core::Track;
use serde_json::{Value, json};

use crate::checkpoint::device_name;
use crate::merkle::Hash;
use crate::record::{AuditKey, Body, DeviceKey, Record, Target};

/// A record and its leaf hash as one JSON object; hashes and keys in lower-case hex.
pub fn record(record: &Record<'_>, leaf: &Hash) -> Value {
    let mut object = body(&record.body);
    object["seq"] = record.seq.into();
    object["ts_utc_ms"] = record.utc_ms.into();
    object["ts_mono_ms"] = record.mono_ms.into();
    object["leaf"] = hex(leaf).into();
    object
}

fn body(body: &Body<'_>) -> Value {
    match body {
        Body::Operation(it) => {
            let (tenant, kid, alg, purpose) = match it.target {
                Target::Tenant(tenant) => (tenant, None, None, None),
                Target::Key(kid) => {
                    (kid.tenant, Some(kid.to_string()), Some(kid.alg.name()), Some(kid.purpose))
                }
            };
            json!({
                "kind": "operation",
                "op": it.op,
                "op_id": it.op_id.map(|id| id.to_string()),
                "request_id": it.request_id,
                "actor": it.actor,
                "tenant": tenant,
                "kid": kid,
                "alg": alg,
                "purpose": purpose,
                "input_hash": it.input_hash.as_ref().map(|hash| hex(hash)),
                "result": it.refusal.map_or("ok", |refusal| refusal.code.name()),
                "reason": it.refusal.map(|refusal| refusal.reason),
                "attestation": it.attestation.as_ref().map(|hash| hex(hash)),
            })
        }
        Body::Verifications(it) => json!({
            "kind": "verifications",
            "op": it.op,
            "request_id": it.request_id,
            "actor": it.actor,
            "tenant": it.tenant,
            "count": it.count,
            "failures": it.failures,
            "inputs_hash": hex(&it.inputs_hash),
        }),
        Body::Refusals(it) => {
            let counts: serde_json::Map<_, _> = it
                .counts
                .iter()
                .map(|(code, count)| (code.name().into(), (*count).into()))
                .collect();
            json!({ "kind": "refusals", "counts": counts })
        }
        Body::Continuity(it) => json!({
            "kind": "continuity",
            "actor": it.actor,
            "from": it.from.to_string(),
            "to_version": it.to,
            "from_public": it.from_public.iter().map(track).collect::<Vec<_>>(),
            "public": it.public.iter().map(track).collect::<Vec<_>>(),
            "signatures": it.signatures.iter().map(track).collect::<Vec<_>>(),
        }),
        Body::AuditKeys(it) => json!({
            "kind": "audit_keys",
            "origin": it.origin,
            "keys": it.keys.iter().map(key).collect::<Vec<_>>(),
            "signatures": it.signatures.iter().map(|signature| hex(signature)).collect::<Vec<_>>(),
        }),
        Body::Opened(it) => json!({
            "kind": "opened",
            "software": it.software,
            "boot": it.boot.as_ref().map(|boot| hex(boot)),
            "dropped_bytes": it.dropped_bytes,
        }),
        Body::Dropped(it) => json!({ "kind": "dropped", "first": it.first, "count": it.count }),
        Body::Override(it) => json!({
            "kind": "override",
            "actor": it.actor,
            "refused": it.refused,
            "anchor_size": it.anchor_size,
            "anchor_root": hex(&it.anchor_root),
        }),
        Body::Sealing(it) => json!({
            "kind": "sealing",
            "origin": it.origin,
            "device": it.device.as_ref().map(|device| sealed_by(it.origin, device)),
            "after_size": it.after_size,
            "after_root": hex(&it.after_root),
            "signatures": it.signatures.iter().map(|signature| hex(signature)).collect::<Vec<_>>(),
        }),
    }
}

fn sealed_by(origin: &str, device: &DeviceKey<'_>) -> Value {
    let facts: serde_json::Map<_, _> =
        device.facts.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    json!({
        "name": device_name(origin),
        "type": device.algorithm,
        "public": hex(device.public),
        "class": device.class,
        "facts": facts,
    })
}

fn track(track: &Track<'_>) -> Value {
    json!({ "alg": track.alg, "bytes": hex(track.bytes) })
}

fn key(key: &AuditKey<'_>) -> Value {
    json!({ "type": key.algorithm, "public": hex(key.public) })
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
