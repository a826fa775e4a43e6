//! Known answers of others, and the rule that batch equals single.

use kms_core::{OsEntropy, Secret};
use kms_testkit::vectors;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// Every lane of this build that is strict.
fn strict_lanes() -> impl Iterator<Item = VerifyLane> {
    VerifyLane::ALL.iter().copied().filter(|lane| *lane != VerifyLane::DalekBatch)
}

fn signing_key(lane: SignLane, seed: &[u8]) -> SigningKey {
    let mut seed: [u8; 32] = seed.try_into().expect("a 32-byte seed");
    SigningKey::from_seed(lane, &Secret::take(&mut seed)).expect("a key")
}

/// The verdict of a lane on bytes of any length, as the addon gives it: wrong lengths are invalid.
fn verdict(lane: VerifyLane, public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(public), Ok(signature)) = (public.try_into(), signature.try_into()) else {
        return false;
    };
    let single = verify(lane, KeyRef::Bytes(public), message, signature);
    if let Some(key) = PublicKey::decode(public) {
        let handle = KeyHandle::import(key);
        // The second time there may be a table.
        for _ in 0..2 {
            let by_handle = verify(lane, KeyRef::Handle(&handle), message, signature);
            assert_eq!(by_handle, single, "handle and bytes differ in {}", lane.name());
        }
    }
    let mut batched = [9];
    PackedBatch::new(public, signature, message, &[0, message.len() as u32])
        .expect("a layout")
        .verify(lane, &mut batched);
    assert_eq!(batched[0], u8::from(single), "batch of one and single differ in {}", lane.name());
    single
}

fn each_strict_lane(public: &[u8], message: &[u8], signature: &[u8], valid: bool, name: &str) {
    for lane in strict_lanes() {
        assert_eq!(verdict(lane, public, message, signature), valid, "{name} in {}", lane.name());
    }
}

#[test]
fn rfc8032_section_7_1() {
    for case in vectors::json("rfc8032/ed25519.json").as_array().expect("cases") {
        let message = vectors::hex_field(case, "message");
        let public = vectors::hex_field(case, "publicKey");
        let signature = vectors::hex_field(case, "signature");
        for &lane in SignLane::ALL {
            let key = signing_key(lane, &vectors::hex_field(case, "secretKey"));
            assert_eq!(key.public().as_bytes().as_slice(), public);
            assert_eq!(key.sign(&message).unwrap().as_slice(), signature, "{}", lane.name());
        }
        each_strict_lane(&public, &message, &signature, true, &case["name"].to_string());
    }
}

#[test]
fn dalek_testvectors() {
    for line in vectors::text("ed25519-dalek/TESTVECTORS").lines() {
        let parts: Vec<Vec<u8>> = line.split(':').take(4).map(vectors::hex).collect();
        let [secret, public, message, signed] = &parts[..] else { panic!("four fields") };
        assert_eq!(
            &signing_key(SignLane::Auto, &secret[..32]).sign(message).unwrap()[..],
            &signed[..64]
        );
        each_strict_lane(public, message, &signed[..64], true, "TESTVECTORS");
    }
}

#[test]
fn wycheproof_ed25519() {
    let file = vectors::json("wycheproof/ed25519_test.json");
    let mut count = 0;
    for group in file["testGroups"].as_array().expect("groups") {
        let public = vectors::hex_field(&group["publicKey"], "pk");
        for test in group["tests"].as_array().expect("tests") {
            let valid = test["result"] == "valid";
            let name = format!("tcId {}: {}", test["tcId"], test["comment"]);
            let (message, signature) =
                (vectors::hex_field(test, "msg"), vectors::hex_field(test, "sig"));
            each_strict_lane(&public, &message, &signature, valid, &name);
            count += 1;
        }
    }
    assert_eq!(Some(count), file["numberOfTests"].as_u64());
}

