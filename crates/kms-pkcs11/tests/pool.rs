//! Many callers, few sessions, and a token that drops them, hangs, or is away for a while.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test asserts by it, and shows what it said"
)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use kms_core::{ErrorCode, KmsError};
use kms_pkcs11::{Error, Token};
use support::{LONG, holds, kid, until, with_token};

/// Signs on `threads` threads until each did its share; gives the errors.
fn sign_many(token: &Token, public: &[u8; 32], threads: u32, each: u32) -> Vec<Error> {
    let one = |thread: u32| {
        let mut errors = Vec::new();
        for number in 0..each {
            let message = [thread.to_be_bytes(), number.to_be_bytes()].concat();
            match token.sign(&kid(7, 1), &message, LONG) {
                Ok(signature) => assert!(holds(public, &message, &signature)),
                Err(error) => errors.push(error),
            }
        }
        errors
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn ten_thousand_signs_with_idle_sessions_dropped_and_every_seventh_call_failing() {
    with_token(
        "ten_thousand_signs_with_idle_sessions_dropped_and_every_seventh_call_failing",
        |hsm| {
            let mut config = hsm.config();
            config.pool.max_sessions = 16;
            config.pool.keep_alive = Duration::from_millis(20);
            config.pool.idle_close = Duration::from_millis(200);
            let token = Token::open(config).unwrap();
            let public = token.generate_ed25519(&kid(7, 1), LONG).unwrap();
            // Every call of C_Sign counts, the one that asks for the length too. Idle sessions die in between.
            hsm.plan("sessions 16\nidle 3\nC_Sign %7 0x30");
            // A call that fails twice is an error of its caller; everything else is a right signature.
            let errors = sign_many(&token, &public, 32, 313);
            let transient = |error: &Error| {
                let error = KmsError::from(error.clone());
                error.code == ErrorCode::StoreUnavailable && error.retryable
            };
            assert!(errors.iter().all(transient), "{errors:?}");
            hsm.plan("sessions 16");
            until(|| token.health().is_ok());
            assert_eq!(sign_many(&token, &public, 4, 10), []);
            let (stats, report) = (token.stats(), hsm.report());
            assert!(stats.evicted > 100 && stats.retries > 100, "{stats:?}");
            assert!(report.most_open <= 16 && report.shared == 0, "{report:?}");
            // Back to one session once nothing is asked, and to none at the end.
            until(|| hsm.report().open == 1);
            assert!(token.close(LONG));
            assert_eq!((hsm.report().open, token.stats().sessions.stuck), (0, 0));
        },
    );
}

#[test]
fn a_token_with_fewer_sessions_than_configured_is_shared() {
    with_token("a_token_with_fewer_sessions_than_configured_is_shared", |hsm| {
        let token = hsm.open();
        let public = token.generate_ed25519(&kid(7, 1), LONG).unwrap();
        hsm.plan("sessions 3\nC_Sign %2 hang 1");
        assert_eq!(sign_many(&token, &public, 16, 20), []);
        assert!(hsm.report().most_open <= 3, "{:?}", hsm.report());
        assert_eq!(token.stats().trips, 0);
        assert!(token.close(LONG));
    });
}

#[test]
fn a_call_that_hangs_is_left_behind_and_the_others_go_on() {
    with_token("a_call_that_hangs_is_left_behind_and_the_others_go_on", |hsm| {
        let token = hsm.open();
        let public = token.generate_ed25519(&kid(7, 1), LONG).unwrap();
        hsm.plan("C_Sign 1 hang");
        // The plan changes after this returned, so the call cannot have ended by itself.
        let timed_out = token.sign(&kid(7, 1), b"m", Duration::from_millis(50));
        assert_eq!(timed_out, Err(Error::Timeout { begun: true }));
        assert_eq!(KmsError::from(timed_out.unwrap_err()).code, ErrorCode::Timeout);
        assert_eq!(token.stats().sessions.stuck, 1);
        assert_eq!(sign_many(&token, &public, 4, 10), []);
        // It is inside the module: closing does not wait for it, nor finalise under it.
        assert!(!token.close(Duration::from_millis(50)));
        assert_eq!(hsm.report().finalized, 0);
        hsm.plan("");
        until(|| hsm.report().finalized == 1);
        assert_eq!(hsm.report().finalized_inside, 0);
        let again = hsm.open();
        assert_eq!(sign_many(&again, &public, 2, 2), []);
        assert!(again.close(LONG));
    });
}

#[test]
fn when_every_session_hangs_calls_fail_at_once_and_go_on_when_one_returns() {
    with_token("when_every_session_hangs_calls_fail_at_once_and_go_on_when_one_returns", |hsm| {
        let mut config = hsm.config();
        config.pool.max_sessions = 2;
        let token = Token::open(config).unwrap();
        let public = token.generate_ed25519(&kid(7, 1), LONG).unwrap();
        hsm.plan("C_SignInit 1.. hang");
        let short = Duration::from_millis(50);
        for _ in 0..2 {
            let hung = token.sign(&kid(7, 1), b"m", short);
            assert_eq!(hung, Err(Error::Timeout { begun: true }));
        }
        for _ in 0..100 {
            let error = token.sign(&kid(7, 1), b"m", LONG).unwrap_err();
            assert!(matches!(error, Error::AllStuck { .. }) && token.health().is_err());
            assert!(KmsError::from(error).retry_after_ms.is_some());
        }
        hsm.plan("");
        until(|| token.health().is_ok());
        assert_eq!(sign_many(&token, &public, 4, 4), []);
        assert!(hsm.report().most_open <= 2);
        assert!(token.close(LONG));
    });
}

#[test]
fn a_hang_in_each_function_of_a_connection_is_contained() {
    with_token("a_hang_in_each_function_of_a_connection_is_contained", |hsm| {
        let token = hsm.open();
        let public = token.generate_ed25519(&kid(7, 1), LONG).unwrap();
        let functions = ["C_OpenSession", "C_GetSessionInfo", "C_Login", "C_FindObjectsInit"];
        for function in functions {
            hsm.plan(&format!("C_SignInit 1 drop\n{function} 1 hang"));
            let hung = token.sign(&kid(7, 1), b"m", Duration::from_millis(100));
            assert!(matches!(hung, Err(Error::Timeout { .. })), "{function}: {hung:?}");
            hsm.plan("");
            until(|| token.health().is_ok());
            assert_eq!(sign_many(&token, &public, 4, 4), [], "{function}");
        }
        assert!(token.close(LONG));
        // To open one that hangs is as bounded.
        hsm.plan("C_Initialize 1 hang");
        let mut config = hsm.config();
        config.deadlines.open = Duration::from_millis(50);
        assert_eq!(Token::open(config).err(), Some(Error::Timeout { begun: true }));
        hsm.plan("");
        let token = hsm.open();
        assert_eq!(sign_many(&token, &public, 1, 1), []);
        assert!(token.close(LONG));
    });
}

/// Signs on four threads while `away` takes the token away and brings it back, some times over.
fn away_and_back(hsm: &support::Hsm, rounds: u32, away: impl Fn()) -> Token {
    let token = hsm.open();
    let public = token.generate_ed25519(&kid(7, 1), LONG).unwrap();
    let (stop, signed) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    match token.sign(&kid(7, 1), b"m", LONG) {
                        Ok(signature) => {
                            assert!(holds(&public, b"m", &signature));
                            signed.fetch_add(1, Relaxed);
                        }
                        Err(error) => {
                            let error = KmsError::from(error);
                            let named = (error.code, error.retryable);
                            assert_eq!(named, (ErrorCode::StoreUnavailable, true), "{error}");
                            std::thread::sleep(Duration::from_micros(100));
                        }
                    }
                }
            });
        }
        for _ in 0..rounds {
            away();
            until(|| token.health().is_err());
            // At once, and with the time of the next attempt: the token is not asked.
            let (before, error) = (hsm.report().logins, token.health().unwrap_err());
            assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
            assert!(KmsError::from(error).retry_after_ms.is_some());
            hsm.plan("");
            until(|| token.health().is_ok());
            let from = signed.load(Relaxed);
            until(|| signed.load(Relaxed) > from + 5);
            assert!(hsm.report().logins - before <= 8, "logins are shared");
        }
        stop.store(true, Relaxed);
    });
    token
}

