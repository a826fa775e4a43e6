//! Known answers of others in every lane, and the rule that lanes agree.

use std::sync::LazyLock;

use kms_core::{OsEntropy, Secret};
use kms_testkit::{cases, vectors};
use serde_json::Value;

use super::*;

const ZERO: [u8; 32] = [0; 32];

fn set(name: &str) -> Set {
    Set::parse(&name.to_lowercase()).expect("a set")
}

fn secret(bytes: &[u8]) -> Secret<32> {
    Secret::take(&mut bytes.try_into().expect("32 bytes"))
}

fn key(set: Set, lane: Lane, seed: &[u8]) -> SigningKey {
    SigningKey::from_seed(set, lane, &secret(seed)).expect("a key")
}

fn optional(case: &Value, key: &str) -> Option<Vec<u8>> {
    case[key].as_str().map(vectors::hex)
}

/// The verdict of a lane on bytes of any length, as the addon gives it: wrong lengths are invalid.
fn verdict(
    lane: Lane,
    set: Set,
    public: &[u8],
    message: &[u8],
    context: &[u8],
    signature: &[u8],
) -> bool {
    let (Ok(public), Ok(context)) = (PublicKey::from_bytes(set, public), Context::new(context))
    else {
        return false;
    };
    verify(lane, &public, message, context, signature)
}

#[test]
fn acvp_key_generation() {
    for group in vectors::groups("acvp/ML-DSA-keyGen-FIPS204.internalProjection.json.gz") {
        let set = set(group["parameterSet"].as_str().expect("a set"));
        for case in vectors::tests(&group) {
            for &lane in Lane::ALL {
                let key = key(set, lane, &vectors::hex_field(case, "seed"));
                assert_eq!(key.public().as_bytes(), vectors::hex_field(case, "pk"));
            }
        }
    }
}

/// The keys of these vectors have no seed, so only the lane that takes expanded keys can sign with them; kms-aws-lc
/// tests those of AWS-LC.
#[test]
fn acvp_signature_generation_with_expanded_keys() {
    let mut count = 0;
    for group in vectors::groups("acvp/ML-DSA-sigGen-FIPS204.trimmed.json.gz") {
        if group["preHash"] == "preHash" {
            continue;
        }
        for case in vectors::tests(&group) {
            let private = vectors::hex_field(case, "sk");
            let rnd = optional(case, "rnd").unwrap_or(ZERO.to_vec());
            let signature = match group["parameterSet"].as_str() {
                Some("ML-DSA-44") => sign_expanded::<::ml_dsa::MlDsa44>(&private, case, &rnd),
                Some("ML-DSA-65") => sign_expanded::<::ml_dsa::MlDsa65>(&private, case, &rnd),
                Some("ML-DSA-87") => sign_expanded::<::ml_dsa::MlDsa87>(&private, case, &rnd),
                other => panic!("{other:?}"),
            };
            assert_eq!(signature, vectors::hex_field(case, "signature"), "tcId {}", case["tcId"]);
            count += 1;
        }
    }
    assert_eq!(count, 108);
}

#[expect(deprecated, reason = "expanded keys have no other door, and only tests use it")]
fn sign_expanded<P: ::ml_dsa::MlDsaParams>(private: &[u8], case: &Value, rnd: &[u8]) -> Vec<u8> {
    let encoded = private.try_into().expect("an expanded key");
    let key = ::ml_dsa::ExpandedSigningKey::<P>::from_expanded(&encoded);
    let mu = optional(case, "mu").unwrap_or_else(|| {
        use shake::{ExtendableOutput, Update};
        // tr is at bytes 64..128 of an expanded key (FIPS 204, Algorithm 24).
        let mut hasher = shake::Shake256::default().chain(&private[64..128]);
        if let Some(context) = optional(case, "context") {
            hasher.update(&[0, context.len() as u8]);
            hasher.update(&context);
        }
        hasher.update(&vectors::hex_field(case, "message"));
        let mut mu = [0; MU_LEN];
        hasher.finalize_xof_into(&mut mu);
        mu.to_vec()
    });
    let mut out = vec![0; key.sign_mu_deterministic(&[0; 64].into()).encode().len()];
    let mu = mu.as_slice().try_into().expect("64 bytes");
    assert!(rustcrypto::sign(&key, mu, &secret(rnd), &mut out));
    out
}