/// Only case 3 (mixed-order A and R, cofactorless equation holds) is strict.
#[test]
fn speccheck_cases() {
    let cases = vectors::json("ed25519-speccheck/cases.json");
    for (i, case) in cases.as_array().expect("cases").iter().enumerate() {
        let public = vectors::hex_field(case, "pub_key");
        let message = vectors::hex_field(case, "message");
        let signature = vectors::hex_field(case, "signature");
        each_strict_lane(&public, &message, &signature, i == 3, &format!("case {i}"));
    }
}

fn acvp_groups(name: &str) -> Vec<Value> {
    let file = vectors::json(&format!("acvp/EDDSA-{name}-1.0.internalProjection.json"));
    let groups = file["testGroups"].as_array().expect("groups").clone();
    groups
        .into_iter()
        .filter(|group| group["curve"] == "ED-25519" && group["preHash"].as_bool() != Some(true))
        .collect()
}

#[test]
fn acvp_key_generation_and_verification() {
    for group in acvp_groups("KeyGen") {
        for test in group["tests"].as_array().expect("tests") {
            let key = signing_key(SignLane::Auto, &vectors::hex_field(test, "d"));
            assert_eq!(key.public().as_bytes().as_slice(), vectors::hex_field(test, "q"));
        }
    }
    for group in acvp_groups("KeyVer") {
        for test in group["tests"].as_array().expect("tests") {
            let decoded = vectors::hex_field(test, "q")
                .as_slice()
                .try_into()
                .ok()
                .and_then(|q| PublicKey::decode(&q));
            assert_eq!(
                Some(decoded.is_some()),
                test["testPassed"].as_bool(),
                "tcId {}",
                test["tcId"]
            );
        }
    }
}

#[test]
fn acvp_signature_verification_and_generation() {
    for group in acvp_groups("SigVer") {
        for test in group["tests"].as_array().expect("tests") {
            let public = vectors::hex_field(test, "q");
            let valid = test["testPassed"].as_bool().expect("testPassed");
            let (message, signature) =
                (vectors::hex_field(test, "message"), vectors::hex_field(test, "signature"));
            each_strict_lane(
                &public,
                &message,
                &signature,
                valid,
                &format!("tcId {}", test["tcId"]),
            );
        }
    }
    for group in acvp_groups("SigGen") {
        let key = signing_key(SignLane::Auto, &vectors::hex_field(&group, "d"));
        for test in group["tests"].as_array().expect("tests") {
            let signature = vectors::hex_field(test, "signature");
            assert_eq!(
                key.sign(&vectors::hex_field(test, "message")).unwrap().as_slice(),
                signature
            );
        }
    }
}

/// Signatures of a few keys, some spoilt in one of several ways, as packed buffers.
#[derive(Debug)]
struct Batch {
    keys: Vec<u8>,
    signatures: Vec<u8>,
    messages: Vec<u8>,
    offsets: Vec<u32>,
}