#[test]
fn a_token_that_goes_away_under_load_comes_back_by_itself() {
    with_token("a_token_that_goes_away_under_load_comes_back_by_itself", |hsm| {
        let token = away_and_back(hsm, 20, || hsm.plan("gone"));
        let stats = token.stats();
        assert!(stats.trips >= 20 && stats.reconnects >= 20, "{stats:?}");
        assert!(token.close(LONG));
        assert_eq!((hsm.report().shared, hsm.report().finalized_inside), (0, 0));
    });
}

#[test]
fn a_module_that_wants_a_fresh_start_gets_one() {
    with_token("a_module_that_wants_a_fresh_start_gets_one", |hsm| {
        let token = hsm.open();
        let public = token.generate_ed25519(&kid(7, 1), LONG).unwrap();
        for round in 1..=5 {
            hsm.plan("restart 0x30");
            until(|| token.sign(&kid(7, 1), b"m", LONG).is_ok());
            until(|| token.health().is_ok());
            assert!(hsm.report().finalized >= round);
            assert_eq!(sign_many(&token, &public, 4, 4), []);
        }
        assert!(token.close(LONG));
        assert_eq!((hsm.report().shared, hsm.report().finalized_inside), (0, 0));
    });
}

#[test]
fn an_idle_token_notices_by_itself_that_it_is_gone_and_back() {
    with_token("an_idle_token_notices_by_itself_that_it_is_gone_and_back", |hsm| {
        let mut config = hsm.config();
        config.pool.keep_alive = Duration::from_millis(10);
        let token = Token::open(config).unwrap();
        hsm.plan("gone");
        until(|| token.health().is_err());
        hsm.plan("");
        until(|| token.health().is_ok());
        assert!(token.close(LONG));
    });
}

#[test]
fn more_callers_than_may_wait_are_refused_before_work() {
    with_token("more_callers_than_may_wait_are_refused_before_work", |hsm| {
        let mut config = hsm.config();
        (config.pool.max_sessions, config.pool.queue) = (1, 2);
        let token = Token::open(config).unwrap();
        let public = token.generate_ed25519(&kid(7, 1), LONG).unwrap();
        hsm.plan("C_Sign 1 hang");
        std::thread::scope(|scope| {
            for waiting in 0..3 {
                scope.spawn(|| assert!(token.sign(&kid(7, 1), b"m", LONG).is_ok()));
                until(|| {
                    let stats = token.stats();
                    stats.queued == waiting && stats.sessions.busy == 1
                });
            }
            let error = token.sign(&kid(7, 1), b"m", LONG).unwrap_err();
            assert_eq!(error, Error::QueueFull);
            assert_eq!(KmsError::from(error).code, ErrorCode::Backpressure);
            hsm.plan("");
        });
        assert_eq!(sign_many(&token, &public, 1, 1), []);
        assert!(token.close(LONG));
    });
}
