//! The JSON, strictly.

use serde_json::{Value, json};

use super::*;
use crate::{Op, wire};

const HELLO: &str = "d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24";

fn call(engine: &Engine, op: Op, target: Option<&str>, body: &str) -> kms_core::Result<Value> {
    wire::handle(engine, op, target, body.as_bytes(), Context::library(), true)
        .map(|bytes| serde_json::from_slice(&bytes.expect("done")).expect("the answer is JSON"))
}

fn fault(engine: &Engine, op: Op, body: &str) -> String {
    let (code, field) = refusal(call(engine, op, None, body));
    format!("{code} {}", field.unwrap_or_default())
}

fn created(engine: &Engine, extra: &str) -> String {
    let body = format!(r#"{{"tenant":"core","purpose":"audit","alg":"ed25519"{extra}}}"#);
    call(engine, Op::Create, None, &body).unwrap()["kid"].as_str().unwrap().to_owned()
}

#[test]
fn create_sign_verify_rotate_describe() {
    let (engine, _) = engine();
    let kid = created(&engine, r#","policy_hints":{"rotate_days":30,"b":"x","a":true}"#);
    let sign = format!(r#"{{"kid_or_set":{{"kid":"{kid}"}},"payload_b3":"{HELLO}"}}"#);
    let signed = call(&engine, Op::Sign, None, &sign).unwrap();
    assert_eq!(signed["kid"], kid);
    let verify = json!({"kid": kid, "payload_b3": HELLO, "sigs": signed["sigs"]}).to_string();
    let verdict = call(&engine, Op::Verify, None, &verify).unwrap();
    let expected =
        json!({"ok": true, "details": {"checked": ["ed25519"], "satisfied_mode": "and"}});
    assert_eq!(verdict, expected);

    let rotated = call(&engine, Op::Rotate, Some(&kid), "").unwrap();
    assert_eq!(rotated, json!({"kid": kid.replace("#v1", "#v2"), "previous": kid}));
    let pending = call(
        &engine,
        Op::Rotate,
        Some(&kid.replace("#v1", "#v2")),
        r#"{"activate_after_ms":1500}"#,
    );
    assert_eq!(pending.unwrap()["active_at"], "1970-01-01T00:00:01.5Z");
    let shown = call(&engine, Op::Describe, Some(&kid), "").unwrap();
    assert_eq!(shown["versions"], json!(["#v1", "#v2", "#v3"]));
    assert_eq!(shown["head"], "#v2");
    assert_eq!(shown["pending"]["kid"], kid.replace("#v1", "#v3"));
    assert_eq!(shown["policy_hints"], json!({"a": true, "b": "x", "rotate_days": 30}));
    assert_eq!(call(&engine, Op::Verify, None, &verify).unwrap()["ok"], true, "for ever");
}

#[test]
fn a_flipped_bit_in_signature_payload_or_kid_is_refused() {
    let (engine, _) = engine();
    let (kid, other) = (created(&engine, ""), created(&engine, ""));
    let sign = format!(r#"{{"kid_or_set":{{"kid":"{kid}"}},"payload_b3":"{HELLO}"}}"#);
    let signature =
        call(&engine, Op::Sign, None, &sign).unwrap()["sigs"][0]["signature_b64"].clone();
    let verify = |kid: &str, payload: &str, signature: &Value| {
        let sigs = json!([{"alg": "ed25519", "signature_b64": signature}]);
        let body = json!({"kid": kid, "payload_b3": payload, "sigs": sigs}).to_string();
        call(&engine, Op::Verify, None, &body).unwrap()["ok"] == true
    };
    assert!(verify(&kid, HELLO, &signature));
    assert!(!verify(&other, HELLO, &signature));
    assert!(!verify(&kid, &HELLO.replacen('d', "c", 1), &signature));
    let flipped = signature.as_str().unwrap();
    let first = if flipped.starts_with('A') { "B" } else { "A" };
    assert!(!verify(&kid, HELLO, &json!(format!("{first}{}", &flipped[1..]))));
    assert!(!verify(&kid, HELLO, &json!("AAAA")), "a wrong length is a verdict");
}

#[test]
fn message_keys_and_digest_keys_take_what_fits() {
    let (engine, _) = engine();
    let message = created(&engine, r#","signs":"message""#);
    let digest = created(&engine, "");
    let sign = |kid: &str, field: &str, value: &str| {
        let body = format!(r#"{{"kid_or_set":{{"kid":"{kid}"}},"{field}":"{value}"}}"#);
        call(&engine, Op::Sign, None, &body)
    };
    assert!(sign(&message, "message_b64", "aGVsbG8=").is_ok());
    assert!(sign(&digest, "payload_b3", HELLO).is_ok());
    let unsupported = |field: &str| ("Unsupported", Some(field.to_owned()));
    assert_eq!(refusal(sign(&message, "payload_b3", HELLO)), unsupported("payload_b3"));
    assert_eq!(refusal(sign(&digest, "message_b64", "aGVsbG8=")), unsupported("message_b64"));
    // "ron-kms/" in base64
    assert_eq!(refusal(sign(&message, "message_b64", "cm9uLWttcy8=")).0, "BadRequest");
    let largest = "AAAA".repeat(65_536 / 3) + "AA==";
    assert!(sign(&message, "message_b64", &largest).is_ok());
    let over = "AAAA".repeat(65_536 / 3) + "AAA=";
    assert_eq!(refusal(sign(&message, "message_b64", &over)).0, "TooLarge");
}

#[test]
fn a_set_signs_under_all_or_none() {
    let (engine, _) = engine();
    let (a, b) = (created(&engine, ""), created(&engine, ""));
    let sign = |kids: Value| {
        let body = json!({"kid_or_set": {"kid_set": kids}, "payload_b3": HELLO}).to_string();
        call(&engine, Op::Sign, None, &body)
    };
    let signed = sign(json!([a, b])).unwrap();
    assert_eq!(signed.get("kid"), None);
    assert_eq!(signed["sigs"][1]["kid"], b);
    let verify = json!({"payload_b3": HELLO, "sigs": signed["sigs"]}).to_string();
    assert_eq!(call(&engine, Op::Verify, None, &verify).unwrap()["ok"], true);

    let field = |index: usize| Some(format!("kid_or_set.kid_set[{index}]"));
    assert_eq!(refusal(sign(json!([a, a]))), ("BadRequest", field(1)));
    assert_eq!(refusal(sign(json!([a, a.replace("#v1", "#v2")]))), ("NotFound", field(1)));
    assert_eq!(refusal(sign(json!([]))).0, "BadRequest");
    assert_eq!(refusal(sign(json!(vec![a; 513]))).0, "TooLarge");
}

#[test]
fn a_classical_key_never_satisfies_pq_only() {
    let (engine, _) = engine();
    let kid = created(&engine, "");
    let sign = json!({"kid_or_set": {"kid": kid}, "payload_b3": HELLO});
    let signed = call(&engine, Op::Sign, None, &sign.to_string()).unwrap();
    for (mode, ok) in [("or", true), ("and", true), ("pq_only", false)] {
        let body = json!({"kid": kid, "payload_b3": HELLO, "sigs": signed["sigs"], "policy": {"mode": mode}});
        let verdict = call(&engine, Op::Verify, None, &body.to_string()).unwrap();
        assert_eq!(verdict["ok"], ok, "{mode}");
    }
    let hybrid = json!({"kid_or_set": {"kid": kid}, "payload_b3": HELLO, "policy": {"produce_hybrid": true}});
    assert_eq!(fault(&engine, Op::Sign, &hybrid.to_string()), "Unsupported policy.produce_hybrid");
}

#[test]
fn a_batch_answers_each_item_in_order_and_echoes_references() {
    let (engine, _) = engine();
    let kid = created(&engine, "");
    let good = json!({"kid_or_set": {"kid": kid}, "payload_b3": HELLO, "reference": "one"});
    let bad = json!({"kid_or_set": {"kid": kid}, "payload_b3": "XYZ", "reference": "two"});
    let unknown =
        json!({"kid_or_set": {"kid": kid}, "payload_b3": HELLO, "extra": 1, "reference": "three"});
    let body = json!([good, bad, unknown, 7, good]).to_string();
    let answers = call(&engine, Op::SignBatch, None, &body).unwrap();
    assert_eq!(answers[0]["reference"], "one");
    assert_eq!(answers[0]["kid"], kid);
    assert_eq!(answers[1]["error"]["field"], "payload_b3");
    assert_eq!(answers[1]["reference"], "two");
    assert_eq!(answers[2]["error"]["field"], "extra");
    assert_eq!(answers[2]["reference"], "three");
    assert_eq!(answers[3]["error"]["code"], "BadRequest");
    assert_eq!(answers[4]["sigs"], answers[0]["sigs"]);

    let check = json!({"kid": kid, "payload_b3": HELLO, "sigs": answers[0]["sigs"]});
    let wrong =
        json!({"kid": kid.replace("#v1", "#v5"), "payload_b3": HELLO, "sigs": answers[0]["sigs"]});
    let verdicts =
        call(&engine, Op::VerifyBatch, None, &json!([check, wrong, check]).to_string()).unwrap();
    assert_eq!(verdicts[0]["ok"], true);
    assert_eq!(verdicts[1]["error"]["code"], "NotFound");
    assert_eq!(verdicts[2]["ok"], true);
    assert_eq!(call(&engine, Op::VerifyBatch, None, "[]").unwrap(), json!([]));
    let over = format!("[{}7]", "7,".repeat(512));
    assert_eq!(fault(&engine, Op::SignBatch, &over), "TooLarge (body)");
}

#[test]
fn faults_of_form_name_their_field() {
    let (engine, _) = engine();
    let kid = created(&engine, "");
    let create = r#""tenant":"a","purpose":"b","alg":"ed25519""#;
    let cases = [
        (Op::Create, "{".to_owned(), "BadRequest (body)"),
        (Op::Create, String::new(), "BadRequest (body)"),
        (Op::Create, "[]".to_owned(), "BadRequest (body)"),
        (Op::Create, r#"["a","b","ed25519"]"#.to_owned(), "BadRequest (body)"),
        (Op::Create, format!("{{{create}}} x"), "BadRequest (body)"),
        (Op::Create, format!("\u{feff}{{{create}}}"), "BadRequest (body)"),
        (Op::Create, format!("{{{create},\"colour\":1}}"), "BadRequest colour"),
        (Op::Create, format!("{{{create},\"tenant\":\"a\"}}"), "BadRequest tenant"),
        (Op::Create, format!("{{{create},\"op_id\":null}}"), "BadRequest op_id"),
        (Op::Create, format!("{{{create},\"op_id\":\"x\"}}"), "BadRequest op_id"),
        (Op::Create, format!("{{{create},\"signs\":\"\\ud800\"}}"), "BadRequest (body)"),
        (Op::Create, r#"{"tenant":"a","purpose":"b"}"#.to_owned(), "BadRequest alg"),
        (
            Op::Create,
            r#"{"tenant":7,"purpose":"b","alg":"ed25519"}"#.to_owned(),
            "BadRequest tenant",
        ),
        (
            Op::Create,
            format!("{{{create},\"policy_hints\":{{\"a\":1,\"a\":2}}}}"),
            "BadRequest policy_hints",
        ),
        (
            Op::Create,
            format!("{{{create},\"policy_hints\":{{\"a\":9007199254740993}}}}"),
            "BadRequest policy_hints",
        ),
        (Op::Create, format!("{{{create},\"__proto__\":{{}}}}"), "BadRequest __proto__"),
        (Op::Create, format!("{{{create},\"to<script>ken\":1}}"), "BadRequest (body)"),
        (Op::Create, "[".repeat(100_000), "BadRequest (body)"),
        (
            Op::Sign,
            format!(r#"{{"kid_or_set":{{}},"payload_b3":"{HELLO}"}}"#),
            "BadRequest kid_or_set",
        ),
        (
            Op::Sign,
            format!(r#"{{"kid_or_set":{{"kid":"{kid}","x":1}},"payload_b3":"{HELLO}"}}"#),
            "BadRequest kid_or_set.x",
        ),
        (
            Op::Sign,
            format!(r#"{{"kid_or_set":{{"kid":7}},"payload_b3":"{HELLO}"}}"#),
            "BadRequest kid_or_set.kid",
        ),
        (
            Op::Sign,
            format!(r#"{{"kid_or_set":{{"kid":"x"}},"payload_b3":"{HELLO}"}}"#),
            "BadRequest kid_or_set.kid",
        ),
        (Op::Sign, format!(r#"{{"kid_or_set":{{"kid":"{kid}"}}}}"#), "BadRequest payload_b3"),
        (
            Op::Sign,
            format!(
                r#"{{"kid_or_set":{{"kid":"{kid}"}},"payload_b3":"{HELLO}","message_b64":""}}"#
            ),
            "BadRequest message_b64",
        ),
        (
            Op::Sign,
            format!(
                r#"{{"kid_or_set":{{"kid":"{kid}"}},"payload_b3":"{}"}}"#,
                HELLO.to_uppercase()
            ),
            "BadRequest payload_b3",
        ),
        (
            Op::Sign,
            format!(r#"{{"kid_or_set":{{"kid":"{kid}"}},"payload_b3":"{}"}}"#, &HELLO[2..]),
            "BadRequest payload_b3",
        ),
        (
            Op::Sign,
            format!(r#"{{"kid_or_set":{{"kid":"{kid}"}},"payload_b3":"{HELLO}","reference":"r"}}"#),
            "BadRequest reference",
        ),
        (
            Op::Verify,
            format!(r#"{{"kid":"{kid}","payload_b3":"{HELLO}","sigs":[["ed25519","AAAA"]]}}"#),
            "BadRequest sigs[0]",
        ),
        (
            Op::Verify,
            format!(r#"{{"kid":"{kid}","payload_b3":"{HELLO}","sigs":[]}}"#),
            "BadRequest sigs",
        ),
        (
            Op::Verify,
            format!(
                r#"{{"payload_b3":"{HELLO}","sigs":[{{"alg":"ed25519","signature_b64":"AAAA"}}]}}"#
            ),
            "BadRequest kid",
        ),
        (
            Op::Verify,
            format!(
                r#"{{"kid":"{kid}","payload_b3":"{HELLO}","sigs":[{{"alg":"ed25519","signature_b64":"AAA"}}]}}"#
            ),
            "BadRequest sigs[0].signature_b64",
        ),
        (
            Op::Verify,
            format!(
                r#"{{"kid":"{kid}","payload_b3":"{HELLO}","sigs":[{{"alg":"ed25519","signature_b64":"AAB="}}]}}"#
            ),
            "BadRequest sigs[0].signature_b64",
        ),
        (
            Op::Verify,
            format!(
                r#"{{"kid":"{kid}","payload_b3":"{HELLO}","sigs":[{{"alg":"rsa","signature_b64":"AAAA"}}]}}"#
            ),
            "Unsupported sigs[0].alg",
        ),
        (
            Op::Verify,
            format!(
                r#"{{"kid":"{kid}","payload_b3":"{HELLO}","sigs":[{{"alg":"ed25519","signature_b64":"AAAA"}},{{"alg":"ed25519","signature_b64":"AAAA"}}]}}"#
            ),
            "BadRequest sigs[1]",
        ),
        (
            Op::Verify,
            format!(
                r#"{{"kid":"{kid}","payload_b3":"{HELLO}","sigs":[{{"alg":"ed25519","signature_b64":"AAAA"}}],"policy":{{"mode":"any"}}}}"#
            ),
            "BadRequest policy.mode",
        ),
    ];
    for (op, body, expected) in cases {
        let shown = &body[..body.len().min(120)];
        assert_eq!(fault(&engine, op, &body), expected, "{} {shown}", op.name());
    }
}

#[test]
fn an_error_never_repeats_a_value() {
    let (engine, _) = engine();
    for body in [
        r#"{"tenant":"SECRETSECRET/","purpose":"b","alg":"ed25519"}"#,
        r#"{"tenant":"a","purpose":"b","alg":"SECRETSECRET"}"#,
        r#"{"tenant":"a","purpose":["SECRETSECRET"],"alg":"ed25519"}"#,
        r#"{"tenant":"a","purpose":"b","alg":"ed25519","op_id":"SECRETSECRET"}"#,
    ] {
        let error = call(&engine, Op::Create, None, body).unwrap_err();
        assert!(!wire::error_json(&error).contains("SECRET"), "{body}");
    }
}

#[test]
fn changes_of_state_and_what_is_shown_of_them() {
    let (engine, _) = engine();
    let kid = created(&engine, "");
    let key = kid.trim_end_matches("#v1");
    call(&engine, Op::Rotate, Some(key), "").unwrap();
    let disabled = call(&engine, Op::Disable, Some(&kid), "").unwrap();
    assert_eq!(disabled, json!({"kid": kid, "state": "disabled"}));
    let shown = |kid: &str| {
        let shown = call(&engine, Op::Describe, Some(kid), "").unwrap();
        json!([shown["state"], shown["destroy_at"], shown["version_states"]])
    };
    let version = |n: u32, state: &str| json!({"version": format!("#v{n}"), "state": state});
    let versions = json!([version(1, "disabled"), version(2, "enabled")]);
    assert_eq!(shown(key), json!(["enabled", null, versions]));
    assert_eq!(call(&engine, Op::Enable, Some(&kid), "{}").unwrap()["state"], "enabled");

    let destroy = call(&engine, Op::Destroy, Some(key), r#"{"delay_ms":90000000}"#).unwrap();
    let at = "1970-01-02T01:00:00Z";
    let scheduled = json!({"kid": key, "state": "destroy_scheduled", "destroy_at": at});
    assert_eq!(destroy, scheduled);
    let version = |n: u32| json!({"version": format!("#v{n}"), "state": "destroy_scheduled", "destroy_at": at});
    assert_eq!(shown(&kid), json!(["destroy_scheduled", at, [version(1), version(2)]]));
    let cancelled = call(&engine, Op::CancelDestroy, Some(key), "").unwrap();
    assert_eq!(cancelled, json!({"kid": key, "state": "disabled"}));
}

#[test]
fn changes_of_state_are_read_strictly() {
    let (engine, _) = engine();
    let kid = created(&engine, "");
    let op_id = r#""op_id":"0b2e7c1e-0000-4000-8000-000000000001""#;
    for op in [Op::Disable, Op::Enable, Op::Destroy, Op::CancelDestroy] {
        let faults = [
            ("[]", "(body)"),
            ("null", "(body)"),
            ("{}x", "(body)"),
            ("{", "(body)"),
            (r#"{"x":1}"#, "x"),
            (r#"{"op_id":"1"}"#, "op_id"),
            (r#"{"op_id":null}"#, "op_id"),
            (&format!("{{{op_id},{op_id}}}"), "op_id"),
        ];
        for (body, field) in faults {
            let refused = refusal(call(&engine, op, Some(&kid), body));
            assert_eq!(refused, ("BadRequest", Some(field.to_owned())), "{} {body}", op.name());
        }
        assert_eq!(fault(&engine, op, "{}"), "BadRequest kid", "the path names the key");
    }
    for delay in ["-1", "1.5", "null", "\"1\"", "18446744073709551616", "1e3"] {
        let body = format!(r#"{{"delay_ms":{delay}}}"#);
        let refused = refusal(call(&engine, Op::Destroy, Some(&kid), &body));
        assert_eq!(refused, ("BadRequest", Some("delay_ms".to_owned())), "{delay}");
    }
    let delay = r#"{"delay_ms":90000000}"#;
    assert_eq!(refusal(call(&engine, Op::Disable, Some(&kid), delay)).1.unwrap(), "delay_ms");
    assert_eq!(call(&engine, Op::Describe, Some(&kid), "").unwrap()["state"], "enabled");
}

#[test]
fn an_op_id_is_refused_where_trying_again_makes_something_else() {
    let (engine, _) = engine();
    let op_id = Some(uuid::Uuid::from_u128(1));
    for op in [Op::Wrap, Op::Unwrap, Op::Rewrap] {
        let context = Context { op_id, ..Context::library() };
        let refused = wire::handle(&engine, op, None, b"{}", context, true);
        assert_eq!(refusal(refused), ("Unsupported", Some("op_id".to_owned())));
        let body = r#"{"op_id":"0b2e7c1e-0000-4000-8000-000000000001"}"#;
        assert_eq!(fault(&engine, op, body), "BadRequest op_id", "there is no such field");
    }
}
