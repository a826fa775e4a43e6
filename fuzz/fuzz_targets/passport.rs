//! Any bytes as a request, a batch, a header and claims: nothing panics, a batch of one gives the verdict of the one, and
//! without the key nothing is ever taken. The first byte chooses.

#![no_main]

use kms_passport::{Now, Outcome, Policy, Verifier, fuzzing};
use libfuzzer_sys::fuzz_target;

/// The key of RFC 8032, section 7.1, test 1.
const KEY: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
    0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];

fn verdicts(request: &[u8]) {
    let policy = Policy {
        clock_skew_s: 120,
        max_msg_bytes: 4096,
        max_batch: 16,
        require_aud: false,
        own_key: "own/".to_owned(),
    };
    let verifier = Verifier::new(policy, None);
    verifier.trust("k", &KEY).expect("a key");
    let now = Now::at(1_800_000_000);
    let one = verifier.verify_one(request, now, false);
    let batch = verifier.verify_batch(&[b"[", request, b"]"].concat(), now, false);
    match (one, batch) {
        (Ok(Outcome::Answer(one)), Ok(Outcome::Answer(batch))) => {
            assert_eq!([b"[", &*one, b"]"].concat(), batch);
            assert!(one.starts_with(br#"{"ok":false"#), "nobody signed this");
        }
        (Ok(_), batch) => panic!("a batch of it is {batch:?}"),
        (Err(_), Ok(Outcome::Answer(batch))) => assert!(!batch.windows(9).any(|it| it == b"\"ok\":true")),
        (Err(_), _) => {}
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    match choice % 4 {
        0 => verdicts(rest),
        1 => {
            let _ = fuzzing::requests(rest);
        }
        2 => {
            let _ = fuzzing::header(rest);
        }
        _ => {
            // What an envelope may say, a JWS may say.
            let (envelope, jws) = fuzzing::claims(rest);
            assert!(!envelope || jws);
        }
    }
});
