use kms_core::Context;
use serde_json::{Value, json};

use super::*;
use crate::{ListKeys, Op, RotateKey, wire};

fn page(engine: &Engine, limit: Option<usize>, after: Option<String>) -> crate::Listed {
    let wish = ListKeys { tenant: "core".into(), limit, after };
    engine.list(&Context::library(), &wish).unwrap()
}

fn on_the_wire(engine: &Engine, body: &str) -> Result<Value, String> {
    let answer = wire::handle(engine, Op::List, None, body.as_bytes(), Context::library(), true);
    match answer {
        Ok(answer) => Ok(serde_json::from_slice(&answer.unwrap()).unwrap()),
        Err(error) => Err(format!("{} {}", error.code.name(), error.field.unwrap_or_default())),
    }
}

#[test]
fn every_key_is_in_exactly_one_page() {
    let (engine, _) = engine();
    let mut made: Vec<String> = (0..25).map(|_| create(&engine, "message").to_string()).collect();
    made.sort_by_key(|kid| kid.rsplit('/').next().unwrap().to_owned());
    for limit in [1, 7, 24, 25, 26] {
        let (mut found, mut after) = (vec![], None);
        loop {
            let page = page(&engine, Some(limit), after);
            assert!(page.keys.len() <= limit && !page.keys.is_empty());
            found.extend(page.keys.iter().map(|key| key.kid.to_string()));
            match page.next {
                Some(next) => after = Some(next.to_string()),
                None => break,
            }
        }
        assert_eq!(found, made, "pages of {limit}");
    }
    let all = page(&engine, None, None);
    assert_eq!((all.keys.len(), all.next.is_none()), (25, true));
}

#[test]
fn keys_that_are_made_between_two_pages_move_no_other() {
    let (engine, _) = engine();
    let before: Vec<String> = (0..10).map(|_| create(&engine, "message").to_string()).collect();
    let first = page(&engine, Some(5), None);
    (0..10).for_each(|_| drop(create(&engine, "message")));
    let second = page(&engine, Some(100), first.next.map(|next| next.to_string()));
    let found: Vec<String> =
        first.keys.iter().chain(&second.keys).map(|key| key.kid.to_string()).collect();
    for kid in before {
        assert_eq!(found.iter().filter(|it| **it == kid).count(), 1);
    }
}

#[test]
fn a_tenant_sees_its_own_keys_only() {
    let (engine, _) = engine();
    create(&engine, "message");
    let other = CreateKey { tenant: "other".into(), ..wish("message") };
    let theirs = engine.create(&Context::library(), &other).unwrap().kid;
    let stranger = Context { tenant: Some("other".into()), ..Context::library() };
    let of = |tenant: &str| ListKeys { tenant: tenant.into(), limit: None, after: None };
    let listed = engine.list(&stranger, &of("other")).unwrap();
    assert_eq!(
        listed.keys.iter().map(|key| key.kid.clone()).collect::<Vec<_>>(),
        std::slice::from_ref(&theirs)
    );
    assert_eq!(refusal(engine.list(&stranger, &of("core"))), ("NotFound", Some("tenant".into())));
    assert!(engine.list(&Context::library(), &of("nobody")).unwrap().keys.is_empty());
    let foreign = ListKeys { after: Some(theirs.to_string()), ..of("core") };
    let fault = refusal(engine.list(&Context::library(), &foreign));
    assert_eq!(fault, ("BadRequest", Some("after".into())));
}

#[test]
fn a_key_is_shown_with_its_head_and_its_state() {
    let (engine, clock) = engine();
    let kid = create(&engine, "message").to_string();
    let library = Context::library();
    engine.rotate(&library, &kid, &RotateKey { alg: None, activate_after_ms: 500 }).unwrap();
    let shown = || on_the_wire(&engine, r#"{"tenant":"core"}"#).unwrap()["keys"][0].clone();
    let pending = json!({
        "kid": kid, "alg": "ed25519", "signs": "message", "head": "#v1", "newest": "#v2",
        "state": "enabled", "created_ms": 0,
    });
    assert_eq!(shown(), pending);
    clock.advance_ms(500);
    assert_eq!(shown()["head"], "#v2");
    engine.schedule_destroy(&library, kid.trim_end_matches("#v1"), None).unwrap();
    assert_eq!(shown()["state"], "destroy_scheduled");
    assert!(shown()["destroy_at"].is_string());
}

#[test]
fn what_is_asked_for_is_checked() {
    let (engine, _) = engine();
    let cases = [
        ("{}", "BadRequest tenant"),
        (r#"{"tenant":"a b"}"#, "BadRequest tenant"),
        (r#"{"tenant":"core","limit":0}"#, "BadRequest limit"),
        (r#"{"tenant":"core","limit":513}"#, "BadRequest limit"),
        (r#"{"tenant":"core","limit":-1}"#, "BadRequest limit"),
        (r#"{"tenant":"core","after":"x"}"#, "BadRequest after"),
        (r#"{"tenant":"core","before":"x"}"#, "BadRequest before"),
    ];
    for (body, fault) in cases {
        assert_eq!(on_the_wire(&engine, body).unwrap_err(), fault, "{body}");
    }
}
