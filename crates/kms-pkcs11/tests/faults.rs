//! A token that fails: each function, each code, at each of its first calls; and what follows from a failure.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test asserts by it, and shows what it said"
)]

mod support;

use std::time::Duration;

use kms_core::{Entropy, ErrorCode, KmsError, OsEntropy, SecretBytes};
use kms_pkcs11::{Error, Token};
use support::{Hsm, LONG, holds, kem_kid, key, kid, until, with_token};
use uuid::Uuid;

/// Every code of PKCS#11 v3.2 that the bindings name, one of a vendor and one that nobody knows.
const CODES: [u64; 93] = [
    0x01,
    0x02,
    0x03,
    0x05,
    0x06,
    0x07,
    0x08,
    0x09,
    0x0a,
    0x10,
    0x11,
    0x12,
    0x13,
    0x1b,
    0x20,
    0x21,
    0x30,
    0x31,
    0x32,
    0x40,
    0x41,
    0x50,
    0x51,
    0x54,
    0x60,
    0x62,
    0x63,
    0x64,
    0x65,
    0x66,
    0x67,
    0x68,
    0x69,
    0x6a,
    0x70,
    0x71,
    0x82,
    0x90,
    0x91,
    0xa0,
    0xa1,
    0xa2,
    0xa3,
    0xa4,
    0xb0,
    0xb1,
    0xb3,
    0xb4,
    0xb5,
    0xb6,
    0xb7,
    0xb8,
    0xc0,
    0xc1,
    0xd0,
    0xd1,
    0xe0,
    0xe1,
    0xe2,
    0xf0,
    0xf1,
    0xf2,
    0x100,
    0x101,
    0x102,
    0x103,
    0x104,
    0x105,
    0x110,
    0x112,
    0x113,
    0x114,
    0x115,
    0x120,
    0x121,
    0x130,
    0x140,
    0x150,
    0x160,
    0x170,
    0x180,
    0x190,
    0x191,
    0x1a0,
    0x1a1,
    0x1b0,
    0x1b1,
    0x1b5,
    0x1b6,
    0x1b7,
    0x200,
    0x8000_0042,
    0x7fff_fff0,
];

/// What C_Login may say of a PIN: for good.
const PIN_CODES: [u64; 14] =
    [0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xb7, 0xb8, 0x102, 0x103, 0x104, 0x105, 0x1b0, 0x1b1, 0x1b8];

const WRAPPING: Uuid = Uuid::from_u128(1);

/// How often a long test is repeated; `KMS_FAULT_CALLS=5` is the long form.
fn calls() -> u64 {
    std::env::var("KMS_FAULT_CALLS").map_or(2, |it| it.parse().expect("a number"))
}

/// Wrapping keys stay, and slow the token down: only made where that is the question.
const WITHOUT_NEW_WRAPPING: u128 = 100_000;

struct Bench<'a> {
    hsm: &'a Hsm,
    token: Token,
    public: [u8; 32],
    agreeing: [u8; 32],
    sealed: Vec<u8>,
}

/// u = 9: what an X25519 key agrees on with it is its public half.
const BASE_POINT: [u8; 32] = {
    let mut point = [0; 32];
    point[0] = 9;
    point
};

