//! Known answers of RFC 9180, and what must not open.

use kms_core::{OsEntropy, Secret};
use kms_testkit::entropy::GivenEntropy;
use kms_testkit::vectors;

use super::*;

/// Every KEM, cipher and mode, in every lane.
fn each(mut check: impl FnMut(&PrivateKey, Lane, Setup<'_>)) {
    let psk = Secret::take(&mut [3; 32]);
    for kem in Kem::ALL {
        for &lane in Lane::ALL {
            let seed = Secret::<64>::random(&OsEntropy).unwrap();
            let key = PrivateKey::from_seed(kem, lane, &seed.expose()[..kem.seed_len()]).unwrap();
            for aead in Aead::ALL {
                for psk in [None, Some(Psk { key: &psk, id: b"kid" })] {
                    check(&key, lane, Setup { aead, psk, info: b"info" });
                }
            }
        }
    }
}

#[test]
fn rfc9180_appendix_a_2() {
    for case in vectors::json("rfc9180/a2.json").as_array().expect("cases") {
        let field = |name| vectors::hex_field(case, name);
        let psk = (case["mode"] == 1).then(|| {
            (Secret::take(&mut field("psk").try_into().expect("32 bytes")), field("psk_id"))
        });
        let psk = psk.as_ref().map(|(key, id)| Psk { key, id });
        let info = field("info");
        let setup = Setup { aead: Aead::ChaCha20Poly1305, psk, info: &info };
        assert_eq!(Kem::of_id(case["kem_id"].as_u64().expect("an id") as u16), Some(Kem::X25519));
        assert_eq!(case["kdf_id"], KDF_ID);
        assert_eq!(case["aead_id"], aead_id(setup.aead));
        for &lane in Lane::ALL {
            let key = PrivateKey::from_seed(Kem::X25519, lane, &field("skRm")).unwrap();
            assert_eq!(key.public().to_bytes(), field("pkRm"));
            let entropy = GivenEntropy::new(&field("skEm"));
            let sealed =
                setup.seal(lane, key.public(), &field("aad"), &field("pt"), &entropy).unwrap();
            assert_eq!(sealed.enc, field("enc"));
            assert_eq!(sealed.ciphertext, field("ct"));
            let opened = setup.open(&key, &field("enc"), &field("aad"), &field("ct"));
            assert_eq!(opened.expect("it opens").expose(), field("pt"));
        }
    }
}

#[test]
fn draft_ietf_hpke_pq() {
    for case in vectors::json("hpke-pq/vectors.json").as_array().expect("cases") {
        let field = |name| vectors::hex_field(case, name);
        let kem = Kem::of_id(case["kem_id"].as_u64().expect("an id") as u16).expect("a KEM");
        for &lane in Lane::ALL {
            let key = PrivateKey::from_seed(kem, lane, &field("skRm")).unwrap();
            let given = || GivenEntropy::new(&field("ikmE"));
            let (enc, shared) = key.public().encapsulate(lane, &given()).unwrap();
            assert_eq!(shared.expose()[..], field("shared_secret"));
            assert_eq!(key.decapsulate(&enc).unwrap().expose(), shared.expose());
            // AES-128-GCM is not offered.
            if case["aead_id"] == aead_id(Aead::ChaCha20Poly1305) {
                let info = field("info");
                let setup = Setup { aead: Aead::ChaCha20Poly1305, psk: None, info: &info };
                let keys = schedule::keys(kem, &setup, &shared);
                assert_eq!(keys.key.expose()[..], field("key"));
                assert_eq!(keys.base_nonce[..], field("base_nonce"));
                let (aad, pt) = (field("aad"), field("pt"));
                let sealed = setup.seal(lane, key.public(), &aad, &pt, &given()).unwrap();
                assert_eq!((&sealed.enc, &sealed.ciphertext), (&enc, &field("ct")));
                let opened = setup.open(&key, &enc, &aad, &field("ct"));
                assert_eq!(opened.expect("it opens").expose(), pt);
            }
        }
    }
}

#[test]
fn what_is_sealed_opens_in_every_suite_and_lane() {
    each(|key, lane, setup| {
        let sealed = setup.seal(lane, key.public(), b"aad", b"message", &OsEntropy).unwrap();
        assert_eq!(sealed.enc.len(), key.kem().enc_len());
        let opened = setup.open(key, &sealed.enc, b"aad", &sealed.ciphertext);
        assert_eq!(opened.expect("it opens").expose(), b"message");
    });
}

#[test]
fn a_key_whose_halves_are_apart_opens_the_same() {
    for &lane in Lane::ALL {
        let x25519_seed = Secret::<32>::random(&OsEntropy).unwrap();
        let ml_kem_seed = Secret::<64>::random(&OsEntropy).unwrap();
        let point = crate::x25519::public_key(lane.into(), &x25519_seed);
        let set = crate::ml_kem::Set::MlKem768;
        let ml_kem = PrivateKey::from_seed(Kem::MlKem(set), lane, ml_kem_seed.expose()).unwrap();
        let joined = [&ml_kem.public().to_bytes()[..], &point].concat();
        let joined = PublicKey::from_bytes(Kem::XWing, &joined).unwrap();
        for (public, ml_kem) in [(PublicKey::X25519(point), None), (joined, Some(&ml_kem))] {
            let (enc, shared) = public.encapsulate(lane, &OsEntropy).unwrap();
            let with = agreed_with(public.kem(), &enc).unwrap();
            let agreed = crate::x25519::diffie_hellman(lane.into(), &x25519_seed, &with).unwrap();
            let apart = Apart { public: &public, ml_kem, agreed: &agreed };
            assert_eq!(apart.decapsulate(&enc).unwrap().expose(), shared.expose());
            assert!(apart.decapsulate(&enc[1..]).is_none());
            let mut small = enc.clone();
            let at = small.len() - 32;
            small[at..].fill(0);
            assert!(agreed_with(public.kem(), &small).is_none());
            assert!(apart.decapsulate(&small).is_none());
        }
        // RFC 9180, appendix A.2: what a token would agree on gives the RFC's secret.
        let case = &vectors::json("rfc9180/a2.json")[0];
        let field = |name| vectors::hex_field(case, name);
        let secret = |name| Secret::take(&mut field(name).try_into().expect("32 bytes"));
        let with = agreed_with(Kem::X25519, &field("enc")).unwrap();
        let agreed = crate::x25519::diffie_hellman(lane.into(), &secret("skRm"), &with).unwrap();
        let public = PublicKey::from_bytes(Kem::X25519, &field("pkRm")).unwrap();
        let apart = Apart { public: &public, ml_kem: None, agreed: &agreed };
        assert_eq!(apart.decapsulate(&field("enc")).unwrap().expose()[..], field("shared_secret"));
    }
}

#[test]
fn what_differs_in_anything_does_not_open() {
    let other_psk = Secret::take(&mut [4; 32]);
    each(|key, lane, setup| {
        let sealed = setup.seal(lane, key.public(), b"aad", b"message", &OsEntropy).unwrap();
        let opens = |setup: Setup<'_>, enc: &[u8], aad: &[u8], ciphertext: &[u8]| {
            setup.open(key, enc, aad, ciphertext).is_some()
        };
        let (enc, ciphertext) = (&sealed.enc, &sealed.ciphertext);
        assert!(!opens(setup, enc, b"other", ciphertext));
        assert!(!opens(Setup { info: b"other", ..setup }, enc, b"aad", ciphertext));
        let aead = Aead::ALL.into_iter().find(|aead| *aead != setup.aead).unwrap();
        assert!(!opens(Setup { aead, ..setup }, enc, b"aad", ciphertext));
        for psk in [None, Some(Psk { key: &other_psk, id: b"kid" })] {
            if psk.is_some() || setup.psk.is_some() {
                assert!(!opens(Setup { psk, ..setup }, enc, b"aad", ciphertext));
            }
        }
        if let Some(psk) = setup.psk {
            let psk = Some(Psk { id: b"another", ..psk });
            assert!(!opens(Setup { psk, ..setup }, enc, b"aad", ciphertext));
        }
        assert!(!opens(setup, &enc[1..], b"aad", ciphertext));
        assert!(!opens(setup, &vec![0; enc.len()], b"aad", ciphertext));
        let mut spoilt = enc.clone();
        spoilt[7] ^= 1;
        assert!(!opens(setup, &spoilt, b"aad", ciphertext));
        let mut spoilt = ciphertext.clone();
        spoilt[0] ^= 1;
        assert!(!opens(setup, enc, b"aad", &spoilt));
        assert!(!opens(setup, enc, b"aad", &ciphertext[..15]));
    });
}

