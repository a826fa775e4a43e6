use kms_testkit::vectors;

use super::*;
use crate::checkpoint::{Signed, signed_by};
use crate::test_keys::Crates;

const NOTE: &str = "text\n\nmore\n\n\u{2014} a.example/log AQIDBAU=\n\u{2014} b AQIDBAY=\n";

#[test]
fn a_note_prints_as_it_was_parsed() {
    let note = Note::parse(NOTE.as_bytes()).unwrap();
    assert_eq!(note.text, "text\n\nmore\n");
    assert_eq!(note.signatures.len(), 2);
    assert_eq!(
        (note.signatures[0].id, &note.signatures[0].signature[..]),
        ([1, 2, 3, 4], &[5][..])
    );
    assert_eq!(note.to_string(), NOTE);
}

#[test]
fn notes_of_tessera_verify_and_print_the_same() {
    let log = vectors::json("tlog-tessera/log.json");
    let key = NoteKey::parse(log["verifier_key"].as_str().unwrap()).unwrap();
    assert_eq!(key.to_string(), log["verifier_key"].as_str().unwrap());
    let checkpoints = log["checkpoints"].as_array().unwrap();
    assert_eq!(checkpoints.len(), 16);
    for text in checkpoints {
        let text = text.as_str().unwrap();
        let mut note = Note::parse(text.as_bytes()).unwrap();
        assert_eq!(note.to_string(), text);
        assert_eq!(signed_by(&note, &key, &Crates), Signed::Yes(None));
        note.text.insert(0, 'x');
        assert_eq!(signed_by(&note, &key, &Crates), Signed::Invalid);
    }
}

#[test]
fn a_key_id_is_the_one_of_the_specification() {
    // The example of C2SP tlog-checkpoint names this id; tessera's vector checks the computation.
    let note = "x\n\n\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";
    let note = Note::parse(note.as_bytes()).unwrap();
    assert_eq!(note.signatures[0].id, [0x03, 0x3d, 0xe0, 0xae]);
    assert_eq!(note.signatures[0].signature.len(), 64);
}

#[test]
fn anything_else_is_refused() {
    let line = "\u{2014} a AQIDBAU=\n";
    let many = format!("t\n\n{}", line.repeat(33));
    for bad in [
        "",
        "text\n",
        "text\n\n",
        "text\n\n\u{2014} a AQIDBAU=",
        "text\n\u{2014} a AQIDBAU=\n",
        "\n\u{2014} a AQIDBAU=\n",
        "te\rxt\n\n\u{2014} a AQIDBAU=\n",
        "te\txt\n\n\u{2014} a AQIDBAU=\n",
        "text\n\n- a AQIDBAU=\n",
        "text\n\n\u{2014}  AQIDBAU=\n",
        "text\n\n\u{2014} a+b AQIDBAU=\n",
        "text\n\n\u{2014} a\u{a0}b AQIDBAU=\n",
        "text\n\n\u{2014} a AQIDBAU= \n",
        "text\n\n\u{2014} a AQIDBAU\n",
        "text\n\n\u{2014} a AQIDBAV=\n",
        "text\n\n\u{2014} a AQIDBA==\n",
        "text\n\n\u{2014} a AQID\n",
        "text\n\n\u{2014} a AQIDBAU=\n\n",
        "text\n\n\u{2014} a AQIDBAU=\ntext\n",
        &many,
    ] {
        assert!(Note::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    assert!(Note::parse(&[b"t\xff\n\n", line.as_bytes()].concat()).is_err());
    assert!(Note::parse(&vec![b'a'; MAX_NOTE + 1]).is_err());
    assert!(Note::parse(format!("t\n\n{}", line.repeat(32)).as_bytes()).is_ok());
}

#[test]
fn verifier_keys_are_strict() {
    let key = NoteKey::new("a/b", ED25519, &[7; 32]).unwrap();
    let text = key.to_string();
    assert_eq!(NoteKey::parse(&text).unwrap(), key);
    for bad in [text.replace("a/b", "a/c"), text.to_uppercase(), text.replace('+', "-")] {
        assert!(NoteKey::parse(&bad).is_err(), "{bad}");
    }
    assert!(NoteKey::new("a b", ED25519, &[7; 32]).is_err());
    assert!(NoteKey::new("a+b", ED25519, &[7; 32]).is_err());
    assert!(NoteKey::new("a", ED25519, &[7; 31]).is_err());
    assert!(NoteKey::new("a", ML_DSA_44, &[7; 32]).is_err());
    assert!(NoteKey::new("a", 2, &[7; 32]).is_err());
}