impl Bench<'_> {
    fn new(hsm: &Hsm) -> Bench<'_> {
        let token = hsm.open();
        let public = token.generate_ed25519(&kid(7, 1), LONG).unwrap();
        let agreeing = token.generate_x25519(&kem_kid(77, 1), LONG).unwrap();
        token.generate_wrapping_key(&WRAPPING, LONG).unwrap();
        let secret = SecretBytes::copy_of(b"secret");
        let sealed = token.wrap(&WRAPPING, &secret, b"here", &OsEntropy, LONG).unwrap();
        Bench { hsm, token, public, agreeing, sealed }
    }

    /// Everything that is done with a token. Each is right, or a typed error.
    fn all(&self, number: u128) -> Vec<Error> {
        let (token, mut errors) = (&self.token, Vec::new());
        let mut note = |error: Option<Error>| errors.extend(error);
        match token.sign(&kid(7, 1), b"m", LONG) {
            Ok(signature) => assert!(holds(&self.public, b"m", &signature)),
            error => note(error.err()),
        }
        match token.agree(&kem_kid(77, 1), &BASE_POINT, LONG) {
            Ok(agreed) => assert_eq!(*agreed.expose(), self.agreeing),
            error => note(error.err()),
        }
        match token.find_versions(&key(7), LONG) {
            Ok(found) => assert_eq!((found.len(), found[0].public), (1, self.public)),
            error => note(error.err()),
        }
        match token.evidence(&kid(7, 1), LONG) {
            Ok(evidence) => assert!(evidence.is_complete()),
            error => note(error.err()),
        }
        match token.unwrap(&self.sealed, b"here", LONG) {
            Ok(secret) => assert_eq!(secret.expose(), b"secret"),
            error => note(error.err()),
        }
        let secret = SecretBytes::copy_of(b"other");
        note(token.wrap(&WRAPPING, &secret, b"", &OsEntropy, LONG).err());
        if number < WITHOUT_NEW_WRAPPING {
            note(token.generate_wrapping_key(&Uuid::from_u128(number), LONG).err());
        }
        match token.generate_ed25519(&kid(number, 1), LONG) {
            Ok(public) => {
                if let Ok(signature) = token.sign(&kid(number, 1), b"m", LONG) {
                    assert!(holds(&public, b"m", &signature));
                }
            }
            error => note(error.err()),
        }
        note(token.destroy(&kid(number, 1), LONG).err());
        errors
    }

    /// The fault is over: the token is well again without any help.
    fn recovers(&self) {
        self.hsm.plan("");
        until(|| self.token.health().is_ok());
        let signature = self.token.sign(&kid(7, 1), b"after", LONG).unwrap();
        assert!(holds(&self.public, b"after", &signature));
    }

    fn end(self) {
        assert!(self.token.close(LONG));
        let report = self.hsm.report();
        assert_eq!((report.shared, report.finalized_inside), (0, 0));
        assert!(report.most_open <= 16, "{report:?}");
    }
}

/// What an error must look like, whatever caused it.
fn check(error: Error, code: u64) {
    let kms = KmsError::from(error.clone());
    let typed = match error {
        // The code by name, or by number where it has none.
        Error::Call { function, code } => {
            assert!(kms.message.starts_with(&format!("{function} returned ")), "{kms}");
            assert!(kms.message.contains(code.next_step), "{kms}");
            true
        }
        Error::Unavailable { .. } => kms.retry_after_ms.is_some(),
        // A half-made key is found, and reported as what it is.
        Error::Malformed { .. } | Error::KeyExists | Error::TwoKeys => true,
        Error::NoSuchKey | Error::NotOpened => true,
        Error::Unsupported { .. } => true,
        _ => false,
    };
    assert!(typed, "{code:#x}: {kms:?}");
    let transient = matches!(
        code,
        0x01 | 0x02 | 0x03 | 0x05 | 0x06 | 0x30
            ..=0x32 | 0x50 | 0xb0 | 0xb1 | 0xb3 | 0xe0 | 0xe1 | 0x101
    );
    if transient && matches!(error, Error::Call { .. }) {
        assert_eq!((kms.code, kms.retryable), (ErrorCode::StoreUnavailable, true), "{kms}");
    }
}

/// For every function that is called while a token is in use. Those of opening a session follow a loss of all.
fn each_code_of(functions: &[&str], hsm: &Hsm, before: &str) {
    let bench = Bench::new(hsm);
    let mut number = WITHOUT_NEW_WRAPPING;
    for function in functions {
        for code in CODES {
            if *function == "C_Login" && PIN_CODES.contains(&code) {
                continue;
            }
            for call in 1..=calls() {
                number += 1;
                hsm.plan(&format!("{before}\n{function} {call} {code:#x}"));
                for error in bench.all(number) {
                    check(error, code);
                }
                bench.recovers();
            }
        }
    }
    bench.end();
}

#[test]
fn each_code_of_each_function_in_use_is_mapped_and_passes() {
    with_token("each_code_of_each_function_in_use_is_mapped_and_passes", |hsm| {
        each_code_of(&["C_SignInit", "C_Sign", "C_FindObjectsInit", "C_FindObjects"], hsm, "");
    });
}

