use super::*;
use crate::test_keys::{Crates, Ed25519, MlDsa};

const ORIGIN: &str = "ron-kms/eu-1";

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: ORIGIN.into(), size: 42, root: [7; 32] }
}

#[test]
fn a_checkpoint_prints_as_it_was_parsed() {
    let text = checkpoint().to_string();
    assert_eq!(text, "ron-kms/eu-1\n42\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n");
    assert_eq!(Checkpoint::parse(&text).unwrap(), checkpoint());
    for bad in [
        text.replace("42", "042"),
        text.replace("42", "+42"),
        text.replace("42", ""),
        text.replace("42", "18446744073709551616"),
        text.replace("BwcH", "Bwc"),
        text.replace("c=", "d="),
        text.trim_end().to_owned(),
        format!("{text}extension\n"),
        format!("\n{text}"),
        String::new(),
    ] {
        assert!(Checkpoint::parse(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn an_origin_begins_where_no_api_signs() {
    for good in ["ron-kms/a", "ron-kms/svc-passport/eu-1", "ron-kms/A.b_c"] {
        assert_eq!(Origin::parse(good).unwrap().as_str(), good);
    }
    let long = format!("ron-kms/{}", "a".repeat(248));
    for bad in [
        "ron-kms",
        "ron-kms/",
        "x/ron-kms/a",
        "RON-KMS/a",
        "ron-kms//a",
        "ron-kms/a/",
        "ron-kms/a b",
        "ron-kms/a+b",
        "ron-kms/a\n",
        &long,
    ] {
        assert!(Origin::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn both_signatures_of_a_hybrid_log_verify_alone() {
    let (classical, pq) = (Ed25519::new(ORIGIN, 1), MlDsa::new(ORIGIN, 2));
    let note = checkpoint().sign(&[&classical, &pq], 1_764_000_000).unwrap();
    let note = Note::parse(note.to_string().as_bytes()).unwrap();
    assert_eq!(signed_by(&note, classical.key(), &Crates), Signed::Yes(None));
    assert_eq!(signed_by(&note, pq.key(), &Crates), Signed::Yes(Some(1_764_000_000)));
    assert_eq!(signed_by(&note, Ed25519::new(ORIGIN, 3).key(), &Crates), Signed::No);
    for line in 0..2 {
        let len = note.signatures[line].signature.len();
        for byte in (0..len).step_by(97).chain([0, len - 1]) {
            let mut forged = note.clone();
            forged.signatures[line].signature[byte] ^= 1;
            let key = if line == 0 { classical.key() } else { pq.key() };
            assert_eq!(signed_by(&forged, key, &Crates), Signed::Invalid, "{line} {byte}");
        }
    }
}

#[test]
fn the_message_of_ml_dsa_has_the_layout_of_c2sp() {
    let message = checkpoint().cosigned_message("w", 5);
    let mut expected = b"subtree/v1\n\0\x01w\0\0\0\0\0\0\0\x05\x0cron-kms/eu-1".to_vec();
    expected.extend([0; 8]);
    expected.extend(42_u64.to_be_bytes());
    expected.extend([7; 32]);
    assert_eq!(message, expected);
}

#[test]
fn cosignatures_of_witnesses_verify_beside_the_log() {
    let log = Ed25519::new(ORIGIN, 1);
    let witness = Ed25519::of_type("witness.example/w1", 2, COSIGNATURE_ED25519);
    let note = checkpoint().sign(&[&log, &witness], 1_679_315_147).unwrap();
    assert_eq!(signed_by(&note, witness.key(), &Crates), Signed::Yes(Some(1_679_315_147)));
    // The bytes that the witness signed, written out.
    let message = format!("cosignature/v1\ntime 1679315147\n{}", checkpoint());
    let signature = &note.signatures[1].signature[8..];
    assert!(verify_raw(witness.key(), message.as_bytes(), signature, &Crates));
    let mut forged = note.clone();
    forged.signatures[1].signature[..8].copy_from_slice(&[0xff; 8]);
    assert_eq!(signed_by(&forged, witness.key(), &Crates), Signed::Invalid);
}

#[test]
fn one_bad_line_of_a_key_spoils_a_good_one() {
    let log = Ed25519::new(ORIGIN, 1);
    let mut note = checkpoint().sign(&[&log, &log], 0).unwrap();
    assert_eq!(signed_by(&note, log.key(), &Crates), Signed::Yes(None));
    note.signatures[1].signature[0] ^= 1;
    assert_eq!(signed_by(&note, log.key(), &Crates), Signed::Invalid);
    note.signatures.reverse();
    assert_eq!(signed_by(&note, log.key(), &Crates), Signed::Invalid);
}