/// Every interface but HashML-DSA, which is not offered, and the internal one, which `verify` cannot reach without
/// a prefix: its μ is computed here.
#[test]
fn acvp_signature_verification() {
    let mut count = 0;
    for group in vectors::groups("acvp/ML-DSA-sigVer-FIPS204.internalProjection.json.gz") {
        if group["preHash"] == "preHash" {
            continue;
        }
        let set = set(group["parameterSet"].as_str().expect("a set"));
        for case in vectors::tests(&group) {
            let public =
                PublicKey::from_bytes(set, &vectors::hex_field(case, "pk")).expect("a key");
            let signature = vectors::hex_field(case, "signature");
            let mu: [u8; MU_LEN] = match optional(case, "mu") {
                Some(mu) => mu.try_into().expect("64 bytes"),
                None => {
                    let message = vectors::hex_field(case, "message");
                    match optional(case, "context") {
                        Some(context) => {
                            let context = Context::new(&context).expect("a context");
                            MuHasher::of(&public, context, &message)
                        }
                        None => internal_mu(&public, &message),
                    }
                }
            };
            for &lane in Lane::ALL {
                let verdict = verify_mu(lane, &public, &mu, &signature);
                assert_eq!(Some(verdict), case["testPassed"].as_bool(), "tcId {}", case["tcId"]);
            }
            count += 1;
        }
    }
    assert_eq!(count, 135);
}

fn internal_mu(public: &PublicKey, message: &[u8]) -> [u8; MU_LEN] {
    use shake::{ExtendableOutput, Update};
    let mut mu = [0; MU_LEN];
    shake::Shake256::default().chain(public.tr()).chain(message).finalize_xof_into(&mut mu);
    mu
}

#[test]
fn wycheproof_verifies() {
    for (set, name) in [(Set::MlDsa44, "mldsa_44"), (Set::MlDsa65, "mldsa_65")] {
        let file = vectors::json(&format!("wycheproof/{name}_verify_test.json.gz"));
        let mut count = 0;
        for group in file["testGroups"].as_array().expect("groups") {
            let public = vectors::hex_field(group, "publicKey");
            for case in vectors::tests(group) {
                let context = optional(case, "ctx").unwrap_or_default();
                let (message, signature) =
                    (vectors::hex_field(case, "msg"), vectors::hex_field(case, "sig"));
                for &lane in Lane::ALL {
                    assert_eq!(
                        verdict(lane, set, &public, &message, &context, &signature),
                        case["result"] == "valid",
                        "tcId {} in {}",
                        case["tcId"],
                        lane.name()
                    );
                }
                count += 1;
            }
        }
        assert_eq!(Some(count), file["numberOfTests"].as_u64());
    }
}

