//! Any bytes as an envelope: what parses is cut without loss and in the documented order, and nothing that was not
//! wrapped opens. The first byte says whether the rest begins with a header that fits the key.

#![no_main]

use std::sync::OnceLock;

use kms_core::{OsEntropy, Secret};
use kms_crypto::aead::Aead;
use kms_crypto::hpke::{Kem, PrivateKey};
use kms_crypto::lane::Lane;
use kms_crypto::wrap::{self, Envelope, psk};
use libfuzzer_sys::fuzz_target;

const KID: &str = "t/p/x25519/0b2e7c1e-0000-4000-8000-000000000000#v1";

struct Holder {
    key: PrivateKey,
    psk: Secret<32>,
    sealed: Vec<u8>,
    header_len: usize,
}

fn holder() -> &'static Holder {
    static HOLDER: OnceLock<Holder> = OnceLock::new();
    HOLDER.get_or_init(|| {
        let seed = [7; 32];
        let (key, psk) =
            (PrivateKey::from_seed(Kem::X25519, Lane::Auto, &seed).unwrap(), psk(&seed).unwrap());
        let aead = Aead::default();
        let sealed =
            wrap::seal(Lane::Auto, key.public(), aead, KID, Some(&psk), &[1; 32], &OsEntropy)
                .unwrap();
        let header_len = Envelope::parse(&sealed).unwrap().header.len();
        Holder { key, psk, sealed, header_len }
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let holder = holder();
    let bytes = match choice % 2 {
        0 => rest.to_vec(),
        _ => [&holder.sealed[..holder.header_len], rest].concat(),
    };
    if let Ok(envelope) = Envelope::parse(&bytes) {
        let parts = [envelope.header, envelope.enc, envelope.ciphertext].concat();
        assert_eq!(parts, bytes, "nothing is left out or read twice");
    }
    if bytes != holder.sealed {
        let opened = wrap::open(&holder.key, Aead::default(), KID, Some(&holder.psk), &bytes);
        assert!(opened.is_err(), "forged");
    }
});
