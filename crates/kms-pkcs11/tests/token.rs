//! A token without faults.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test asserts by it, and shows what it said"
)]

mod support;

use std::time::Duration;

use kms_core::custody::RootKey;
use kms_core::signer::Signer;
use kms_core::{Algorithm, ErrorCode, KmsError, OsEntropy, Secret, SecretBytes};
use kms_pkcs11::{Error, HsmRootKey, OVERHEAD, Token};
use support::{LABEL, LONG, PIN, fault_module, holds, init_token, key, kid, with_token};
use uuid::Uuid;

#[test]
fn keys_sign_and_are_found_again_after_a_restart() {
    with_token("keys_sign_and_are_found_again_after_a_restart", |hsm| {
        let token = hsm.open();
        assert!(token.capabilities().ed25519 && token.capabilities().aes_gcm);
        let first = token.generate_ed25519(&kid(7, 1), LONG).unwrap();
        let second = token.generate_ed25519(&kid(7, 2), LONG).unwrap();
        let other = token.generate_ed25519(&kid(8, 1), LONG).unwrap();
        assert_eq!(token.generate_ed25519(&kid(7, 2), LONG), Err(Error::KeyExists));
        for message in [&b""[..], b"m", &[7; 65_536]] {
            let old = token.sign(&kid(7, 1), message, LONG).unwrap();
            let new = token.sign(&kid(7, 2), message, LONG).unwrap();
            assert!(holds(&first, message, &old) && holds(&second, message, &new));
            assert!(!holds(&first, message, &new) && !holds(&other, message, &old));
        }
        let before = token.sign(&kid(7, 1), b"before", LONG).unwrap();
        assert!(token.close(LONG));
        assert_eq!(token.sign(&kid(7, 1), b"m", LONG), Err(Error::Closed));
        let report = hsm.report();
        assert_eq!((report.open, report.logins, report.finalized), (0, 1, 1));

        let token = hsm.open();
        let found = token.find_versions(&key(7), LONG).unwrap();
        let found: Vec<_> = found.iter().map(|it| (it.version.get(), it.public)).collect();
        assert_eq!(found, [(1, first), (2, second)]);
        assert_eq!(token.find_versions(&key(9), LONG).unwrap(), []);
        assert_eq!(token.sign(&kid(9, 1), b"m", LONG), Err(Error::NoSuchKey));
        assert_eq!(token.sign(&kid(7, 1), b"before", LONG).unwrap(), before);
        token.destroy(&kid(7, 1), LONG).unwrap();
        token.destroy(&kid(7, 1), LONG).unwrap();
        assert_eq!(token.sign(&kid(7, 1), b"m", LONG), Err(Error::NoSuchKey));
        assert_eq!(token.find_versions(&key(7), LONG).unwrap().len(), 1);
        assert!(token.close(LONG));
    });
}

#[test]
fn a_key_of_the_services_own_signs_and_is_no_version_of_any_key() {
    with_token("a_key_of_the_services_own_signs_and_is_no_version_of_any_key", |hsm| {
        let (token, name) = (hsm.open(), Uuid::from_u128(7));
        assert_eq!(token.find_device_key(&name, LONG), Ok(None));
        assert_eq!(token.sign_by_device_key(&name, b"m", LONG), Err(Error::NoSuchKey));
        let public = token.generate_device_key(&name, LONG).unwrap();
        assert_eq!(token.generate_device_key(&name, LONG), Err(Error::KeyExists));
        assert!(token.close(LONG));
        let token = hsm.open();
        assert_eq!(token.find_device_key(&name, LONG), Ok(Some(public)));
        let signature = token.sign_by_device_key(&name, b"m", LONG).unwrap();
        assert!(holds(&public, b"m", &signature));
        let evidence = token.device_key_evidence(&name, LONG).unwrap();
        assert!(evidence.complete, "{evidence:?}");
        assert_eq!(evidence.class, "pkcs11-softhsmv2");
        assert_eq!(token.list_versions(LONG), Ok(vec![]));
        // The same UUID is not the same key.
        assert_eq!(token.sign(&kid(7, 1), b"m", LONG), Err(Error::NoSuchKey));
        let listed = hsm.pkcs11_tool(&["--list-objects", "--type", "privkey"]);
        assert!(
            listed.contains("sensitive, always sensitive, never extractable, local"),
            "{listed}"
        );
        assert!(listed.contains(&format!("ron-kms/device-key/{name}")), "{listed}");
        token.destroy_device_key(&name, LONG).unwrap();
        assert_eq!(token.find_device_key(&name, LONG), Ok(None));
        assert!(token.close(LONG));
    });
}

