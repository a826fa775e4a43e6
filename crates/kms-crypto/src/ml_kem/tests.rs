//! Known answers of others in every lane, and the rule that lanes agree.

use kms_core::{ErrorCode, OsEntropy, Secret};
use kms_testkit::{cases, vectors};
use serde_json::Value;

use super::*;

fn set(value: &Value) -> Set {
    Set::parse(&value.as_str().expect("a set").to_lowercase()).expect("a set")
}

fn key(set: Set, lane: Lane, seed: &[u8]) -> PrivateKey {
    let mut seed: [u8; SEED_LEN] = seed.try_into().expect("64 bytes");
    PrivateKey::from_seed(set, lane, &Secret::take(&mut seed)).expect("a key")
}

fn rnd(bytes: &[u8]) -> Secret<RND_LEN> {
    Secret::take(&mut bytes.try_into().expect("32 bytes"))
}

#[test]
fn acvp_key_generation() {
    for group in vectors::groups("acvp/ML-KEM-keyGen-FIPS203.internalProjection.json.gz") {
        for case in vectors::tests(&group) {
            let seed = [vectors::hex_field(case, "d"), vectors::hex_field(case, "z")].concat();
            for &lane in Lane::ALL {
                let key = key(set(&group["parameterSet"]), lane, &seed);
                assert_eq!(key.public().as_bytes(), vectors::hex_field(case, "ek"));
            }
        }
    }
}

/// Decapsulation with expanded keys, and their check, are kms-aws-lc's to test: they have no door here.
#[test]
fn acvp_encapsulation_and_key_check() {
    let mut count = 0;
    for group in vectors::groups("acvp/ML-KEM-encapDecap-FIPS203.internalProjection.json.gz") {
        let set = set(&group["parameterSet"]);
        for case in vectors::tests(&group) {
            let public = PublicKey::from_bytes(set, &vectors::hex_field(case, "ek"));
            match group["function"].as_str() {
                Some("encapsulationKeyCheck") => {
                    assert_eq!(Some(public.is_ok()), case["testPassed"].as_bool());
                }
                Some("encapsulation") => {
                    for &lane in Lane::ALL {
                        let m = rnd(&vectors::hex_field(case, "m"));
                        let public = public.as_ref().expect("a key");
                        let (c, k) = encapsulate_with_rnd(lane, public, &m).unwrap();
                        assert_eq!(c, vectors::hex_field(case, "c"), "{}", lane.name());
                        assert_eq!(k.expose()[..], vectors::hex_field(case, "k"));
                    }
                }
                _ => continue,
            }
            count += 1;
        }
    }
    assert_eq!(count, 105);
}

#[test]
fn wycheproof_key_generation() {
    for set in Set::ALL {
        let name = set.name().replace("ml-kem-", "mlkem_");
        let file = vectors::json(&format!("wycheproof/{name}_keygen_seed_test.json.gz"));
        for case in vectors::cases(&file) {
            for &lane in Lane::ALL {
                let key = key(set, lane, &vectors::hex_field(case, "seed"));
                assert_eq!(key.public().as_bytes(), vectors::hex_field(case, "ek"));
            }
        }
    }
}

#[test]
fn wycheproof_encapsulation_and_modulus_check() {
    for (set, name) in [(Set::MlKem512, "mlkem_512"), (Set::MlKem1024, "mlkem_1024")] {
        let file = vectors::json(&format!("wycheproof/{name}_encaps_test.json.gz"));
        for case in vectors::cases(&file) {
            let public = PublicKey::from_bytes(set, &vectors::hex_field(case, "ek"));
            let valid = case["result"] == "valid";
            let name = format!("tcId {}", case["tcId"]);
            assert_eq!(public.is_ok(), valid, "{name}");
            let Ok(public) = public else { continue };
            for &lane in Lane::ALL {
                let m = rnd(&vectors::hex_field(case, "m"));
                let (c, k) = encapsulate_with_rnd(lane, &public, &m).unwrap();
                assert_eq!(c, vectors::hex_field(case, "c"), "{name}");
                assert_eq!(k.expose()[..], vectors::hex_field(case, "K"), "{name}");
                let prepared = PreparedKey::new(public.clone());
                let (c, k) = prepared.encapsulate_from(lane, &m).unwrap();
                assert_eq!(c, vectors::hex_field(case, "c"), "{name}");
                assert_eq!(k.expose()[..], vectors::hex_field(case, "K"), "{name}");
            }
        }
    }
}

