//! Nothing is taken twice.

use std::sync::Arc;

use super::support::{KID, NOW, Signer, batch, claims, policy, verdict, verdict_at};
use crate::{Now, Policy, ReplayWindow, Verifier};

fn guarded(signer: &Signer, most: usize) -> (Verifier, Arc<ReplayWindow>) {
    let window = Arc::new(ReplayWindow::new(most));
    let verifier = Verifier::new(policy(), Some(Arc::clone(&window)));
    verifier.trust(KID, signer.0.public().as_bytes()).expect("trusted");
    (verifier, window)
}

#[test]
fn refuses_the_second_time() {
    let signer = Signer::new(1);
    let (verifier, _) = guarded(&signer, 10);
    let envelope = signer.envelope(KID, &claims("{}"));
    assert_eq!(verdict(&verifier, &envelope), "ok");
    assert_eq!(verdict(&verifier, &envelope), "replayed");
    let other = signer.envelope(KID, &claims(r#"{"jti":"j2"}"#));
    assert_eq!(verdict(&verifier, &other), "ok");
}

#[test]
fn refuses_the_second_time_within_one_batch() {
    let signer = Signer::new(1);
    let (verifier, _) = guarded(&signer, 10);
    let envelope = signer.envelope(KID, &claims("{}"));
    assert_eq!(
        batch(&verifier, &[&envelope, &envelope, &envelope]),
        ["ok", "replayed", "replayed"]
    );
}

#[test]
fn refuses_another_passport_with_the_same_nonce_and_records_none_of_it() {
    let signer = Signer::new(1);
    let (verifier, window) = guarded(&signer, 10);
    let first = signer.envelope(KID, &claims(r#"{"nonce":"n"}"#));
    let second = signer.envelope(KID, &claims(r#"{"nonce":"n","jti":"j2"}"#));
    let third = signer.envelope(KID, &claims(r#"{"jti":"j2"}"#));
    assert_eq!(batch(&verifier, &[&first, &second, &third]), ["ok", "replayed", "ok"]);
    assert_eq!(window.len(), 3);
}

#[test]
fn refuses_what_another_verifier_took_that_lets_it_go_sooner() {
    let signer = Signer::new(1);
    let window = Arc::new(ReplayWindow::new(10));
    let [strict, lenient] = [0, 600].map(|clock_skew_s| {
        let policy = Policy { clock_skew_s, ..policy() };
        let verifier = Verifier::new(policy, Some(Arc::clone(&window)));
        verifier.trust(KID, signer.0.public().as_bytes()).expect("trusted");
        verifier
    });
    let envelope = signer.envelope(KID, &claims(&format!(r#"{{"exp":{}}}"#, NOW + 10)));
    assert_eq!(verdict(&strict, &envelope), "ok");
    assert_eq!(verdict_at(&strict, &envelope, Now::at(NOW + 60)), "expired");
    assert_eq!(verdict_at(&lenient, &envelope, Now::at(NOW + 60)), "replayed");
    assert_eq!(verdict_at(&lenient, &envelope, Now::at(NOW + 610)), "expired");
}

#[test]
fn records_nothing_that_failed() {
    let signer = Signer::new(1);
    let (verifier, window) = guarded(&signer, 10);
    let envelope = signer.envelope(KID, &claims("{}"));
    let spoiled = envelope.replace("Ed25519", "ed25519");
    let denied = super::support::with(&envelope, r#""scopes":["nothing"]"#);
    assert_eq!(batch(&verifier, &[&spoiled, &denied]), ["malformed", "scope_denied"]);
    assert!(window.is_empty());
    assert_eq!(verdict(&verifier, &envelope), "ok");
}

#[test]
fn refuses_when_full_and_forgets_only_what_has_expired() {
    let signer = Signer::new(1);
    let (verifier, window) = guarded(&signer, 2);
    let envelope = |id: &str, ttl: u64| {
        let exp = NOW + ttl;
        signer.envelope(KID, &claims(&format!(r#"{{"jti":"{id}","exp":{exp}}}"#)))
    };
    assert_eq!(verdict(&verifier, &envelope("a", 10)), "ok");
    assert_eq!(verdict(&verifier, &envelope("b", 600)), "ok");
    assert_eq!(verdict(&verifier, &envelope("c", 600)), "internal");
    assert_eq!(verdict(&verifier, &envelope("b", 600)), "replayed");
    // Until 10 + 120 seconds the first one would still pass.
    let at = |seconds| verdict_at(&verifier, &envelope("c", 600), Now::at(NOW + seconds));
    assert_eq!(at(129), "internal");
    assert_eq!(at(130), "ok");
    assert_eq!(window.len(), 2);
}

#[test]
fn needs_something_to_remember_it_by() {
    let signer = Signer::new(1);
    let (verifier, _) = guarded(&signer, 10);
    let envelope = signer.envelope(KID, &claims(r#"{"jti":null}"#));
    assert_eq!(verdict(&verifier, &envelope), "malformed");
}

#[test]
fn takes_a_passport_once_on_many_threads() {
    let signer = Signer::new(1);
    let (verifier, _) = guarded(&signer, 1000);
    let envelopes: Vec<String> =
        (0..50).map(|i| signer.envelope(KID, &claims(&format!(r#"{{"jti":"{i}"}}"#)))).collect();
    let taken: usize = std::thread::scope(|scope| {
        let verify = || {
            let verdicts = envelopes.iter().map(|envelope| verdict(&verifier, envelope));
            verdicts.filter(|verdict| verdict == "ok").count()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(verify)).collect();
        threads.into_iter().map(|thread| thread.join().expect("joined")).sum()
    });
    assert_eq!(taken, 50);
}
