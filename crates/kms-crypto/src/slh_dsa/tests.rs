//! Known answers of others, and the rules of the API.

use kms_core::{OsEntropy, SecretBytes};
use kms_testkit::{cases, vectors};
use serde_json::Value;

use super::*;

fn set(value: &Value) -> Set {
    Set::parse(&value.as_str().expect("a set").to_lowercase()).expect("a set")
}

/// The key pairs of the small sets take a second each where this crate is hardly optimised: one of each set in every
/// run, all of them when many cases are asked for.
#[test]
fn acvp_key_generation() {
    let each = if cases::asked() > cases::DEFAULT_CASES { usize::MAX } else { 1 };
    let mut sets = 0;
    for group in vectors::groups("acvp/SLH-DSA-keyGen-FIPS205.internalProjection.json") {
        let set = set(&group["parameterSet"]);
        for case in vectors::tests(&group).iter().take(each) {
            let field = |name| vectors::hex_field(case, name);
            let seed = [field("skSeed"), field("skPrf"), field("pkSeed")].concat();
            let key = SigningKey::from_seed(set, &SecretBytes::copy_of(&seed)).unwrap();
            assert_eq!(key.public().as_bytes(), field("pk"), "tcId {}", case["tcId"]);
        }
        sets += 1;
    }
    assert_eq!(sets, 12);
}

/// The vectors are of the internal interface, which takes no context, so they go to the crate directly.
#[test]
fn acvp_signature_verification() {
    let mut count = 0;
    let name = "acvp/SLH-DSA-sigVer-FIPS205.internal-interface.older.internalProjection.json.gz";
    for group in vectors::groups(name) {
        let set = set(&group["parameterSet"]);
        for case in vectors::tests(&group) {
            let field = |name| vectors::hex_field(case, name);
            let verdict = with_set!(set, P => {
                let key = ::slh_dsa::VerifyingKey::<P>::try_from(&field("pk")[..]).expect("a key");
                ::slh_dsa::Signature::<P>::try_from(&field("signature")[..])
                    .is_ok_and(|sig| key.slh_verify_internal(&[&field("message")], &sig).is_ok())
            });
            assert_eq!(Some(verdict), case["testPassed"].as_bool(), "tcId {}", case["tcId"]);
            count += 1;
        }
    }
    assert_eq!(count, 45);
}

/// The same file has what the valid signatures were made from: that is signing too. Only the fast sets in every run.
#[test]
fn acvp_signature_generation() {
    let all = cases::asked() > cases::DEFAULT_CASES;
    let mut count = 0;
    let name = "acvp/SLH-DSA-sigVer-FIPS205.internal-interface.older.internalProjection.json.gz";
    for group in vectors::groups(name) {
        let set = set(&group["parameterSet"]);
        let valid = vectors::tests(&group).iter().filter(|case| case["testPassed"] == true);
        for case in valid.take(if all { usize::MAX } else { 1 }) {
            if !all && set.name().ends_with('s') {
                continue;
            }
            let field = |name| vectors::hex_field(case, name);
            let signature = with_set!(set, P => {
                let key = ::slh_dsa::SigningKey::<P>::try_from(&field("sk")[..]).expect("a key");
                let rnd = field("additionalRandomness");
                key.slh_sign_internal(&[&field("message")], Some(&rnd)).to_bytes().to_vec()
            });
            assert_eq!(signature, field("signature"), "tcId {}", case["tcId"]);
            count += 1;
        }
    }
    assert!(count >= 3);
}

#[test]
fn a_signature_verifies_under_its_context_only() {
    for set in [Set::Sha2_128f, Set::Shake128f] {
        let key = SigningKey::generate(set, &OsEntropy).unwrap();
        let context = Context::new(b"c").unwrap();
        let signature = key.sign(b"m", context, &OsEntropy).unwrap();
        assert_eq!(signature.len(), set.signature_len());
        assert!(verify(key.public(), b"m", context, &signature));
        assert!(!verify(key.public(), b"m", Context::EMPTY, &signature));
        assert!(!verify(key.public(), b"n", context, &signature));
        assert!(!verify(key.public(), b"m", context, &signature[1..]));
        assert!(!verify(key.public(), b"m", context, &[&signature[..], &[0]].concat()));
        let other = Set::ALL.into_iter().find(|other| *other != set).unwrap();
        let mistaken = PublicKey::from_bytes(other, key.public().as_bytes()).unwrap();
        assert!(!verify(&mistaken, b"m", context, &signature));
        assert_ne!(key.sign(b"m", context, &OsEntropy).unwrap(), signature);
        let deterministic = key.sign_deterministic(b"m", context).unwrap();
        assert_eq!(key.sign_deterministic(b"m", context).unwrap(), deterministic);
    }
}

#[test]
fn a_key_is_restored_from_seed_and_public_half() {
    let set = Set::Sha2_128f;
    let seed = SecretBytes::fill(set.seed_len(), |out| out.fill(5));
    let key = SigningKey::from_seed(set, &seed).unwrap();
    let restored = SigningKey::restore(&seed, key.public()).unwrap();
    let context = Context::EMPTY;
    assert_eq!(
        restored.sign_deterministic(b"m", context).unwrap(),
        key.sign_deterministic(b"m", context).unwrap()
    );
    let other = PublicKey::from_bytes(set, &[6; 32]).unwrap();
    let error = SigningKey::restore(&seed, &other).err().expect("a fault");
    assert_eq!(error.field.as_deref(), Some("publicKey"));
}

#[test]
fn faults_of_the_caller_are_named() {
    for set in Set::ALL {
        assert_eq!(Set::parse(set.name()), Ok(set));
        let error = PublicKey::from_bytes(set, &[0; 33]).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("publicKey"));
        let error = SigningKey::from_seed(set, &SecretBytes::copy_of(&[0; 33])).err();
        assert_eq!(error.expect("a fault").field.as_deref(), Some("seed"));
    }
    assert_eq!(Set::parse("slh-dsa").unwrap_err().field.as_deref(), Some("set"));
}
