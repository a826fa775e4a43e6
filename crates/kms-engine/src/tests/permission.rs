use kms_core::{KidPrefix, Rights, Scopes, Tenants};
use uuid::Uuid;

use super::*;
use crate::wire;
use crate::{Op, Payload, Request, Response, RotateKey, SignRequest, Target, WrapRequest};

const NO_KEY: &str = "0b2e7c1e-0000-4000-8000-000000000000";

/// Every scope, for the tenant `core`, and one prefix.
fn rights(prefix: &str) -> Rights {
    Rights {
        scopes: Scopes::from_bits((1 << Scopes::NAMES.len()) - 1).unwrap(),
        tenants: Tenants::Only(vec!["core".into()]),
        kids: vec![vec![KidPrefix::parse(prefix).unwrap()]],
        algs: None,
        purposes: None,
        payloads: None,
        caveats: Box::default(),
        ids: Box::default(),
    }
}

fn caller(rights: Rights) -> Context {
    Context { rights: Some(Arc::new(rights)), actor: "cap".into(), ..Context::default() }
}

/// Every request about a key, by what it asks for.
fn about(kid: &str) -> Vec<Request> {
    let key = kid.split('#').next().unwrap().to_owned();
    let kid = kid.to_owned();
    let sign = |target| {
        let payload = Payload::Message(b"m".as_slice().into());
        Request::Sign(SignRequest { target, payload, context: vec![], produce_hybrid: None })
    };
    vec![
        Request::Describe(kid.clone()),
        Request::Attest(kid.clone()),
        Request::Rotate(key.clone(), RotateKey::default()),
        sign(Target::Kid(key.clone())),
        sign(Target::Set(vec![key.clone()])),
        Request::Wrap(WrapRequest {
            kid: key.clone(),
            data_key: crate::GivenOrFresh::Fresh(16),
            kem_mode: None,
            return_plaintext: false,
        }),
        Request::Unwrap(kid.clone(), vec![0; 100]),
        Request::Rewrap(key.clone(), vec![0; 100]),
        Request::Derive(key.clone(), "name".into()),
        Request::Disable(key.clone()),
        Request::Enable(key.clone()),
        Request::Destroy(key.clone(), None),
        Request::CancelDestroy(key),
    ]
}

#[test]
fn what_is_not_covered_is_refused_alike_whether_or_not_it_exists() {
    let (engine, _) = engine();
    let there = create(&engine, "message").to_string();
    let not_there = format!("core/audit/ed25519/{NO_KEY}#v1");
    for prefix in ["core/aud", "core/other", "core/audit/ml-dsa", "acme"] {
        let caller = caller(rights(prefix));
        for (one, other) in about(&there).into_iter().zip(about(&not_there)) {
            let refused = engine.dispatch(&caller, &one).unwrap_err();
            assert_eq!(refused.code.name(), "NoCapability", "{one:?}");
            assert_eq!(engine.dispatch(&caller, &other).unwrap_err(), refused, "{one:?}");
        }
    }
    let caller = caller(rights("core/audit"));
    for request in about(&not_there) {
        assert_eq!(refusal(engine.dispatch(&caller, &request)).0, "NotFound", "{request:?}");
    }
}

#[test]
fn every_operation_needs_its_own_scope_here_too() {
    let (engine, _) = engine();
    let there = create(&engine, "message").to_string();
    for request in about(&there) {
        let mut rights = rights("core");
        let needed = request.op().scopes();
        let all = Scopes::from_bits((1 << Scopes::NAMES.len()) - 1).unwrap();
        let others = all.names().filter(|name| !needed.contains(Scopes::parse(name).unwrap()));
        rights.scopes =
            others.fold(Scopes::NONE, |set, name| set.union(Scopes::parse(name).unwrap()));
        let refused = refusal(engine.dispatch(&caller(rights), &request));
        assert_eq!(refused, ("NoCapability", Some("scope".to_owned())), "{request:?}");
    }
}

#[test]
fn items_of_an_array_are_checked_one_by_one() {
    let (engine, _) = engine();
    let own = create(&engine, "message").to_string();
    let other = own.replace("core/audit", "core/other");
    let sig = r#"[{"alg":"ed25519","signature_b64":""}]"#;
    let item = |kid: &str| format!(r#"{{"kid":"{kid}","message_b64":"bQ==","sigs":{sig}}}"#);
    let body = format!("[{},{},{}]", item(&other), item(&own), item(&other));
    let caller = caller(rights("core/audit"));
    let answer =
        wire::handle(&engine, Op::VerifyBatch, None, body.as_bytes(), caller, true).unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.unwrap()).unwrap();
    assert_eq!(answer[0]["error"]["code"], "NoCapability");
    assert_eq!(answer[1]["ok"], false);
    assert_eq!(answer[2]["error"]["code"], "NoCapability");
}

#[test]
fn of_requests_that_come_together_each_has_its_own_rights() {
    let (engine, _) = engine();
    let kid = create(&engine, "message");
    let sig = r#"[{"alg":"ed25519","signature_b64":""}]"#;
    let body = format!(r#"{{"kid":"{kid}","message_b64":"bQ==","sigs":{sig}}}"#);
    let covered = caller(rights("core/audit"));
    let elsewhere = Context { tenant: Some("acme".into()), ..Context::default() };
    let callers = [
        covered.clone(),
        caller(rights("core/other")),
        covered.clone(),
        Context::default(),
        elsewhere,
        covered,
    ];
    let requests = callers.into_iter().map(|caller| (Ok(caller), body.as_bytes()));
    let answers = wire::verify_coalesced(&engine, requests.collect());
    let codes: Vec<_> = answers.into_iter().map(|it| it.err().map(|it| it.code.name())).collect();
    assert_eq!(codes, [None, Some("NoCapability"), None, None, Some("NotFound"), None]);
}

#[test]
fn a_replay_asks_for_rights_again() {
    let (engine, _) = engine();
    let op_id = Some(Uuid::from_u128(1));
    let with = |prefix| Context { op_id, ..caller(rights(prefix)) };
    let request = Request::Create(wish("message"));
    let made = |context: &Context| match engine.dispatch(context, &request) {
        Ok(Response::Created(created)) => Ok(created.kid.to_string()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code.name()),
    };
    let first = made(&with("core")).unwrap();
    assert_eq!(made(&with("core/audit")), Ok(first), "the same capability, narrower");
    assert_eq!(made(&with("core/other")), Err("NoCapability"));
}

#[test]
fn a_kid_with_a_version_allows_no_other_version() {
    let (engine, _) = engine();
    let v1 = create(&engine, "message").to_string();
    let key = v1.replace("#v1", "");
    let caller = caller(rights(&v1));
    let codes =
        |request: Request| engine.dispatch(&caller, &request).err().map(|it| it.code.name());
    assert_eq!(codes(Request::Describe(v1.clone())), None);
    assert_eq!(codes(Request::Describe(key.clone())), Some("NoCapability"), "the head");
    assert_eq!(codes(Request::Rotate(v1.clone(), RotateKey::default())), Some("NoCapability"));
    assert_eq!(codes(Request::Derive(v1.clone(), "x".into())), Some("NoCapability"));
    assert_eq!(codes(Request::Disable(v1)), None);
}
