//! Known answers on expanded keys, which no API above this crate takes.

use kms_testkit::vectors;
use serde_json::Value;

use super::*;

type Expand = fn(&[u8]) -> (Vec<u8>, Vec<u8>);
type Sign = fn(&[u8], Message<'_>, &[u8]) -> Option<Vec<u8>>;

/// One parameter set, with lengths erased: `None` and `false` for bytes of a wrong length.
struct Set {
    name: &'static str,
    expand: Expand,
    sign: Sign,
    verify: fn(&[u8], Message<'_>, &[u8]) -> bool,
}

/// What is signed.
#[derive(Clone, Copy)]
enum Message<'a> {
    Prefixed(&'a [u8], &'a [u8]),
    Mu(&'a [u8]),
}

macro_rules! set {
    ($module:ident, $name:literal) => {
        Set {
            name: $name,
            expand: |seed| {
                let mut public = [0; $module::PUBLIC_KEY_LEN];
                let mut private = [0; $module::PRIVATE_KEY_LEN];
                assert!($module::expand(
                    seed.try_into().expect("32 bytes"),
                    &mut public,
                    &mut private
                ));
                (public.to_vec(), private.to_vec())
            },
            sign: |private, message, rnd| {
                let private = private.try_into().ok()?;
                let rnd = rnd.try_into().ok()?;
                let mut out = [0; $module::SIGNATURE_LEN];
                let done = match message {
                    Message::Prefixed(prefix, message) => {
                        $module::sign(private, prefix, message, rnd, &mut out)
                    }
                    Message::Mu(mu) => {
                        $module::sign_mu(private, mu.try_into().ok()?, rnd, &mut out)
                    }
                };
                done.then(|| out.to_vec())
            },
            verify: |public, message, signature| {
                let (Ok(public), Ok(signature)) = (public.try_into(), signature.try_into()) else {
                    return false;
                };
                match message {
                    Message::Prefixed(prefix, message) => {
                        $module::verify(public, prefix, message, signature)
                    }
                    Message::Mu(mu) => {
                        $module::verify_mu(public, mu.try_into().expect("64 bytes"), signature)
                    }
                }
            },
        }
    };
}

const SETS: [Set; 3] =
    [set!(ml_dsa_44, "ML-DSA-44"), set!(ml_dsa_65, "ML-DSA-65"), set!(ml_dsa_87, "ML-DSA-87")];

fn set(name: &Value) -> &'static Set {
    SETS.iter().find(|set| *name == set.name).expect("a set")
}

/// 0x00 ‖ length ‖ context of pure ML-DSA.
fn pure(context: &[u8]) -> Vec<u8> {
    [&[0, u8::try_from(context.len()).expect("at most 255")], context].concat()
}

fn optional(case: &Value, key: &str) -> Option<Vec<u8>> {
    case[key].as_str().map(vectors::hex)
}

#[test]
fn acvp_key_generation() {
    for group in vectors::groups("acvp/ML-DSA-keyGen-FIPS204.internalProjection.json.gz") {
        for case in vectors::tests(&group) {
            let (public, private) =
                (set(&group["parameterSet"]).expand)(&vectors::hex_field(case, "seed"));
            assert_eq!(public, vectors::hex_field(case, "pk"));
            assert_eq!(private, vectors::hex_field(case, "sk"));
        }
    }
}

/// Every interface but HashML-DSA, which is not offered.
#[test]
fn acvp_signature_generation() {
    let mut count = 0;
    for group in vectors::groups("acvp/ML-DSA-sigGen-FIPS204.trimmed.json.gz") {
        if group["preHash"] == "preHash" {
            continue;
        }
        for case in vectors::tests(&group) {
            let rnd = optional(case, "rnd").unwrap_or(vec![0; 32]);
            let (message, mu) = (optional(case, "message"), optional(case, "mu"));
            let prefix =
                optional(case, "context").map(|context| pure(&context)).unwrap_or_default();
            let message = match (&message, &mu) {
                (_, Some(mu)) => Message::Mu(mu),
                (Some(message), None) => Message::Prefixed(&prefix, message),
                (None, None) => panic!("neither message nor mu"),
            };
            let private = vectors::hex_field(case, "sk");
            let signature = (set(&group["parameterSet"]).sign)(&private, message, &rnd);
            assert_eq!(signature, optional(case, "signature"), "tcId {}", case["tcId"]);
            count += 1;
        }
    }
    assert_eq!(count, 108);
}

#[test]
fn acvp_signature_verification() {
    let mut count = 0;
    for group in vectors::groups("acvp/ML-DSA-sigVer-FIPS204.internalProjection.json.gz") {
        if group["preHash"] == "preHash" {
            continue;
        }
        for case in vectors::tests(&group) {
            let (message, mu) = (optional(case, "message"), optional(case, "mu"));
            let prefix =
                optional(case, "context").map(|context| pure(&context)).unwrap_or_default();
            let message = match (&message, &mu) {
                (_, Some(mu)) => Message::Mu(mu),
                (Some(message), None) => Message::Prefixed(&prefix, message),
                (None, None) => panic!("neither message nor mu"),
            };
            let (public, signature) =
                (vectors::hex_field(case, "pk"), vectors::hex_field(case, "signature"));
            let verdict = (set(&group["parameterSet"]).verify)(&public, message, &signature);
            assert_eq!(Some(verdict), case["testPassed"].as_bool(), "tcId {}", case["tcId"]);
            count += 1;
        }
    }
    assert_eq!(count, 135);
}

/// Keys given expanded. A key whose s1 or s2 is out of range is not refused here: it would have to be imported,
/// and nothing above imports expanded keys.
#[test]
fn wycheproof_signs_with_expanded_keys() {
    for (set, file) in [(&SETS[0], "mldsa_44"), (&SETS[1], "mldsa_65")] {
        let file = vectors::json(&format!("wycheproof/{file}_sign_noseed_test.json.gz"));
        for group in file["testGroups"].as_array().expect("groups") {
            let private = vectors::hex_field(group, "privateKey");
            for case in vectors::tests(group) {
                let out_of_range = case["flags"]
                    .as_array()
                    .is_some_and(|flags| flags.iter().any(|flag| flag == "InvalidPrivateKey"));
                let context = optional(case, "ctx").unwrap_or_default();
                if out_of_range || context.len() > 255 {
                    continue;
                }
                let rnd = optional(case, "rnd").unwrap_or(vec![0; 32]);
                let expected = (case["result"] == "valid").then(|| vectors::hex_field(case, "sig"));
                if let Some(message) = optional(case, "msg") {
                    let prefix = pure(&context);
                    let signed = (set.sign)(&private, Message::Prefixed(&prefix, &message), &rnd);
                    assert_eq!(signed, expected, "tcId {}", case["tcId"]);
                }
                if let Some(mu) = optional(case, "mu") {
                    let signed = (set.sign)(&private, Message::Mu(&mu), &rnd);
                    assert_eq!(signed, expected, "tcId {} by mu", case["tcId"]);
                }
            }
        }
    }
}
