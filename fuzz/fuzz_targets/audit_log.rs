//! Any bytes as a record, a note, a checkpoint and a verifier key: nothing panics, and what is taken has one spelling only,
//! since a leaf hash or a signature is of bytes. The first byte chooses; a record's first two are made to fit.

#![no_main]

use kms_audit::checkpoint::{Checkpoint, signed_by};
use kms_audit::json;
use kms_audit::merkle::leaf_hash;
use kms_audit::note::{Note, NoteKey, NoteVerifier};
use kms_audit::record::{Body, Continuity, Record, VERSION};
use libfuzzer_sys::fuzz_target;

/// Whoever signs: what is done with the bytes on the way there is what is looked at.
struct Anyone;

impl NoteVerifier for Anyone {
    fn ed25519(&self, _: &[u8; 32], _: &[u8], _: &[u8; 64]) -> bool {
        true
    }

    fn ml_dsa_44(&self, _: &[u8; 1312], _: &[u8], _: &[u8; 2420]) -> bool {
        true
    }
}

fn record(bytes: &[u8]) {
    let Ok(record) = Record::decode(bytes) else { return };
    let mut again = Vec::new();
    record.encode(&mut again).expect("what was read can be written");
    assert_eq!(again, bytes, "a record has one spelling");
    assert!(json::record(&record, &leaf_hash(bytes)).is_object());
    if let Body::Continuity(it) = &record.body {
        let said = Continuity::statement(it.from, it.to, &it.from_public, &it.public);
        assert!(said.expect("as the record").starts_with(b"ron-kms/continuity/v1\0"));
    }
    if let Body::Sealing(it) = &record.body {
        assert!(it.statement().expect("as the record").starts_with(b"ron-kms/audit-device/v1\0"));
    }
}

fn note(bytes: &[u8]) {
    let Ok(note) = Note::parse(bytes) else { return };
    assert_eq!(note.to_string().as_bytes(), bytes, "a note has one spelling");
    if let Ok(checkpoint) = Checkpoint::parse(&note.text) {
        assert_eq!(checkpoint.to_string(), note.text, "a checkpoint has one spelling");
        for line in &note.signatures {
            for algorithm in [1, 4, 6] {
                let public = vec![7; if algorithm == 6 { 1312 } else { 32 }];
                if let Ok(key) = NoteKey::new(&line.name, algorithm, &public) {
                    signed_by(&note, &key, &Anyone);
                }
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    match choice % 3 {
        0 => {
            let mut bytes = rest.to_vec();
            if let [version, kind, ..] = &mut bytes[..] {
                *version = VERSION;
                *kind = 1 + *kind % 9;
            }
            record(&bytes);
        }
        1 => note(rest),
        _ => {
            if let Ok(text) = std::str::from_utf8(rest)
                && let Ok(key) = NoteKey::parse(text)
            {
                assert_eq!(key.to_string(), text, "a key has one spelling");
            }
        }
    }
});
