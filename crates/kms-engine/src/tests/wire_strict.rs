//! What JSON readers disagree about, and what costs one of them its memory.

use serde_json::json;

use super::*;
use crate::{Op, wire};

const HELLO: &str = "d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24";

fn fault(engine: &Engine, op: Op, target: Option<&str>, body: &[u8]) -> String {
    let answer = wire::handle(engine, op, target, body, Context::library(), true);
    let (code, field) = refusal(answer);
    format!("{code} {}", field.unwrap_or_default())
}

fn answer(engine: &Engine, op: Op, target: Option<&str>, body: &[u8]) -> serde_json::Value {
    let answer = wire::handle(engine, op, target, body, Context::library(), true);
    serde_json::from_slice(&answer.unwrap().expect("done")).expect("the answer is JSON")
}

fn created(engine: &Engine) -> String {
    let body = br#"{"tenant":"core","purpose":"audit","alg":"ed25519"}"#;
    answer(engine, Op::Create, None, body)["kid"].as_str().unwrap().to_owned()
}

#[test]
fn refuses_numbers_that_another_reader_would_round() {
    let (engine, _) = engine();
    let kid = created(&engine);
    let numbers = [
        "9007199254740992",
        "9007199254740993",
        "18446744073709551615",
        "18446744073709551616",
        "1e400",
        "1.5",
        "-1",
        "01",
        "+1",
        "0x10",
        "NaN",
        "\"1\"",
        "null",
    ];
    for number in numbers {
        for (op, target, field, rest) in [
            (Op::Rotate, Some(kid.as_str()), "activate_after_ms", ""),
            (Op::Destroy, Some(kid.as_str()), "delay_ms", ""),
            (Op::Wrap, None, "size", ",\"kid\":\"a/b/x25519/c\""),
        ] {
            let body = format!("{{\"{field}\":{number}{rest}}}");
            let refused = fault(&engine, op, target, body.as_bytes());
            let malformed = format!("BadRequest {field}");
            assert!(refused == malformed || refused == "BadRequest (body)", "{body}: {refused}");
        }
    }
    // The largest that all keep is read, and is then too much for the use case.
    let largest = br#"{"activate_after_ms":9007199254740991}"#;
    assert_eq!(fault(&engine, Op::Rotate, Some(&kid), largest), "BadRequest activate_after_ms");
    let shown = answer(&engine, Op::Describe, Some(&kid), b"");
    assert_eq!(shown["versions"], json!(["#v1"]), "nothing was done");
}

