//! Known answers on expanded keys, which no API above this crate takes.

use kms_testkit::vectors;
use serde_json::Value;

use super::*;

type Expand = fn(&[u8]) -> Option<(Vec<u8>, Vec<u8>)>;
type Encapsulate = fn(&[u8], &[u8]) -> Option<(Vec<u8>, Vec<u8>)>;

/// One parameter set, with lengths erased: `None` for bytes of a wrong length.
struct Set {
    name: &'static str,
    expand: Expand,
    encapsulate: Encapsulate,
    decapsulate: fn(&[u8], &[u8]) -> Option<Vec<u8>>,
}

macro_rules! set {
    ($module:ident, $name:literal) => {
        Set {
            name: $name,
            expand: |seed| {
                let mut public = [0; $module::PUBLIC_KEY_LEN];
                let mut private = [0; $module::PRIVATE_KEY_LEN];
                $module::expand(seed.try_into().ok()?, &mut public, &mut private)
                    .then(|| (public.to_vec(), private.to_vec()))
            },
            encapsulate: |public, rnd| {
                let mut ciphertext = [0; $module::CIPHERTEXT_LEN];
                let mut shared = [0; 32];
                $module::encapsulate(
                    public.try_into().ok()?,
                    rnd.try_into().ok()?,
                    &mut ciphertext,
                    &mut shared,
                )
                .then(|| (ciphertext.to_vec(), shared.to_vec()))
            },
            decapsulate: |private, ciphertext| {
                let mut shared = [0; 32];
                $module::decapsulate(
                    private.try_into().ok()?,
                    ciphertext.try_into().ok()?,
                    &mut shared,
                )
                .then(|| shared.to_vec())
            },
        }
    };
}

const SETS: [Set; 3] = [
    set!(ml_kem_512, "ML-KEM-512"),
    set!(ml_kem_768, "ML-KEM-768"),
    set!(ml_kem_1024, "ML-KEM-1024"),
];

fn set(name: &Value) -> &'static Set {
    SETS.iter().find(|set| *name == set.name).expect("a set")
}

#[test]
fn acvp_key_generation() {
    for group in vectors::groups("acvp/ML-KEM-keyGen-FIPS203.internalProjection.json.gz") {
        for case in vectors::tests(&group) {
            let seed = [vectors::hex_field(case, "d"), vectors::hex_field(case, "z")].concat();
            let expected = (vectors::hex_field(case, "ek"), vectors::hex_field(case, "dk"));
            assert_eq!((set(&group["parameterSet"]).expand)(&seed), Some(expected));
        }
    }
}

#[test]
fn acvp_encapsulation_decapsulation_and_key_checks() {
    for group in vectors::groups("acvp/ML-KEM-encapDecap-FIPS203.internalProjection.json.gz") {
        let set = set(&group["parameterSet"]);
        for case in vectors::tests(&group) {
            let field = |name| vectors::hex_field(case, name);
            let name = format!("tcId {}", case["tcId"]);
            match group["function"].as_str() {
                Some("encapsulation") => {
                    let made = (set.encapsulate)(&field("ek"), &field("m"));
                    assert_eq!(made, Some((field("c"), field("k"))), "{name}");
                    assert_eq!((set.decapsulate)(&field("dk"), &field("c")), Some(field("k")));
                }
                Some("decapsulation") => {
                    let shared = (set.decapsulate)(&field("dk"), &field("c"));
                    assert_eq!(shared, Some(field("k")), "{name}");
                }
                Some("encapsulationKeyCheck") => {
                    let accepted = (set.encapsulate)(&field("ek"), &[7; 32]).is_some();
                    assert_eq!(Some(accepted), case["testPassed"].as_bool(), "{name}");
                }
                Some("decapsulationKeyCheck") => {
                    let ciphertext = (set.encapsulate)(&field("ek"), &[7; 32]).expect("a key").0;
                    let accepted = (set.decapsulate)(&field("dk"), &ciphertext).is_some();
                    assert_eq!(Some(accepted), case["testPassed"].as_bool(), "{name}");
                }
                other => panic!("unknown function {other:?}"),
            }
        }
    }
}
