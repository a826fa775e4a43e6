//! X25519 keys in a token, in the words of SoftHSM and in those of the standard.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test asserts by it, and shows what it said"
)]

mod support;

use kms_core::{ErrorCode, KmsError, OsEntropy};
use kms_crypto::x25519;
use kms_pkcs11::{Error, Token};
use support::{Hsm, LONG, kem_kid, kid, until, with_token};

/// Makes a key, agrees with it, and finds it again.
fn agrees(hsm: &Hsm) {
    let token = hsm.open();
    assert_eq!(token.capabilities().x25519, Some(true));
    assert!(token.capabilities().to_string().contains(" x25519 yes;"));
    let first = token.generate_x25519(&kem_kid(7, 1), LONG).unwrap();
    let second = token.generate_x25519(&kem_kid(7, 2), LONG).unwrap();
    assert_eq!(token.generate_x25519(&kem_kid(7, 2), LONG), Err(Error::KeyExists));
    assert!(token.generate_x25519(&kid(9, 1), LONG).is_err(), "the kid is of another algorithm");
    let check = |token: &Token| {
        for (version, public) in [(1, first), (2, second)] {
            let own = x25519::generate(&OsEntropy).unwrap();
            let mut peer = x25519::public_key(x25519::Lane::Auto, &own);
            let expected = x25519::diffie_hellman(x25519::Lane::Auto, &own, &public).unwrap();
            let agreed = token.agree(&kem_kid(7, version), &peer, LONG).unwrap();
            assert_eq!(agreed.expose(), expected.expose());
            // The top bit means nothing.
            peer[31] |= 0x80;
            let agreed = token.agree(&kem_kid(7, version), &peer, LONG).unwrap();
            assert_eq!(agreed.expose(), expected.expose());
        }
    };
    check(&token);
    let evidence = token.evidence(&kem_kid(7, 1), LONG).unwrap();
    assert!(evidence.is_complete(), "{evidence:?}");
    assert!(token.close(LONG));

    let token = hsm.open();
    let found = token.find_versions(&kem_kid(7, 1).key, LONG).unwrap();
    let found: Vec<_> = found.iter().map(|it| (it.version.get(), it.public)).collect();
    assert_eq!(found, [(1, first), (2, second)]);
    check(&token);
    token.destroy(&kem_kid(7, 1), LONG).unwrap();
    assert_eq!(token.agree(&kem_kid(7, 1), &second, LONG).err(), Some(Error::NoSuchKey));
    assert!(token.close(LONG));
    let listed = hsm.pkcs11_tool(&["--list-objects"]);
    assert!(!listed.contains("Secret Key Object"), "{listed}");
    assert_eq!(listed.matches("never extractable, local").count(), 1, "{listed}");
}

#[test]
fn keys_agree_in_the_words_of_softhsm() {
    with_token("keys_agree_in_the_words_of_softhsm", agrees);
}

#[test]
fn keys_agree_in_the_words_of_the_standard() {
    with_token("keys_agree_in_the_words_of_the_standard", |hsm| {
        hsm.plan("montgomery");
        agrees(hsm);
    });
}

#[test]
fn what_a_token_offers_is_tried_before_it_is_believed() {
    with_token("what_a_token_offers_is_tried_before_it_is_believed", |hsm| {
        hsm.plan("no-x25519");
        let token = hsm.open();
        assert_eq!(token.capabilities().x25519, Some(false));
        let refused = token.generate_x25519(&kem_kid(7, 1), LONG);
        assert_eq!(refused, Err(Error::Unsupported { what: "X25519" }));
        assert_eq!(token.makes_x25519(LONG), Ok(false));
        token.generate_ed25519(&kid(7, 1), LONG).unwrap();
        assert!(token.close(LONG));
    });
}

#[test]
fn what_could_not_be_tried_at_the_start_is_tried_when_it_is_needed() {
    with_token("what_could_not_be_tried_at_the_start_is_tried_when_it_is_needed", |hsm| {
        hsm.plan("C_DeriveKey 1.. 0x30");
        let token = hsm.open();
        assert_eq!(token.capabilities().x25519, None);
        // Not known is not no: nobody is told to keep the key elsewhere.
        let error = KmsError::from(token.makes_x25519(LONG).unwrap_err());
        assert_eq!((error.code, error.retryable), (ErrorCode::StoreUnavailable, true));
        hsm.plan("");
        until(|| token.health().is_ok());
        assert_eq!(token.makes_x25519(LONG), Ok(true));
        token.generate_x25519(&kem_kid(7, 1), LONG).unwrap();
        assert!(token.close(LONG));
    });
}

#[test]
fn a_shared_secret_that_cannot_be_destroyed_is_not_given() {
    with_token("a_shared_secret_that_cannot_be_destroyed_is_not_given", |hsm| {
        let token = hsm.open();
        let public = token.generate_x25519(&kem_kid(7, 1), LONG).unwrap();
        let before = token.stats().evicted;
        hsm.plan("C_DestroyObject 1.. 0x6");
        let error = token.agree(&kem_kid(7, 1), &public, LONG).err().unwrap();
        assert!(matches!(error, Error::Call { function: "C_DestroyObject", .. }), "{error}");
        // It ends with its session.
        assert!(token.stats().evicted > before);
        hsm.plan("");
        until(|| token.agree(&kem_kid(7, 1), &public, LONG).is_ok());
        assert!(token.close(LONG));
    });
}

#[test]
fn what_a_token_refuses_of_a_key_in_use_is_tried_again_and_takes_no_other_key_down() {
    with_token(
        "what_a_token_refuses_of_a_key_in_use_is_tried_again_and_takes_no_other_key_down",
        |hsm| {
            let token = hsm.open();
            let public = token.generate_ed25519(&kid(7, 1), LONG).unwrap();
            // CKR_KEY_FUNCTION_NOT_PERMITTED, KEY_TYPE_INCONSISTENT, MECHANISM_INVALID.
            for code in ["0x68", "0x63", "0x70"] {
                hsm.plan(&format!("C_SignInit 1 {code}"));
                let signature = token.sign(&kid(7, 1), b"m", LONG).unwrap();
                assert!(support::holds(&public, b"m", &signature));
                hsm.plan(&format!("C_SignInit 1.. {code}"));
                for _ in 0..20 {
                    let error = KmsError::from(token.sign(&kid(7, 1), b"m", LONG).unwrap_err());
                    assert_eq!((error.code, error.retryable), (ErrorCode::StoreUnavailable, true));
                    assert!(error.message.starts_with("C_SignInit returned CKR_"), "{error}");
                }
                assert_eq!((token.health(), token.stats().trips), (Ok(()), 0));
                hsm.plan("");
            }
            assert!(token.close(LONG));
        },
    );
}