#[test]
fn faults_of_the_caller_are_named() {
    let psk = Secret::take(&mut [3; 32]);
    for kem in Kem::ALL {
        assert_eq!(Kem::parse(kem.name()), Ok(kem));
        let error = PrivateKey::from_seed(kem, Lane::Auto, &[1; 31]).err().expect("a fault");
        assert_eq!(error.field.as_deref(), Some("seed"));
        let error = PublicKey::from_bytes(kem, &[1; 31]).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("publicKey"));
        let key = PrivateKey::from_seed(kem, Lane::Auto, &vec![1; kem.seed_len()]).unwrap();
        let encoded = key.public().to_bytes();
        assert_eq!(encoded.len(), kem.public_key_len());
        assert_eq!(PublicKey::from_bytes(kem, &encoded).as_ref(), Ok(key.public()));
        let setup = Setup { psk: Some(Psk { key: &psk, id: b"" }), ..Setup::default() };
        let error = setup.seal(Lane::Auto, key.public(), b"", b"", &OsEntropy).err();
        assert_eq!(error.expect("a fault").field.as_deref(), Some("pskId"));
    }
    assert_eq!(Kem::parse("rsa").unwrap_err().field.as_deref(), Some("kem"));
    assert_eq!(Kem::of_id(0x0010), None);
}
