//! Passports of any content, validly signed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kms_core::Secret;
use kms_crypto::ed25519::{SignLane, SigningKey};
use kms_testkit::entropy::GivenEntropy;

use crate::{Now, Outcome, Policy, Verifier, canonical};

pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const KID: &str = "passport/issuer/ed25519/0b2e7c1e-0000-4000-8000-000000000001#v1";

pub(super) fn policy() -> Policy {
    Policy {
        clock_skew_s: 120,
        max_msg_bytes: 4096,
        max_batch: 512,
        require_aud: false,
        own_key: String::new(),
    }
}

pub(super) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) struct Signer(pub(super) SigningKey);

impl Signer {
    pub(super) fn new(seed: u8) -> Signer {
        let seed = Secret::random(&GivenEntropy::new(&[seed; 32])).expect("entropy");
        Signer(SigningKey::from_seed(SignLane::Dalek, &seed).expect("key"))
    }

    pub(super) fn sign(&self, message: &[u8]) -> String {
        base64url(self.0.sign(message).expect("signature"))
    }

    pub(super) fn verifier(&self, policy: Policy) -> Verifier {
        let verifier = Verifier::new(policy, None);
        verifier.trust(KID, self.0.public().as_bytes()).expect("trusted");
        verifier
    }

    /// An envelope around exactly these bytes.
    pub(super) fn envelope(&self, kid: &str, payload: &[u8]) -> String {
        let (msg, sig) = (base64url(payload), self.sign(payload));
        format!(r#"{{"alg":"Ed25519","kid":"{kid}","msg":"{msg}","sig":"{sig}"}}"#)
    }

    /// A request with a token of exactly these parts.
    pub(super) fn token(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", base64url(header), base64url(payload));
        format!(r#"{{"token":"{signed}.{}"}}"#, self.sign(signed.as_bytes()))
    }
}

/// Claims that pass, with some replaced or added; `null` takes one away.
pub(super) fn claims(changes: &str) -> Vec<u8> {
    let mut claims = serde_json::json!({
        "iss": "svc-passport", "sub": "alice", "aud": ["service-a"], "iat": NOW, "exp": NOW + 600,
        "scopes": ["read:x", "write:y"], "ctx": { "tenant": "t1" }, "kid": KID, "jti": "j1",
    });
    let changes: serde_json::Value = serde_json::from_str(changes).expect("JSON");
    for (name, value) in changes.as_object().expect("an object") {
        let claims = claims.as_object_mut().expect("an object");
        if value.is_null() {
            claims.remove(name);
        } else {
            claims.insert(name.clone(), value.clone());
        }
    }
    canonical(claims.to_string().as_bytes()).expect("canonical")
}

/// Adds siblings to a request.
pub(super) fn with(request: &str, more: &str) -> String {
    format!("{},{more}}}", request.strip_suffix('}').expect("an object"))
}

/// `ok`, the reason, or the code of the error.
pub(super) fn verdict(verifier: &Verifier, request: &str) -> String {
    verdict_at(verifier, request, Now::at(NOW))
}

pub(super) fn verdict_at(verifier: &Verifier, request: &str, now: Now) -> String {
    match verifier.verify_one(request.as_bytes(), now, false) {
        Ok(Outcome::Answer(json)) => short(&serde_json::from_slice(&json).expect("JSON")),
        Ok(Outcome::Unknown(kids)) => format!("unknown {kids:?}"),
        Err(error) => error.code.name().to_owned(),
    }
}

fn short(answer: &serde_json::Value) -> String {
    match answer["ok"].as_bool() {
        Some(true) => "ok".to_owned(),
        _ => answer["reason"].as_str().expect("a reason").to_owned(),
    }
}

/// As [`verdict`] for each item of a batch.
pub(super) fn batch(verifier: &Verifier, requests: &[&str]) -> Vec<String> {
    let body = format!("[{}]", requests.join(","));
    let outcome = verifier.verify_batch(body.as_bytes(), Now::at(NOW), false);
    let Ok(Outcome::Answer(json)) = outcome else { panic!("no answer: {outcome:?}") };
    let answers: Vec<serde_json::Value> = serde_json::from_slice(&json).expect("JSON");
    answers.iter().map(short).collect()
}