#[test]
fn evidence_says_what_another_tool_sees() {
    with_token("evidence_says_what_another_tool_sees", |hsm| {
        let token = hsm.open();
        token.generate_ed25519(&kid(7, 1), LONG).unwrap();
        let evidence = token.evidence(&kid(7, 1), LONG).unwrap();
        assert!(evidence.is_complete() && evidence.require().is_ok(), "{evidence:?}");
        assert_eq!(evidence.class, "pkcs11-softhsmv2");
        assert_eq!(evidence.identity.sealed_class(), "pkcs11-softhsmv2-sealed");
        assert_eq!((&*evidence.identity.label, evidence.identity.serial.len()), (LABEL, 16));
        let mut less = evidence.clone();
        less.never_extractable = None;
        assert_eq!(less.require().unwrap_err().code, ErrorCode::AttestationMissing);
        let said = Signer::attester(&token).unwrap();
        let said = said.attest(&kid(7, 1), Algorithm::Ed25519, LONG).unwrap();
        assert!(said.complete && said.facts.contains(&("cka_local", "true".to_owned())));

        let listed = hsm.pkcs11_tool(&["--list-objects", "--type", "privkey"]);
        assert!(
            listed.contains("sensitive, always sensitive, never extractable, local"),
            "{listed}"
        );
        assert!(listed.contains(&key(7).to_string()), "{listed}");
        assert!(token.close(LONG));
    });
}

#[test]
fn a_second_object_with_the_id_of_a_key_stops_that_key_and_no_other() {
    with_token("a_second_object_with_the_id_of_a_key_stops_that_key_and_no_other", |hsm| {
        let token = hsm.open();
        let public = token.generate_ed25519(&kid(7, 1), LONG).unwrap();
        token.generate_ed25519(&kid(8, 1), LONG).unwrap();
        // As another user of the token could.
        let id = format!("{:032x}{:08x}", 8, 1);
        let label = key(8).to_string();
        let made =
            ["--keypairgen", "--key-type", "EC:edwards25519", "--id", &id, "--label", &label];
        hsm.pkcs11_tool(&made);
        assert!(token.close(LONG));
        let token = hsm.open();
        for _ in 0..20 {
            assert_eq!(token.sign(&kid(8, 1), b"m", LONG), Err(Error::TwoKeys));
        }
        assert_eq!(token.find_versions(&key(8), LONG), Err(Error::TwoKeys));
        assert_eq!(token.generate_ed25519(&kid(8, 1), LONG), Err(Error::KeyExists));
        assert_eq!((token.health(), token.stats().trips), (Ok(()), 0));
        let signature = token.sign(&kid(7, 1), b"m", LONG).unwrap();
        assert!(holds(&public, b"m", &signature));
        assert!(token.close(LONG));
    });
}

#[test]
fn a_wrong_pin_is_tried_once_in_the_life_of_the_process() {
    with_token("a_wrong_pin_is_tried_once_in_the_life_of_the_process", |hsm| {
        let with_pin = |pin: &str| {
            let mut config = hsm.config();
            config.pin = SecretBytes::copy_of(pin.as_bytes());
            Token::open(config)
        };
        for _ in 0..5 {
            let Err(error @ Error::PinRefused { .. }) = with_pin("4321") else { panic!() };
            let error = KmsError::from(error);
            assert_eq!((error.code, error.retryable), (ErrorCode::StoreUnavailable, false));
            assert!(error.message.starts_with("C_Login returned CKR_PIN_INCORRECT"));
            assert!(!error.message.contains("4321"));
        }
        assert_eq!(hsm.report().logins, 1);
        let token = with_pin(PIN).unwrap();
        assert_eq!(
            with_pin("4321").err().map(|it| matches!(it, Error::PinRefused { .. })),
            Some(true)
        );
        assert_eq!(with_pin("9999").err(), Some(Error::OtherPin));
        assert_eq!(hsm.report().logins, 2);
        token.generate_ed25519(&kid(7, 1), LONG).unwrap();
        assert!(token.close(LONG));
    });
}

#[test]
fn tokens_are_found_by_label_and_none_is_guessed() {
    with_token("tokens_are_found_by_label_and_none_is_guessed", |hsm| {
        init_token(&hsm.conf(), "another");
        init_token(&hsm.conf(), "twice");
        init_token(&hsm.conf(), "twice");
        let labelled = |label: &str| {
            let mut config = hsm.config();
            config.token_label = label.to_owned();
            Token::open(config)
        };
        assert_eq!(labelled("nobody").err(), Some(Error::NoToken));
        assert_eq!(labelled("twice").err(), Some(Error::TwoTokens));
        // Two tokens of one module share its life, and nothing else.
        let (one, another) = (labelled(LABEL).unwrap(), labelled("another").unwrap());
        one.generate_ed25519(&kid(7, 1), LONG).unwrap();
        assert_eq!(another.sign(&kid(7, 1), b"m", LONG), Err(Error::NoSuchKey));
        assert!(one.close(LONG));
        another.generate_ed25519(&kid(7, 1), LONG).unwrap();
        another.sign(&kid(7, 1), b"m", LONG).unwrap();
        assert!(another.close(LONG));
        assert_eq!((hsm.report().finalized_inside, hsm.report().open), (0, 0));
    });
}