fn batch(items: &[(u8, Vec<u8>, u8)]) -> Batch {
    let signers: Vec<SigningKey> =
        (0..3).map(|_| SigningKey::generate(SignLane::Auto, &OsEntropy).expect("a key")).collect();
    let mut out = Batch { keys: vec![], signatures: vec![], messages: vec![], offsets: vec![0] };
    for (who, message, damage) in items {
        let signer = &signers[usize::from(*who) % signers.len()];
        let mut key = *signer.public().as_bytes();
        let mut signature = signer.sign(message).unwrap();
        match damage % 8 {
            1 => signature[usize::from(*damage) % 64] ^= 1 << (damage % 7),
            2 => key[usize::from(*damage) % 32] ^= 0x10,
            3 => signature[..32].copy_from_slice(
                &curve25519_dalek::constants::EIGHT_TORSION[usize::from(*damage) % 8]
                    .compress()
                    .to_bytes(),
            ),
            4 => {
                key = curve25519_dalek::constants::EIGHT_TORSION[usize::from(*damage) % 8]
                    .compress()
                    .to_bytes()
            }
            _ => {}
        }
        out.keys.extend(key);
        out.signatures.extend(signature);
        out.messages.extend(message);
        out.offsets.push(out.messages.len() as u32);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn batch_equals_single_in_every_lane(
        items in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..80), any::<u8>()), 0..40)
    ) {
        let batch = batch(&items);
        let packed = PackedBatch::new(&batch.keys, &batch.signatures, &batch.messages, &batch.offsets).expect("a layout");
        let expected: Vec<u8> = (0..items.len()).map(|i| {
            let (start, end) = (batch.offsets[i] as usize, batch.offsets[i + 1] as usize);
            let key = batch.keys[i * 32..][..32].try_into().expect("32");
            let signature = batch.signatures[i * 64..][..64].try_into().expect("64");
            u8::from(verify(VerifyLane::Dalek, KeyRef::Bytes(&key), &batch.messages[start..end], signature))
        }).collect();
        for &lane in VerifyLane::ALL {
            let mut verdicts = vec![9; items.len()];
            packed.verify(lane, &mut verdicts);
            prop_assert_eq!(&verdicts, &expected, "lane {}", lane.name());
        }
    }
}

/// The reason why `dalek-batch` is not `auto`: R + T with T of order 2 is a signature that the
/// random combination lets through about every second time, and the strict lanes never.
#[test]
fn only_dalek_batch_may_accept_a_mixed_order_r() {
    use curve25519_dalek::Scalar;
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION};
    use sha2::{Digest, Sha512};

    let a = Scalar::from(0x1234_5678_9abc_def1_u64);
    let public = (a * B).compress().to_bytes();
    let mut accepted = 0;
    for i in 0..64_u64 {
        let r = Scalar::from(i + 77);
        let mixed_r = (r * B + EIGHT_TORSION[4]).compress().to_bytes();
        let message = i.to_le_bytes();
        let k = Scalar::from_bytes_mod_order_wide(
            &Sha512::new()
                .chain_update(mixed_r)
                .chain_update(public)
                .chain_update(message)
                .finalize()
                .into(),
        );
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&mixed_r);
        signature[32..].copy_from_slice((r + k * a).as_bytes());
        each_strict_lane(&public, &message, &signature, false, "mixed-order R");

        let mut verdicts = [9];
        verify_batch(
            VerifyLane::DalekBatch,
            &[Item { key: KeyRef::Bytes(&public), message: &message, signature: &signature }],
            &mut verdicts,
        );
        accepted += u32::from(verdicts[0]);
    }
    assert!((10..55).contains(&accepted), "{accepted} of 64 passed the combination");
}

