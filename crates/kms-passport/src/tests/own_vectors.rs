//! Our own known answers, `test/vectors/passport/`, for who implements passports in another language.
//!
//! `KMS_WRITE_VECTORS=1 cargo test -p kms-passport own_vectors` writes them; every other run compares.

use kms_testkit::entropy::GivenEntropy;
use kms_testkit::vectors;
use serde_json::{Value, json};

use super::support::{KID, NOW, Signer, base64url, claims, policy, verdict, with};
use crate::{Format, IssuePolicy, Policy, issue};

const SEED: u8 = 7;

/// Compares with the committed file, or writes it.
fn committed(name: &str, made: &Value) {
    let name = format!("passport/{name}");
    if std::env::var_os("KMS_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(made).expect("JSON");
        std::fs::write(vectors::path(&name), text + "\n").expect("a writable folder");
    }
    assert!(vectors::json(&name) == *made, "{name} differs: is the change of format meant?");
}

#[test]
fn issued() {
    let signer = Signer::new(SEED);
    let policy = IssuePolicy {
        issuer: "svc-passport".to_owned(),
        default_ttl_s: 3600,
        max_ttl_s: 86_400,
        max_msg_bytes: 4096,
    };
    let wishes = [
        r#"{"sub":"alice","aud":["service-a"],"scopes":["read:x","write:y"]}"#,
        r#"{"format":"jwt","sub":"alice","aud":"service-a","scopes":[],"ttl_s":60,"nbf":1800000010,"nonce":"n-1"}"#,
        r#"{"sub":"zoë \"q\" \\ \u0007 😀","aud":["b","a"],"scopes":["s"],"ctx":{"z":-0.0,"a":[1e21,0.1,true,null],"é":{},"\ufb33":1,"\ud83d\ude02":2}}"#,
    ];
    let cases = wishes.iter().enumerate().map(|(i, wish)| {
        let entropy = GivenEntropy::new(&[u8::try_from(i).expect("small"); 16]);
        let issued = issue(&policy, wish.as_bytes(), KID, NOW, &entropy).expect("issued");
        let signature = signer.sign(&issued.signed);
        let passport = match issued.format {
            Format::Envelope => json!({
                "alg": "Ed25519", "kid": KID, "msg": base64url(&issued.signed), "sig": signature,
            }),
            Format::Jwt => {
                let signed = String::from_utf8(issued.signed.clone()).expect("ASCII");
                Value::String(format!("{signed}.{signature}"))
            }
        };
        json!({ "wish": wish, "signed": String::from_utf8(issued.signed).expect("UTF-8"), "passport": passport })
    });
    committed(
        "issued.json",
        &json!({
            "seed": format!("{SEED:02x}").repeat(32),
            "public_key": base64url(signer.0.public().as_bytes()),
            "kid": KID, "now": NOW, "issuer": "svc-passport", "cases": cases.collect::<Vec<_>>(),
        }),
    );
}

#[test]
fn verdicts() {
    let signer = Signer::new(SEED);
    let verifier = signer.verifier(Policy { require_aud: true, ..policy() });
    let good = claims("{}");
    let text = String::from_utf8(good.clone()).expect("UTF-8");
    let header = format!(r#"{{"alg":"EdDSA","kid":"{KID}"}}"#);
    let (envelope, token) = (signer.envelope(KID, &good), signer.token(&header, &text));
    let changed = |changes: &str| signer.envelope(KID, &claims(changes));
    let headed = |from: &str, to: &str| signer.token(&header.replace(from, to), &text);
    let cases = [
        ("an envelope", envelope.clone()),
        ("a compact JWS", token.clone()),
        ("a JWS with alg Ed25519 and typ", headed("\"EdDSA\"", "\"Ed25519\",\"typ\":\"jwt\"")),
        (
            "a JWS whose payload is not canonical",
            signer.token(&header, &text.replace("\":", "\" : ")),
        ),
        (
            "an envelope whose payload is not canonical",
            signer.envelope(KID, format!("{text} ").as_bytes()),
        ),
        (
            "a name twice",
            signer.envelope(KID, text.replace("\"sub\":", "\"sub\":\"x\",\"sub\":").as_bytes()),
        ),
        (
            "an escape that need not be",
            signer.envelope(KID, text.replace("alice", "\\u0061lice").as_bytes()),
        ),
        ("expired", changed(r#"{"exp":1799999880}"#)),
        ("expired, within the skew", changed(r#"{"exp":1799999881}"#)),
        ("not yet", changed(r#"{"nbf":1800000121}"#)),
        ("not yet, within the skew", changed(r#"{"nbf":1800000120}"#)),
        ("issued in the future", changed(r#"{"iat":1800000121}"#)),
        ("another audience", changed(r#"{"aud":["service-b"]}"#)),
        ("no scope", changed(r#"{"scopes":[]}"#)),
        ("another kid in the payload", changed(r#"{"kid":"other"}"#)),
        ("a kid that nobody knows", signer.envelope("other", &good)),
        ("signed by another key", Signer::new(8).envelope(KID, &good)),
        ("a fraction of a second", changed(r#"{"exp":1800000600.5}"#)),
        ("another alg", envelope.replace("Ed25519", "EdDSA")),
        ("alg none", headed("EdDSA", "none")),
        ("a header that must be understood", headed("\"kid\"", "\"crit\":[\"x\"],\"x\":1,\"kid\"")),
        ("a header with a key", headed("\"kid\"", "\"jwk\":{},\"kid\"")),
        ("a signature cut short", envelope.replace(&signer.sign(&good), &signer.sign(&good)[..84])),
        ("padding", envelope.replace("\"}", "==\"}")),
        ("a token of four parts", token.replace("\"}", ".x\"}")),
    ];
    let asked = r#""audience":"service-a","scopes":["read:x"]"#;
    let cases = cases.map(|(name, request)| {
        let request = with(&request, asked);
        json!({ "name": name, "verdict": verdict(&verifier, &request), "request": request })
    });
    committed(
        "verdicts.json",
        &json!({
            "keys": [{
                "kty": "OKP", "crv": "Ed25519", "kid": KID, "x": base64url(signer.0.public().as_bytes()),
            }],
            "now": NOW, "clock_skew_s": 120, "cases": cases,
        }),
    );
}