#[test]
fn wycheproof_signs_with_seeds() {
    for (set, name) in [(Set::MlDsa44, "mldsa_44"), (Set::MlDsa65, "mldsa_65")] {
        let file = vectors::json(&format!("wycheproof/{name}_sign_seed_test.json.gz"));
        for group in file["testGroups"].as_array().expect("groups") {
            let seed = vectors::hex_field(group, "privateSeed");
            if seed.len() != SEED_LEN {
                assert!(vectors::tests(group).iter().all(|case| case["result"] == "invalid"));
                continue;
            }
            for &lane in Lane::ALL {
                let key = key(set, lane, &seed);
                assert_eq!(key.public().as_bytes(), vectors::hex_field(group, "publicKey"));
                for case in vectors::tests(group) {
                    let rnd = secret(&optional(case, "rnd").unwrap_or(ZERO.to_vec()));
                    let context = optional(case, "ctx").unwrap_or_default();
                    let valid = case["result"] == "valid";
                    let name = format!("tcId {} in {}", case["tcId"], lane.name());
                    let Ok(context) = Context::new(&context) else {
                        assert!(!valid, "{name}");
                        continue;
                    };
                    if let Some(message) = optional(case, "msg") {
                        let signature = key.sign_with_rnd(&message, context, &rnd).unwrap();
                        assert_eq!(signature, vectors::hex_field(case, "sig"), "{name}");
                        if let Some(mu) = optional(case, "mu") {
                            assert_eq!(MuHasher::of(key.public(), context, &message), mu[..]);
                        }
                    }
                    if let Some(mu) = optional(case, "mu") {
                        let mu = mu.try_into().expect("64 bytes");
                        let signature = key.sign_mu_with_rnd(&mu, &rnd).unwrap();
                        assert_eq!(signature, vectors::hex_field(case, "sig"), "{name}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_message_in_pieces_has_the_same_representative() {
    let key = key(Set::MlDsa44, Lane::Auto, &[1; 32]);
    let context = Context::new(b"c").unwrap();
    let message: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
    let mut hasher = MuHasher::new(key.public(), context);
    for piece in message.chunks(777) {
        hasher.update(piece);
    }
    let mu = hasher.finish();
    let signature = key.sign_mu(&mu, &OsEntropy).unwrap();
    for &lane in Lane::ALL {
        assert!(verify(lane, key.public(), &message, context, &signature));
        assert!(verify_mu(lane, key.public(), &mu, &signature));
    }
}

#[test]
fn hedged_signatures_differ_and_verify() {
    for set in Set::ALL {
        for &lane in Lane::ALL {
            let key = SigningKey::generate(set, lane, &OsEntropy).unwrap();
            let first = key.sign(b"m", Context::EMPTY, &OsEntropy).unwrap();
            let second = key.sign(b"m", Context::EMPTY, &OsEntropy).unwrap();
            assert_ne!(first, second);
            for &other in Lane::ALL {
                assert!(verify(other, key.public(), b"m", Context::EMPTY, &first));
                assert!(!verify(other, key.public(), b"n", Context::EMPTY, &first));
                let wrong = Context::new(b"x").unwrap();
                assert!(!verify(other, key.public(), b"m", wrong, &first));
                assert!(!verify(other, key.public(), b"m", Context::EMPTY, &first[1..]));
                assert!(!verify(
                    other,
                    key.public(),
                    b"m",
                    Context::EMPTY,
                    &[&first[..], &[0]].concat()
                ));
            }
        }
    }
}

#[test]
fn faults_of_the_caller_are_named() {
    assert_eq!(Context::new(&[0; 256]).unwrap_err().field.as_deref(), Some("context"));
    assert!(Context::new(&[0; 255]).is_ok());
    for set in Set::ALL {
        for wrong in [0, set.public_key_len() - 1, set.public_key_len() + 1] {
            let error = PublicKey::from_bytes(set, &vec![0; wrong]).unwrap_err();
            assert_eq!(error.field.as_deref(), Some("publicKey"));
        }
        assert_eq!(Set::parse(set.name()), Ok(set));
    }
    assert_eq!(Set::parse("ml-dsa").unwrap_err().field.as_deref(), Some("set"));
    assert_eq!(Lane::parse("dalek").unwrap_err().field.as_deref(), Some("lane"));
}

/// Lanes agree on keys, on deterministic signatures, and on the verdict about signatures spoilt at random.
/// `PQ_CASES` says how many cases a set gets.
#[test]
fn lanes_agree() {
    static KEYS: LazyLock<Vec<[SigningKey; 2]>> = LazyLock::new(|| {
        let seeds: Vec<[u8; 32]> = (1..=3_u8).map(|i| [i; 32]).collect();
        let sets = Set::ALL.into_iter();
        sets.flat_map(|set| seeds.iter().map(move |seed| (set, *seed)))
            .map(|(set, seed)| [Lane::RustCrypto, Lane::Auto].map(|lane| key(set, lane, &seed)))
            .collect()
    });
    for set in Set::ALL {
        let keys: Vec<_> = KEYS.iter().filter(|pair| pair[0].public().set() == set).collect();
        let mut accepted = 0;
        cases::run(set.name(), |random| {
            let [reference, fast] = keys[random.below(keys.len())];
            let message = random.up_to(200);
            let context = random.up_to(255);
            let context = Context::new(&context).unwrap();
            let mut signature = fast.sign_deterministic(&message, context).unwrap();
            if random.below(16) == 0 {
                let again = reference.sign_deterministic(&message, context).unwrap();
                assert_eq!(signature, again);
            }
            if random.below(16) == 0 {
                let seed = random.bytes(32);
                let [a, b] = [Lane::RustCrypto, Lane::Auto].map(|lane| key(set, lane, &seed));
                assert_eq!(a.public(), b.public());
            }
            let mut public = None;
            match random.below(8) {
                0 => {}
                // The hints are the last bytes, where an encoding can be wrong in the most ways.
                1 | 2 => {
                    let from_end = 1 + random.below(100);
                    let at = signature.len() - from_end;
                    signature[at] = random.below(256) as u8;
                }
                3 => {
                    let mut bytes = fast.public().as_bytes().to_vec();
                    let at = random.below(bytes.len());
                    bytes[at] ^= 1 << random.below(8);
                    public = Some(PublicKey::from_bytes(set, &bytes).unwrap());
                }
                // Extreme values of z.
                4 => {
                    let at = 64 + random.below(signature.len() - 200);
                    let value = [0, 0xff, 0x80][random.below(3)];
                    signature[at..at + 5].fill(value);
                }
                _ => {
                    let at = random.below(signature.len());
                    signature[at] ^= 1 << random.below(8);
                }
            }
            let public = public.as_ref().unwrap_or(reference.public());
            let verdicts = Lane::ALL
                .iter()
                .map(|&lane| verify(lane, public, &message, context, &signature))
                .collect::<Vec<_>>();
            assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{verdicts:?}");
            accepted += usize::from(verdicts[0]);
        });
        assert!(accepted > 0, "the untouched signatures verify");
    }
}
