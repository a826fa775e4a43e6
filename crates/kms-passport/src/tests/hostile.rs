//! What attackers send.

use super::support::{KID, Signer, base64url, batch, claims, policy, verdict};

fn with_header(header: &str) -> String {
    let signer = Signer::new(1);
    let payload = String::from_utf8(claims("{}")).expect("UTF-8");
    verdict(&signer.verifier(policy()), &signer.token(header, &payload))
}

#[test]
fn only_the_key_decides_the_algorithm() {
    for alg in ["EdDSA", "Ed25519"] {
        assert_eq!(with_header(&format!(r#"{{"alg":"{alg}","kid":"{KID}"}}"#)), "ok");
    }
    let jwk = base64url(Signer::new(1).0.public().as_bytes());
    let headers = [
        r#"{"alg":"none","kid":"KID"}"#,
        r#"{"alg":"None","kid":"KID"}"#,
        r#"{"alg":"NONE","kid":"KID"}"#,
        r#"{"alg":"HS256","kid":"KID"}"#,
        r#"{"alg":"HS512","kid":"KID"}"#,
        r#"{"alg":"ES256","kid":"KID"}"#,
        r#"{"alg":"RS256","kid":"KID"}"#,
        r#"{"alg":"eddsa","kid":"KID"}"#,
        r#"{"alg":"Ed448","kid":"KID"}"#,
        r#"{"alg":["EdDSA"],"kid":"KID"}"#,
        r#"{"kid":"KID"}"#,
        r#"{"alg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","alg":"EdDSA","kid":"KID"}"#,
        r#"{"alg":"EdDSA","kid":"KID","jwk":{"kty":"OKP","crv":"Ed25519","x":"JWK"}}"#,
        r#"{"alg":"EdDSA","kid":"KID","jku":"https://attacker.example/jwks"}"#,
        r#"{"alg":"EdDSA","kid":"KID","x5u":"https://attacker.example/cert"}"#,
        r#"{"alg":"EdDSA","kid":"KID","x5c":["AA=="]}"#,
        r#"{"alg":"EdDSA","kid":"KID","crit":["exp"],"exp":1}"#,
        r#"{"alg":"EdDSA","kid":"KID","crit":["b64"],"b64":false}"#,
        r#"{"alg":"EdDSA","kid":"KID","b64":false}"#,
        r#"{"alg":"EdDSA","kid":"KID","typ":"JOSE"}"#,
        r#"{"alg":"EdDSA","kid":"KID","cty":"JWT"}"#,
        r#"{"alg":"EdDSA","kid":7}"#,
        r#"["EdDSA"]"#,
        r#"{"alg":"EdDSA","kid":"KID"} "x""#,
        "",
    ];
    for header in headers {
        let header = header.replace("KID", KID).replace("JWK", &jwk);
        assert_eq!(with_header(&header), "malformed", "{header}");
    }
}

#[test]
fn an_unsigned_token_is_refused() {
    let signer = Signer::new(1);
    let verifier = signer.verifier(policy());
    let header = base64url(format!(r#"{{"alg":"none","kid":"{KID}"}}"#));
    let payload = base64url(claims("{}"));
    assert_eq!(verdict(&verifier, &format!(r#"{{"token":"{header}.{payload}."}}"#)), "malformed");
    let header = base64url(format!(r#"{{"alg":"EdDSA","kid":"{KID}"}}"#));
    let request = format!(r#"{{"token":"{header}.{payload}."}}"#);
    assert_eq!(verdict(&verifier, &request), "verify_failed");
}

#[test]
fn base64url_has_one_spelling() {
    let signer = Signer::new(1);
    let verifier = signer.verifier(policy());
    let payload = claims(r#"{"x":"~~~???"}"#);
    let (msg, sig) = (base64url(&payload), signer.sign(&payload));
    let request = |msg: &str, sig: &str| {
        format!(r#"{{"alg":"Ed25519","kid":"{KID}","msg":"{msg}","sig":"{sig}"}}"#)
    };
    assert_eq!(verdict(&verifier, &request(&msg, &sig)), "ok");
    // 64 bytes leave four bits in the last character that mean nothing and must be zero.
    let mut trailing = sig.clone().into_bytes();
    trailing[85] += 1;
    let trailing = String::from_utf8(trailing).expect("ASCII");
    let standard = |text: &str| text.replace('-', "+").replace('_', "/");
    let variants = [
        request(&msg, &format!("{sig}==")),
        request(&msg, &format!("{sig}=")),
        request(&msg, &format!("{sig}\\n")),
        request(&msg, &format!(" {sig}")),
        request(&msg, &trailing),
        request(&format!("{msg}="), &sig),
        request(&format!("{msg}\\n"), &sig),
        request(&format!("{}\\r\\n{}", &msg[..8], &msg[8..]), &sig),
        request(&standard(&msg), &sig),
        request(&msg[..msg.len() - msg.len() % 4 + 1], &sig),
    ];
    assert_ne!(standard(&msg), msg);
    for variant in &variants {
        assert_eq!(verdict(&verifier, variant), "BadRequest", "{variant}");
        assert_eq!(batch(&verifier, &[variant]), ["malformed"], "{variant}");
    }
}

#[test]
fn base64url_of_a_token_has_one_spelling_too() {
    let signer = Signer::new(1);
    let verifier = signer.verifier(policy());
    let payload = String::from_utf8(claims("{}")).expect("UTF-8");
    let token = signer.token(&format!(r#"{{"alg":"EdDSA","kid":"{KID}"}}"#), &payload);
    assert_eq!(verdict(&verifier, &token), "ok");
    for part in 0..3 {
        let spoil = |spoiled: &str| {
            let token = token.trim_start_matches(r#"{"token":""#).trim_end_matches(r#""}"#);
            let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
            parts[part] += spoiled;
            format!(r#"{{"token":"{}"}}"#, parts.join("."))
        };
        for spoiled in ["=", "==", "\\n", " ", "+", "."] {
            let request = spoil(spoiled);
            assert_eq!(verdict(&verifier, &request), "BadRequest", "{request}");
        }
    }
}

#[test]
fn payloads_that_are_not_canonical_are_malformed_though_they_are_signed() {
    let signer = Signer::new(1);
    let verifier = signer.verifier(policy());
    let good = String::from_utf8(claims("{}")).expect("UTF-8");
    let variants = [
        format!(" {good}"),
        format!("{good}\n"),
        format!("\u{feff}{good}"),
        good.replace(':', ": "),
        good.replace("\"alice\"", "\"\\u0061lice\""),
        good.replace(r#""sub":"alice""#, r#""sub":"alice","sub":"alice""#),
        good.replace(r#""sub":"alice""#, r#""sub":"mallory","sub":"alice""#),
        good.replace("1800000000", "1.8e9"),
        good.replace("1800000000", "1800000000.0"),
        good.replace("1800000000", "01800000000"),
        good.replace("\"alice\"", "\"\\ud800\""),
        good.replace("{\"tenant\":\"t1\"}", "{\"a\":1e400}"),
        good.replace("{\"tenant\":\"t1\"}", "{\"__proto__\":{}}"),
        good.replace("{\"tenant\":\"t1\"}", "{\"b\":1,\"a\":1}"),
        good.replace(
            "{\"tenant\":\"t1\"}",
            &format!("{}{}", "{\"a\":".repeat(33), "1").replace('1', "{}"),
        ),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        String::new(),
    ];
    for payload in &variants {
        assert_ne!(*payload, good);
        assert_eq!(
            verdict(&verifier, &signer.envelope(KID, payload.as_bytes())),
            "malformed",
            "{payload}"
        );
    }
    let not_utf8 = [good.as_bytes(), b"\xff"].concat();
    assert_eq!(verdict(&verifier, &signer.envelope(KID, &not_utf8)), "malformed");
}

#[test]
fn deep_nesting_is_refused_without_deep_recursion() {
    let verifier = Signer::new(1).verifier(policy());
    for request in ["[".repeat(100_000), format!("{{\"alg\":{}", "{\"a\":".repeat(100_000))] {
        assert_eq!(verdict(&verifier, &request), "BadRequest");
    }
}