#[test]
fn wycheproof_decapsulation() {
    for set in Set::ALL {
        let name = set.name().replace("ml-kem-", "mlkem_");
        let file = vectors::json(&format!("wycheproof/{name}_test.json.gz"));
        for case in vectors::cases(&file) {
            let (seed, c) = (vectors::hex_field(case, "seed"), vectors::hex_field(case, "c"));
            let name = format!("tcId {}", case["tcId"]);
            let valid = case["result"] == "valid";
            if seed.len() != SEED_LEN {
                assert!(!valid, "{name}");
                continue;
            }
            for &lane in Lane::ALL {
                match key(set, lane, &seed).decapsulate(&c) {
                    Ok(shared) => {
                        assert!(valid, "{name}");
                        assert_eq!(shared.expose()[..], vectors::hex_field(case, "K"), "{name}");
                    }
                    Err(error) => {
                        assert!(!valid, "{name}");
                        assert_eq!(error.field.as_deref(), Some("ciphertext"));
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_encapsulated_is_decapsulated_by_every_lane() {
    for set in Set::ALL {
        for &lane in Lane::ALL {
            let key = PrivateKey::generate(set, lane, &OsEntropy).unwrap();
            for &other in Lane::ALL {
                let (ciphertext, sent) = encapsulate(other, key.public(), &OsEntropy).unwrap();
                let received = key.decapsulate(&ciphertext).unwrap();
                assert_eq!(sent.expose(), received.expose());
            }
        }
    }
}

#[test]
fn faults_of_the_caller_are_named() {
    for set in Set::ALL {
        let len = set.public_key_len();
        for wrong in [0, len - 1, len + 1] {
            let error = check_public_key(set, &vec![0; wrong]).unwrap_err();
            assert_eq!(
                (error.code, error.field.as_deref()),
                (ErrorCode::BadRequest, Some("publicKey"))
            );
        }
        // 3328 = 0xd00 passes and 3329 = 0xd01 does not, as low and as high half of three bytes.
        for (triple, valid) in [
            ([0x00, 0x0d, 0x00], true),
            ([0x01, 0x0d, 0x00], false),
            ([0x00, 0x00, 0xd0], true),
            ([0x00, 0x10, 0xd0], false),
        ] {
            let mut bytes = vec![0; len];
            bytes[len - 35..len - 32].copy_from_slice(&triple);
            assert_eq!(check_public_key(set, &bytes).is_ok(), valid);
        }
        let key = PrivateKey::generate(set, Lane::Auto, &OsEntropy).unwrap();
        for wrong in [0, set.ciphertext_len() - 1, set.ciphertext_len() + 1] {
            let error = key.decapsulate(&vec![0; wrong]).err().expect("a wrong length");
            assert_eq!(error.field.as_deref(), Some("ciphertext"));
        }
        assert_eq!(Set::parse(set.name()), Ok(set));
    }
    assert_eq!(Set::parse("ml-kem").unwrap_err().field.as_deref(), Some("set"));
}

/// Lanes agree on keys, on encapsulations, on the secret in a ciphertext, and on the one that a spoilt ciphertext is
/// answered with. `PQ_CASES` says how many cases a set gets.
#[test]
fn lanes_agree() {
    for set in Set::ALL {
        let keys = |seed: &[u8]| -> Vec<PrivateKey> {
            Lane::ALL.iter().map(|lane| key(set, *lane, seed)).collect()
        };
        let mut holders = keys(&[9; 64]);
        let mut prepared = PreparedKey::new(holders[0].public().clone());
        cases::run(set.name(), |random| {
            if random.below(16) == 0 {
                holders = keys(&random.bytes(SEED_LEN));
                assert!(holders.iter().all(|it| it.public() == holders[0].public()));
                prepared = PreparedKey::new(holders[0].public().clone());
            }
            let m = rnd(&random.bytes(RND_LEN));
            let (sent, shared) = prepared.encapsulate_from(Lane::Auto, &m).unwrap();
            for &lane in Lane::ALL {
                let (ciphertext, secret) = encapsulate_with_rnd(lane, prepared.key(), &m).unwrap();
                assert_eq!(ciphertext, sent);
                assert_eq!(secret.expose(), shared.expose());
            }

            let mut ciphertext = sent.clone();
            match random.below(3) {
                0 => {}
                1 => ciphertext = random.bytes(ciphertext.len()),
                _ => {
                    let at = random.below(ciphertext.len());
                    ciphertext[at] ^= 1 << random.below(8);
                }
            }
            let received: Vec<_> =
                holders.iter().map(|it| it.decapsulate(&ciphertext).unwrap()).collect();
            assert!(received.iter().all(|it| it.expose() == received[0].expose()));
            assert_eq!(received[0].expose() == shared.expose(), ciphertext == sent);
        });
    }
}