#[test]
fn what_is_no_module_is_refused() {
    with_token("what_is_no_module_is_refused", |hsm| {
        let at = |path: &std::path::Path| {
            let mut config = hsm.config();
            config.module = path.to_owned();
            Token::open(config).err()
        };
        let garbage = hsm.dir().join("garbage.so");
        std::fs::write(&garbage, b"\x7fELF").unwrap();
        assert_eq!(at(&hsm.dir().join("none.so")), Some(Error::Module { why: "is not there" }));
        assert_eq!(at(&garbage), Some(Error::Module { why: "cannot be loaded" }));
        assert_ne!(fault_module(), hsm.module());
    });
}

#[test]
fn what_was_sealed_opens_under_the_same_key_and_context_only() {
    with_token("what_was_sealed_opens_under_the_same_key_and_context_only", |hsm| {
        let token = hsm.open();
        let (own, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for key in [own, other] {
            token.generate_wrapping_key(&key, LONG).unwrap();
        }
        assert_eq!(token.generate_wrapping_key(&own, LONG), Err(Error::KeyExists));
        let seal = |key, secret: &[u8]| {
            token.wrap(&key, &SecretBytes::copy_of(secret), b"here", &OsEntropy, LONG)
        };
        for len in [1, 32, 4096, 8192] {
            let secret = vec![9; len];
            let sealed = seal(own, &secret).unwrap();
            assert_eq!(sealed.len(), len + OVERHEAD);
            assert_ne!(sealed, seal(own, &secret).unwrap(), "nothing repeats");
            assert_eq!(token.unwrap(&sealed, b"here", LONG).unwrap().expose(), secret);
        }
        assert!(seal(own, b"").is_err() && seal(own, &[0; 8193]).is_err());
        let sealed = seal(own, &[7; 32]).unwrap();
        let refused = |sealed: &[u8], context: &[u8]| token.unwrap(sealed, context, LONG).err();
        assert_eq!(refused(&sealed, b"there"), Some(Error::NotOpened));
        for len in 0..sealed.len() {
            assert_eq!(refused(&sealed[..len], b"here"), Some(Error::NotOpened), "{len} bytes");
        }
        let mut bad = sealed.clone();
        for bit in 0..8 * sealed.len() {
            bad[bit / 8] ^= 1 << (bit % 8);
            let error = refused(&bad, b"here");
            let unknown_key = (8..8 * 17).contains(&bit);
            let expected = if unknown_key { Error::NoSuchKey } else { Error::NotOpened };
            assert_eq!(error, Some(expected), "bit {bit}");
            bad[bit / 8] ^= 1 << (bit % 8);
        }
        bad[1..17].copy_from_slice(other.as_bytes());
        assert_eq!(refused(&bad, b"here"), Some(Error::NotOpened));
        assert_eq!(token.stats().trips, 0, "damage is not the token's fault");
        assert_eq!(token.health(), Ok(()));
        assert!(token.close(LONG));
    });
}

#[test]
fn a_root_key_in_the_token_seals_and_opens_what_it_is_bound_to() {
    with_token("a_root_key_in_the_token_seals_and_opens_what_it_is_bound_to", |hsm| {
        let token = hsm.open();
        let key = Uuid::from_u128(1);
        token.generate_wrapping_key(&key, LONG).unwrap();
        let root = HsmRootKey::new(token.clone(), key, LONG);
        let secret = Secret::take(&mut [7; 32]);
        let sealed = root.seal(&secret, b"here", &OsEntropy).unwrap();
        assert_eq!(root.unseal(&sealed, b"here").unwrap().expose(), secret.expose());
        let error = root.unseal(&sealed, b"there").err().unwrap();
        assert_eq!((error.code, error.retryable), (ErrorCode::StoreUnavailable, false));
        hsm.plan("gone");
        let error = root.unseal(&sealed, b"here").err().unwrap();
        assert_eq!((error.code, error.retryable), (ErrorCode::StoreUnavailable, true));
        hsm.plan("");
        support::until(|| token.health().is_ok());
        assert_eq!(root.unseal(&sealed, b"here").unwrap().expose(), secret.expose());
        assert!(token.close(LONG));
    });
}

#[cfg(unix)]
#[test]
fn a_forked_child_gets_an_error_and_leaves_the_parents_sessions_alone() {
    with_token("a_forked_child_gets_an_error_and_leaves_the_parents_sessions_alone", |hsm| {
        let token = hsm.open();
        let public = token.generate_ed25519(&kid(7, 1), LONG).unwrap();
        let code = kms_testkit::fork::in_child(|| {
            let signed = token.sign(&kid(7, 1), b"m", LONG).map_err(KmsError::from);
            let opened = Token::open(hsm.config()).map_err(KmsError::from);
            let typed =
                |error: &KmsError| error.code == ErrorCode::StoreUnavailable && !error.retryable;
            let good = signed.as_ref().err().is_some_and(typed)
                && opened.as_ref().err().is_some_and(typed)
                && !token.close(Duration::from_millis(1));
            drop(token.clone());
            u8::from(good)
        });
        assert_eq!(code, 1);
        let signature = token.sign(&kid(7, 1), b"m", LONG).unwrap();
        assert!(holds(&public, b"m", &signature));
        assert_eq!(hsm.report().finalized, 0);
        assert!(token.close(LONG));
    });
}
