//! Claims of a passport whose signature holds.

use super::support::{KID, NOW, Signer, claims, policy, verdict, verdict_at, with};
use crate::{Now, Policy};

fn one(changes: &str, siblings: &str) -> String {
    let signer = Signer::new(1);
    let envelope = signer.envelope(KID, &claims(changes));
    let request = if siblings.is_empty() { envelope } else { with(&envelope, siblings) };
    verdict(&signer.verifier(policy()), &request)
}

#[test]
fn takes_a_passport_and_shows_its_claims() {
    let signer = Signer::new(1);
    let payload = claims("{}");
    let answer = signer.verifier(policy()).verify_one(
        signer.envelope(KID, &payload).as_bytes(),
        Now::at(NOW),
        false,
    );
    let expected = format!(r#"{{"ok":true,"claims":{}}}"#, String::from_utf8_lossy(&payload));
    assert_eq!(answer, Ok(crate::Outcome::Answer(expected.into_bytes())));
}

#[test]
fn holds_time_to_the_second_with_the_skew() {
    let signer = Signer::new(1);
    let verifier = signer.verifier(policy());
    let envelope = signer.envelope(KID, &claims(r#"{"nbf":1800000010}"#));
    let at = |seconds| verdict_at(&verifier, &envelope, Now::at(seconds));
    assert_eq!(at(NOW + 10 - 121), "nbf");
    assert_eq!(at(NOW + 10 - 120), "ok");
    assert_eq!(at(NOW + 600 + 119), "ok");
    assert_eq!(at(NOW + 600 + 120), "expired");
    let counted = verifier.counters().snapshot();
    assert_eq!((counted.skewed_early, counted.skewed_expired), (1, 1));
}

#[test]
fn refuses_a_passport_of_the_future() {
    assert_eq!(one(&format!(r#"{{"iat":{},"exp":{}}}"#, NOW + 120, NOW + 900), ""), "ok");
    assert_eq!(one(&format!(r#"{{"iat":{},"exp":{}}}"#, NOW + 121, NOW + 900), ""), "nbf");
}

#[test]
fn holds_expiry_and_beginning_to_different_bounds_when_the_clock_was_set_back() {
    let signer = Signer::new(1);
    let verifier = signer.verifier(policy());
    let envelope = signer.envelope(KID, &claims("{}"));
    let back = Now { earliest: NOW, latest: NOW + 3600 };
    assert_eq!(verdict_at(&verifier, &envelope, back), "expired");
}

#[test]
fn asks_for_the_audience_and_the_scopes() {
    assert_eq!(one("{}", r#""audience":"service-a""#), "ok");
    assert_eq!(one("{}", r#""audience":"service-A""#), "bad_aud");
    assert_eq!(one("{}", r#""scopes":["write:y","read:x"]"#), "ok");
    assert_eq!(one("{}", r#""scopes":["write:y","read:z"]"#), "scope_denied");
    assert_eq!(one(r#"{"scopes":null}"#, r#""scopes":["read:x"]"#), "scope_denied");
}

#[test]
fn needs_an_audience_where_that_is_required() {
    let signer = Signer::new(1);
    let verifier = signer.verifier(Policy { require_aud: true, ..policy() });
    let envelope = signer.envelope(KID, &claims("{}"));
    assert_eq!(verdict(&verifier, &envelope), "bad_aud");
    assert_eq!(verdict(&verifier, &with(&envelope, r#""audience":"service-a""#)), "ok");
}

#[test]
fn holds_three_kids_to_each_other() {
    let signer = Signer::new(1);
    let other = KID.replace("#v1", "#v2");
    let verifier = signer.verifier(policy());
    verifier.trust(&other, signer.0.public().as_bytes()).expect("trusted");
    let payload = claims(&format!(r#"{{"kid":"{other}"}}"#));
    assert_eq!(verdict(&verifier, &signer.envelope(KID, &payload)), "verify_failed");
    assert_eq!(verdict(&verifier, &signer.envelope(&other, &payload)), "ok");
    let header = format!(r#"{{"alg":"EdDSA","kid":"{KID}"}}"#);
    let token = signer.token(&header, &String::from_utf8_lossy(&payload));
    assert_eq!(verdict(&verifier, &token), "verify_failed");
}

#[test]
fn refuses_claims_of_another_shape() {
    let cases = [
        r#"{"iss":null}"#,
        r#"{"sub":null}"#,
        r#"{"aud":null}"#,
        r#"{"iat":null}"#,
        r#"{"exp":null}"#,
        r#"{"kid":null}"#,
        r#"{"iss":1}"#,
        r#"{"sub":["a"]}"#,
        r#"{"aud":"service-a"}"#,
        r#"{"aud":[1]}"#,
        r#"{"exp":"1800000600"}"#,
        r#"{"exp":1800000600.5}"#,
        r#"{"exp":-1}"#,
        r#"{"exp":1e+300}"#,
        r#"{"iat":{}}"#,
        r#"{"nbf":"x"}"#,
        r#"{"scopes":"read:x"}"#,
        r#"{"scopes":[{}]}"#,
        r#"{"ctx":[]}"#,
        r#"{"ctx":"x"}"#,
        r#"{"jti":7}"#,
        r#"{"nonce":[]}"#,
        r#"{"kid":7}"#,
        r#"{"exp":9007199254740994}"#,
    ];
    for changes in cases {
        assert_eq!(one(changes, ""), "malformed", "{changes}");
    }
}

#[test]
fn lets_claims_be_that_it_does_not_know() {
    assert_eq!(one(r#"{"zoneinfo":{"deep":[1,2.5,null]}}"#, ""), "ok");
    assert_eq!(one(r#"{"ctx":null,"scopes":null,"jti":null}"#, ""), "ok");
}