#[test]
fn each_code_of_each_function_on_objects_is_mapped_and_passes() {
    with_token("each_code_of_each_function_on_objects_is_mapped_and_passes", |hsm| {
        let functions = ["C_FindObjectsFinal", "C_GetAttributeValue", "C_GenerateKeyPair"];
        each_code_of(&functions, hsm, "");
        let functions = ["C_GenerateKey", "C_DestroyObject", "C_GetInfo"];
        each_code_of_again(&functions, hsm);
    });
}

/// As [`each_code_of`], on a token that has the keys.
fn each_code_of_again(functions: &[&str], hsm: &Hsm) {
    let token = hsm.open();
    let public = token.find_versions(&key(7), LONG).unwrap()[0].public;
    let secret = SecretBytes::copy_of(b"secret");
    let sealed = token.wrap(&WRAPPING, &secret, b"here", &OsEntropy, LONG).unwrap();
    let agreeing = token.find_versions(&kem_kid(77, 1).key, LONG).unwrap()[0].public;
    let bench = Bench { hsm, token, public, agreeing, sealed };
    let mut number = 10_000;
    for function in functions {
        for code in CODES {
            number += 1;
            hsm.plan(&format!("{function} 1 {code:#x}"));
            for error in bench.all(number) {
                check(error, code);
            }
            bench.recovers();
        }
    }
    bench.end();
}

#[test]
fn each_code_of_each_function_of_sealing_is_mapped_and_passes() {
    with_token("each_code_of_each_function_of_sealing_is_mapped_and_passes", |hsm| {
        each_code_of(&["C_EncryptInit", "C_Encrypt", "C_DecryptInit", "C_Decrypt"], hsm, "");
    });
}

#[test]
fn each_code_of_each_function_of_agreeing_is_mapped_and_passes() {
    with_token("each_code_of_each_function_of_agreeing_is_mapped_and_passes", |hsm| {
        each_code_of(&["C_DeriveKey"], hsm, "");
    });
}

#[test]
fn each_code_of_each_function_of_a_session_is_mapped_and_passes() {
    with_token("each_code_of_each_function_of_a_session_is_mapped_and_passes", |hsm| {
        let functions = ["C_OpenSession", "C_CloseSession", "C_GetSessionInfo", "C_Login"];
        each_code_of(&functions, hsm, "C_SignInit 1 drop");
    });
}

#[test]
fn each_code_while_a_lost_token_is_looked_for_only_delays_it() {
    with_token("each_code_while_a_lost_token_is_looked_for_only_delays_it", |hsm| {
        let bench = Bench::new(hsm);
        let sign = || bench.token.sign(&kid(7, 1), b"m", LONG);
        for function in ["C_GetSlotList", "C_GetTokenInfo", "C_Initialize", "C_Finalize"] {
            for code in CODES {
                // Its module wants a fresh start, or the token was away first.
                if function.ends_with("ize") {
                    hsm.plan(&format!("restart 0x30\n{function} 1 {code:#x}"));
                } else {
                    hsm.plan("gone");
                    until(|| sign().is_err_and(|it| matches!(it, Error::Unavailable { .. })));
                    hsm.plan(&format!("{function} 1 {code:#x}"));
                }
                until(|| match sign() {
                    Ok(signature) => holds(&bench.public, b"m", &signature),
                    Err(error) => {
                        check(error, 0x30);
                        false
                    }
                });
            }
        }
        // A module that refuses C_CloseSession and C_Finalize keeps sessions that nobody can close: there are more
        // than the limit, and none is shared or in use.
        assert!(bench.token.close(LONG));
        let report = hsm.report();
        assert_eq!((report.open, report.shared, report.finalized_inside), (0, 0, 0));
    });
}

#[test]
fn what_the_token_says_of_the_pin_is_final() {
    with_token("what_the_token_says_of_the_pin_is_final", |hsm| {
        // A PIN of its own each: what was refused is refused for the life of the process.
        let token = hsm.open();
        assert!(token.close(LONG));
        let before = hsm.report().logins;
        let mut tried = 0;
        for code in PIN_CODES {
            hsm.plan(&format!("C_Login 1.. {code:#x}"));
            let mut config = hsm.config();
            config.pin = SecretBytes::copy_of(format!("{code:08x}").as_bytes());
            let Err(error @ Error::PinRefused { .. }) = Token::open(config) else {
                panic!("{code:#x}");
            };
            assert!(!KmsError::from(error).retryable);
            tried += 1;
            // After three of them no other is offered.
            assert_eq!(hsm.report().logins - before, tried.min(3));
        }
    });
}

