//! What opens and what does not; the known answers are in `own_vectors`.

use kms_core::{ErrorCode, OsEntropy, Secret};
use kms_testkit::cases;

use super::*;
use crate::hpke::Kem;

const KID: &str = "t/kem/x25519/3c9d2a10-8e4f-4b6a-a1c2-d3e4f5061728#v1";

fn key(kem: Kem) -> (PrivateKey, Secret<32>) {
    let seed = Secret::<64>::random(&OsEntropy).unwrap();
    let seed = &seed.expose()[..kem.seed_len()];
    (PrivateKey::from_seed(kem, Lane::Auto, seed).unwrap(), psk(seed).unwrap())
}

fn sealed(key: &PrivateKey, psk: Option<&Secret<32>>, data_key: &[u8]) -> Vec<u8> {
    seal(Lane::Auto, key.public(), Aead::default(), KID, psk, data_key, &OsEntropy).unwrap()
}

/// The error of an envelope that must not open.
fn fault(key: &PrivateKey, kid: &str, psk: Option<&Secret<32>>, envelope: &[u8]) -> KmsError {
    open(key, Aead::default(), kid, psk, envelope).err().expect("it does not open")
}

#[test]
fn data_keys_of_every_length_come_back() {
    for kem in Kem::ALL {
        let (key, psk) = key(kem);
        for psk in [None, Some(&psk)] {
            for len in [1, 16, 24, 32, 64, 255, MAX_DATA_KEY_LEN] {
                let data_key = vec![7; len];
                let envelope = sealed(&key, psk, &data_key);
                let opened = open(&key, Aead::default(), KID, psk, &envelope).unwrap();
                assert_eq!(opened.expose(), data_key);
                let parsed = Envelope::parse(&envelope).unwrap();
                assert_eq!((parsed.kid, parsed.kem), (KID, kem));
                assert_eq!(parsed.mode, if psk.is_some() { Mode::Psk } else { Mode::Base });
                let parts = [parsed.header, parsed.enc, parsed.ciphertext].concat();
                assert_eq!(parts, envelope);
            }
        }
    }
}

#[test]
fn every_failure_to_open_is_the_same_error() {
    let (key_of, psk_of) = key(Kem::XWing);
    let (stranger, strangers_psk) = key(Kem::XWing);
    let envelope = sealed(&key_of, Some(&psk_of), &[1; 32]);
    let open_to_all = sealed(&key_of, None, &[1; 32]);
    let mut spoilt = envelope.clone();
    *spoilt.last_mut().unwrap() ^= 1;
    let faults = [
        fault(&stranger, KID, Some(&psk_of), &envelope),
        fault(&key_of, KID, Some(&strangers_psk), &envelope),
        fault(&key_of, KID, None, &envelope),
        fault(&key_of, KID, Some(&psk_of), &open_to_all),
        fault(&key_of, "another", Some(&psk_of), &envelope),
        fault(&key_of, KID, Some(&psk_of), &spoilt),
        fault(&key_of, KID, Some(&psk_of), b""),
        fault(&key(Kem::X25519).0, KID, Some(&psk_of), &envelope),
        open(&key_of, Aead::Aes256Gcm, KID, Some(&psk_of), &envelope).err().unwrap(),
        Envelope::parse(&envelope[..20]).unwrap_err(),
    ];
    for fault in &faults {
        assert_eq!(*fault, faults[0]);
    }
    assert_eq!((faults[0].code, &faults[0].field), (ErrorCode::BadRequest, &None));
}

/// Nobody with the public key alone makes an envelope that opens where a pre-shared key is asked for.
#[test]
fn an_envelope_from_outside_does_not_pass_for_one_of_ours() {
    for kem in Kem::ALL {
        let (key, psk) = key(kem);
        let guessed = Secret::take(&mut [0; 32]);
        for forged in [sealed(&key, Some(&guessed), &[1; 32]), sealed(&key, None, &[1; 32])] {
            fault(&key, KID, Some(&psk), &forged);
        }
    }
}

#[test]
fn faults_of_the_caller_are_named() {
    let (key, _) = key(Kem::X25519);
    let try_seal = |kid: &str, data_key: &[u8]| {
        seal(Lane::Auto, key.public(), Aead::default(), kid, None, data_key, &OsEntropy)
    };
    for data_key in [&[][..], &[0; MAX_DATA_KEY_LEN + 1]] {
        assert_eq!(try_seal(KID, data_key).unwrap_err().field.as_deref(), Some("dataKey"));
    }
    for kid in ["", "a b", "é", &"x".repeat(MAX_KID_LEN + 1)] {
        assert_eq!(try_seal(kid, b"k").unwrap_err().field.as_deref(), Some("kid"));
    }
    assert!(try_seal(&"x".repeat(MAX_KID_LEN), b"k").is_ok());
}

/// Whatever is parsed is the one encoding of what was parsed, and nothing panics.
#[test]
fn the_parser_takes_one_encoding_only() {
    let (key, psk) = key(Kem::X25519);
    let good = sealed(&key, Some(&psk), &[1; 32]);
    cases::run("envelope", |random| {
        let mut bytes = good.clone();
        for _ in 0..1 + random.below(3) {
            match random.below(4) {
                0 => bytes.truncate(random.below(bytes.len() + 1)),
                1 => bytes.extend(random.up_to(40)),
                _ if bytes.is_empty() => {}
                _ => {
                    let at = random.below(bytes.len().min(80));
                    bytes[at] = random.number() as u8;
                }
            }
        }
        let Ok(parsed) = Envelope::parse(&bytes) else { return };
        let header = envelope::header(parsed.kem, parsed.aead, parsed.mode, parsed.kid).unwrap();
        assert_eq!([&header, parsed.enc, parsed.ciphertext].concat(), bytes);
        let opened = open(&key, Aead::default(), KID, Some(&psk), &bytes);
        assert_eq!(opened.is_ok(), bytes == good);
    });
}