#[test]
fn refuses_text_that_is_not_unicode_in_every_place() {
    let (engine, _) = engine();
    let lone = [r"\ud800", r"\udc00", r"\ud800\ud800", r"\ud800x", r"\uD800A"];
    for text in lone {
        for body in [
            format!(r#"{{"tenant":"{text}","purpose":"b","alg":"ed25519"}}"#),
            format!(r#"{{"{text}":1,"tenant":"a","purpose":"b","alg":"ed25519"}}"#),
            format!(
                r#"{{"tenant":"a","purpose":"b","alg":"ed25519","policy_hints":{{"a":"{text}"}}}}"#
            ),
            format!(
                r#"{{"tenant":"a","purpose":"b","alg":"ed25519","policy_hints":{{"{text}":1}}}}"#
            ),
        ] {
            let refused = fault(&engine, Op::Create, None, body.as_bytes());
            assert!(refused.starts_with("BadRequest "), "{body}: {refused}");
        }
        let item = format!(r#"[{{"kid_or_set":{{"kid":"{text}"}},"payload_b3":"{HELLO}"}}]"#);
        let answers = answer(&engine, Op::SignBatch, None, item.as_bytes());
        assert_eq!(answers[0]["error"]["code"], "BadRequest", "{item}");
    }
    for bytes in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"] {
        let body = [br#"{"tenant":""#, bytes, br#"","purpose":"b","alg":"ed25519"}"#].concat();
        assert_eq!(fault(&engine, Op::Create, None, &body), "BadRequest (body)", "{bytes:x?}");
        let item = [br#"[{"reference":""#, bytes, br#""}]"#].concat();
        assert_eq!(fault(&engine, Op::SignBatch, None, &item), "BadRequest (body)", "{bytes:x?}");
    }
}

#[test]
fn refuses_a_name_twice_however_it_is_spelt() {
    let (engine, _) = engine();
    let kid = created(&engine);
    let twice = format!(
        r#"{{"payload_b3":"{HELLO}","kid_or_set":{{"kid":"{kid}"}},"p\u0061yload_b3":"{HELLO}"}}"#
    );
    assert_eq!(fault(&engine, Op::Sign, None, twice.as_bytes()), "BadRequest payload_b3");
    let inner =
        format!(r#"{{"payload_b3":"{HELLO}","kid_or_set":{{"kid":"{kid}","k\u0069d":"{kid}"}}}}"#);
    assert_eq!(fault(&engine, Op::Sign, None, inner.as_bytes()), "BadRequest kid_or_set.kid");
    let answers = answer(&engine, Op::SignBatch, None, format!("[{twice},{inner}]").as_bytes());
    assert_eq!(answers[0]["error"]["field"], "payload_b3");
    assert_eq!(answers[1]["error"]["field"], "kid_or_set.kid");
}

#[test]
fn refuses_whatever_surrounds_or_breaks_the_value() {
    let (engine, _) = engine();
    let good = r#"{"tenant":"a","purpose":"b","alg":"ed25519"}"#;
    for body in [
        format!("\u{feff}{good}"),
        format!("{good}{good}"),
        format!("{good},"),
        format!("{good}\0"),
        format!("{good}//"),
        format!("\u{a0}{good}"),
        good.replace("\"a\"", "'a'"),
        good.replace("\"a\"", "\"a\n\""),
        good.replace("\"a\"", "\"a\u{1}\""),
        good.replace("\"a\"", r#""\x61""#),
        good.replace('}', ",}"),
        "null".to_owned(),
        "\"x\"".to_owned(),
    ] {
        assert_eq!(
            fault(&engine, Op::Create, None, body.as_bytes()),
            "BadRequest (body)",
            "{body}"
        );
    }
    let spaced = format!(" \t\r\n{good} \t\r\n");
    assert!(answer(&engine, Op::Create, None, spaced.as_bytes())["kid"].is_string());
}

#[test]
fn refuses_depth_and_number_of_values_without_room_for_them() {
    let (engine, _) = engine();
    let million = "0,".repeat(1_000_000) + "0";
    let kids = "\"\",".repeat(300_000) + "\"\"";
    let sigs = r#"{"alg":"","signature_b64":""},"#.repeat(40_000);
    let names: String = (0..100_000).map(|i| format!("\"n{i}\":{i},")).collect();
    let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
    let nested = r#"{"a":"#.repeat(100_000);
    let create = r#""tenant":"a","purpose":"b","alg":"ed25519""#;
    for (op, body, expected) in [
        (Op::SignBatch, format!("[{million}]"), "TooLarge (body)"),
        (Op::VerifyBatch, format!("[{million}]"), "TooLarge (body)"),
        (
            Op::Sign,
            format!(r#"{{"kid_or_set":{{"kid_set":[{kids}]}},"payload_b3":"{HELLO}"}}"#),
            "TooLarge kid_or_set.kid_set",
        ),
        (
            Op::Verify,
            format!(r#"{{"kid":"x","payload_b3":"{HELLO}","sigs":[{}]}}"#, &sigs[..sigs.len() - 1]),
            "TooLarge sigs",
        ),
        (Op::Create, format!("{{{names}{create}}}"), "BadRequest n0"),
        (
            Op::Create,
            format!("{{{create},\"policy_hints\":{{{}}}}}", &names[..names.len() - 1]),
            "BadRequest policy_hints",
        ),
        (Op::Create, deep(100_000), "BadRequest (body)"),
        (Op::Create, nested.clone(), "BadRequest a"),
        (Op::Create, format!("{{{create},\"tenant\":{}}}", deep(100_000)), "BadRequest tenant"),
        (
            Op::Create,
            format!("{{{create},\"policy_hints\":{{\"a\":{}}}}}", deep(100_000)),
            "BadRequest (body)",
        ),
        (Op::SignBatch, nested, "BadRequest (body)"),
    ] {
        let shown = &body[..body.len().min(100)];
        assert_eq!(fault(&engine, op, None, body.as_bytes()), expected, "{} {shown}", op.name());
    }
    let answers = answer(&engine, Op::SignBatch, None, format!("[{}]", deep(100_000)).as_bytes());
    assert_eq!(answers[0]["error"]["code"], "BadRequest", "an item's own fault");
}

#[test]
fn an_item_at_fault_changes_nothing_about_the_others() {
    let (engine, _) = engine();
    let kid = created(&engine);
    let check = |more: &str| {
        let sig = r#"{"alg":"ed25519","signature_b64":""}"#;
        format!(r#"{{"kid":"{kid}","payload_b3":"{HELLO}","sigs":[{sig}]{more}}}"#)
    };
    // The first three are of the form, whatever else is wrong with them: alone they are read in one pass.
    let of_the_form = [
        check(r#","reference":"a\u0062""#),
        check(r#","reference":"c","context_b64":"?""#),
        check(&format!(r#","reference":"{}""#, "x".repeat(257))),
    ];
    let alone =
        answer(&engine, Op::VerifyBatch, None, format!("[{}]", of_the_form.join(",")).as_bytes());
    assert_eq!(alone[0]["reference"], "ab");
    assert_eq!(alone[1]["reference"], "c");
    assert_eq!(alone[1]["error"]["field"], "context_b64");
    assert_eq!(alone[2]["reference"], json!(null));
    assert_eq!(alone[2]["error"]["field"], "reference");
    for (bad, reference, field) in [
        (check(r#","reference":"d","more":1"#), json!("d"), "more"),
        (r#"{"reference":"e"}"#.to_owned(), json!("e"), "sigs"),
        ("[]".to_owned(), json!(null), "(body)"),
        ("1".to_owned(), json!(null), "(body)"),
    ] {
        let body = format!("[{},{bad}]", of_the_form.join(","));
        let beside = answer(&engine, Op::VerifyBatch, None, body.as_bytes());
        let others = |all: &serde_json::Value| all.as_array().unwrap()[..3].to_vec();
        assert_eq!(others(&beside), others(&alone), "{bad}");
        assert_eq!(
            (&beside[3]["reference"], &beside[3]["error"]["field"]),
            (&reference, &json!(field))
        );
    }
}