#[test]
fn a_layout_that_does_not_fit_is_named() {
    type Layout = (&'static [u8], &'static [u8], &'static [u8], &'static [u32], &'static str);
    let cases: [Layout; 6] = [
        (&[0; 31], &[0; 64], b"", &[0, 0], "publicKeys"),
        (&[0; 32], &[0; 63], b"", &[0, 0], "signatures"),
        (&[0; 32], &[0; 128], b"", &[0, 0], "signatures"),
        (&[0; 32], &[0; 64], b"", &[0], "offsets"),
        (&[0; 32], &[0; 64], b"ab", &[1, 2], "offsets"),
        (&[0; 64], &[0; 128], b"ab", &[0, 3, 2], "offsets"),
    ];
    for (keys, signatures, messages, offsets, field) in cases {
        let error = PackedBatch::new(keys, signatures, messages, offsets).err().expect(field);
        assert_eq!(error.field.as_deref(), Some(field));
    }
}

mod tables {
    use std::sync::Mutex;

    use super::*;

    /// The cache is the process's: tests that look at its size take turns.
    static TURN: Mutex<()> = Mutex::new(());

    fn signed(lane: SignLane) -> (SigningKey, [u8; 64]) {
        let key = SigningKey::generate(lane, &OsEntropy).expect("a key");
        let signature = key.sign(b"m").unwrap();
        (key, signature)
    }

    fn has_table(handle: &std::sync::Arc<KeyHandle>) -> bool {
        handle.table().is_some()
    }

    #[test]
    fn are_built_for_keys_that_verified_often_enough() {
        let _turn = TURN.lock();
        let (key, good) = signed(SignLane::Auto);
        let handle = KeyHandle::new(*key.public());
        let check = |signature: &[u8; 64]| {
            verify(VerifyLane::Auto, KeyRef::Handle(&handle), b"m", signature)
        };
        for _ in 0..100 {
            assert!(!check(&[0; 64]));
        }
        assert!(!has_table(&handle), "failures earn nothing");
        for _ in 0..SMALL_AFTER {
            assert!(!has_table(&handle));
            assert!(check(&good));
        }
        assert!(has_table(&handle));
        let small = table_stats().bytes;
        for _ in 0..FULL_AFTER {
            assert!(check(&good));
        }
        assert!(table_stats().bytes > small, "a full table is larger");
        assert!(check(&good));
        assert!(!check(&[0; 64]));
    }

    #[test]
    fn are_found_by_bytes_too() {
        let _turn = TURN.lock();
        let (key, good) = signed(SignLane::Auto);
        let bytes = key.public().as_bytes();
        for _ in 0..=SMALL_AFTER {
            assert!(verify(VerifyLane::Auto, KeyRef::Bytes(bytes), b"m", &good));
        }
        let hits = table_stats().hits;
        let mut out = [9; 3];
        let bad = [1; 64];
        let item = |signature| Item { key: KeyRef::Bytes(bytes), message: b"m", signature };
        verify_batch(VerifyLane::Auto, &[item(&good), item(&bad), item(&good)], &mut out);
        assert_eq!(out, [1, 0, 1]);
        assert!(table_stats().hits > hits);
    }

    #[test]
    fn stay_within_their_bound_under_a_flood_of_keys() {
        let _turn = TURN.lock();
        const BOUND: usize = 3 << 20;
        set_table_cache_bytes(BOUND.min(table_stats().bytes + (2 << 20)).max(table_stats().bytes));
        let bound = BOUND.max(table_stats().bytes);
        let (key, good) = signed(SignLane::Auto);
        let in_use = KeyHandle::import(*key.public());
        assert!(verify(VerifyLane::Auto, KeyRef::Handle(&in_use), b"m", &good));
        assert!(has_table(&in_use));
        for _ in 0..200 {
            let (stranger, signature) = signed(SignLane::Auto);
            for _ in 0..SMALL_AFTER {
                let bytes = stranger.public().as_bytes();
                assert!(verify(VerifyLane::Auto, KeyRef::Bytes(bytes), b"m", &signature));
            }
            assert!(table_stats().bytes <= bound);
            assert!(has_table(&in_use), "the key in use keeps its table");
        }
        set_table_cache_bytes(DEFAULT_CACHE_BYTES);
    }

    #[test]
    fn are_shared_by_whoever_imports_the_same_key() {
        let _turn = TURN.lock();
        let (key, _) = signed(SignLane::Auto);
        let first = KeyHandle::import(*key.public());
        assert!(std::sync::Arc::ptr_eq(&first, &KeyHandle::import(*key.public())));
    }

    #[test]
    fn are_dropped_with_their_keys() {
        let _turn = TURN.lock();
        let (key, good) = signed(SignLane::Auto);
        let before = table_stats().bytes;
        let handle = KeyHandle::import(*key.public());
        assert!(verify(VerifyLane::Auto, KeyRef::Handle(&handle), b"m", &good));
        drop(handle);
        assert!(table_stats().bytes <= before, "no memory stays behind");
    }
}