#[test]
fn a_pin_that_is_changed_under_way_is_tried_once() {
    with_token("a_pin_that_is_changed_under_way_is_tried_once", |hsm| {
        let bench = Bench::new(hsm);
        let before = hsm.report().logins;
        hsm.plan("C_SignInit 1 drop\nC_Login 1.. 0xa0");
        let Err(Error::PinRefused { .. }) = bench.token.sign(&kid(7, 1), b"m", LONG) else {
            panic!("not refused")
        };
        for _ in 0..50 {
            let error = bench.token.sign(&kid(7, 1), b"m", LONG).unwrap_err();
            assert!(!KmsError::from(error).retryable);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(hsm.report().logins - before, 1);
        bench.end();
    });
}

/// What a token may answer to a wrong PIN that says nothing of it.
const UNEXPLAINED: [u64; 4] = [0x05, 0x06, 0x30, 0x8000_0042];
const PIN_COUNT_LOW: u64 = 0x1_0000;
const PIN_FINAL_TRY: u64 = 0x2_0000;
const PIN_LOCKED: u64 = 0x4_0000;

fn is_for_good(error: Error) -> String {
    let error = KmsError::from(error);
    assert_eq!((error.code, error.retryable), (ErrorCode::StoreUnavailable, false), "{error}");
    error.message.into_owned()
}

#[test]
fn a_pin_that_fails_without_a_reason_is_offered_twice_in_the_life_of_the_process() {
    let name = "a_pin_that_fails_without_a_reason_is_offered_twice_in_the_life_of_the_process";
    with_token(name, |hsm| {
        let fails = |code: u64| {
            hsm.plan(&format!("C_Login 1.. {code:#x}"));
            Token::open(hsm.config()).err().unwrap()
        };
        let [first, .., last] = &UNEXPLAINED.map(fails)[..] else { panic!() };
        assert!(matches!(first, Error::Call { function: "C_Login", .. }), "{first}");
        let message = is_for_good(last.clone());
        assert!(message.contains("did not say why C_Login failed, twice"), "{message}");
        assert!(message.contains("check the PIN"), "{message}");
        // The second try was that of the second start, or of the first while it closed.
        assert_eq!(hsm.report().logins, 2);
    });
}

#[test]
fn a_pin_is_not_offered_again_where_the_token_has_counted_it() {
    with_token("a_pin_is_not_offered_again_where_the_token_has_counted_it", |hsm| {
        hsm.plan(&format!("C_Login 1.. 0x30\npin {PIN_COUNT_LOW:#x}"));
        // The first one may be the one that was corrected.
        let error = Token::open(hsm.config()).err().unwrap();
        assert!(matches!(error, Error::Call { function: "C_Login", .. }), "{error}");
        let message = is_for_good(Token::open(hsm.config()).err().unwrap());
        assert!(message.contains("says that few tries are left"), "{message}");
        assert_eq!(hsm.report().logins, 1);
    });
}

#[test]
fn the_last_try_of_a_pin_is_left_to_the_operator() {
    with_token("the_last_try_of_a_pin_is_left_to_the_operator", |hsm| {
        for (flags, says) in [(PIN_FINAL_TRY, "one more wrong PIN"), (PIN_LOCKED, "is locked")] {
            hsm.plan(&format!("pin {flags:#x}"));
            let message = is_for_good(Token::open(hsm.config()).err().unwrap());
            assert!(message.contains(says), "{message}");
        }
        assert_eq!(hsm.report().logins, 0);
        // With the tries given back the same process goes on.
        hsm.plan("");
        assert!(hsm.open().close(LONG));
        assert_eq!(hsm.report().logins, 1);
    });
}

#[test]
fn a_login_that_fails_under_way_without_a_reason_is_made_twice_and_then_waits() {
    let name = "a_login_that_fails_under_way_without_a_reason_is_made_twice_and_then_waits";
    with_token(name, |hsm| {
        let bench = Bench::new(hsm);
        let before = hsm.report().logins;
        hsm.plan("C_SignInit 1 drop\nC_Login 1.. 0x30");
        until(|| {
            let error = bench.token.sign(&kid(7, 1), b"m", LONG).unwrap_err();
            let paused = match &error {
                Error::Unavailable { cause, .. } => cause,
                error => error,
            };
            let paused = matches!(paused, Error::LoginPaused { .. });
            let error = KmsError::from(error);
            assert_eq!((error.code, error.retryable), (ErrorCode::StoreUnavailable, true));
            paused && bench.token.health().is_err()
        });
        // It is looked for meanwhile, without the PIN.
        until(|| bench.token.stats().calls.iter().any(|it| it.function == "C_Finalize"));
        assert_eq!(hsm.report().logins - before, 2);
        assert!(bench.token.close(LONG));
    });
}

#[test]
fn a_call_that_always_fails_is_made_twice_and_no_more() {
    with_token("a_call_that_always_fails_is_made_twice_and_no_more", |hsm| {
        let bench = Bench::new(hsm);
        let signs = || {
            let calls = bench.token.stats().calls;
            calls.iter().find(|it| it.function == "C_Sign").map_or(0, |it| it.calls)
        };
        for code in [0x30, 0x32, 0xb3, 0x60, 0x101, 0x68, 0x70] {
            hsm.plan(&format!("C_Sign 1.. {code:#x}"));
            let before = signs();
            let error = bench.token.sign(&kid(7, 1), b"m", LONG).unwrap_err();
            assert_eq!(signs() - before, 2, "{code:#x}");
            check(error, code);
            bench.recovers();
        }
        // A call that is wrong is made once.
        hsm.plan("C_Sign 1.. 0x7");
        let before = signs();
        let error = KmsError::from(bench.token.sign(&kid(7, 1), b"m", LONG).unwrap_err());
        assert_eq!((error.code, signs() - before), (ErrorCode::Internal, 1));
        bench.recovers();
        bench.end();
    });
}

#[test]
fn a_key_whose_making_failed_after_it_was_made_is_found_and_not_made_twice() {
    with_token("a_key_whose_making_failed_after_it_was_made_is_found_and_not_made_twice", |hsm| {
        let bench = Bench::new(hsm);
        hsm.plan("C_GenerateKeyPair 1 after 0x30");
        let made = bench.token.generate_ed25519(&kid(8, 1), LONG);
        assert!(matches!(made, Err(Error::Call { function: "C_GenerateKeyPair", .. })));
        bench.recovers();
        let [found] = &bench.token.find_versions(&key(8), LONG).unwrap()[..] else { panic!() };
        let signature = bench.token.sign(&kid(8, 1), b"m", LONG).unwrap();
        assert!(holds(&found.public, b"m", &signature));
        assert_eq!(bench.token.generate_ed25519(&kid(8, 1), LONG), Err(Error::KeyExists));
        // Sessions that are lost before it is made do not matter.
        hsm.plan("C_FindObjectsInit 1 drop");
        bench.token.generate_ed25519(&kid(9, 1), LONG).unwrap();
        bench.end();
    });
}

#[test]
fn a_second_try_of_sealing_has_an_iv_of_its_own() {
    with_token("a_second_try_of_sealing_has_an_iv_of_its_own", |hsm| {
        struct Counting(std::sync::atomic::AtomicU8);
        impl Entropy for Counting {
            fn fill(&self, out: &mut [u8]) -> kms_core::Result<()> {
                for byte in out {
                    *byte = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                Ok(())
            }
        }
        let bench = Bench::new(hsm);
        hsm.plan("C_Encrypt 2 after 0x30");
        let (secret, drawn) = (SecretBytes::copy_of(b"m"), Counting(0.into()));
        let sealed = bench.token.wrap(&WRAPPING, &secret, b"", &drawn, LONG).unwrap();
        assert_eq!(sealed[17..29], std::array::from_fn::<u8, 12, _>(|i| i as u8 + 12));
        assert_eq!(bench.token.unwrap(&sealed, b"", LONG).unwrap().expose(), b"m");
        bench.end();
    });
}
