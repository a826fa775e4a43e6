//! One verdict an item, the same in every way to ask for it.

use proptest::prelude::*;

use super::support::{KID, NOW, Signer, base64url, batch, claims, policy, verdict, with};
use crate::{Now, Outcome, Policy, Verifier};

/// One of each reason, and passports that are taken, by the first letter of a seed.
fn any_item(signer: &Signer, stranger: &Signer, choice: u8) -> (String, &'static str) {
    let good = claims("{}");
    let text = String::from_utf8_lossy(&good).into_owned();
    let header = format!(r#"{{"alg":"EdDSA","kid":"{KID}","typ":"JWT"}}"#);
    match choice % 14 {
        0 => (stranger.envelope(KID, &good), "verify_failed"),
        1 => (signer.envelope("no/such/kid", &good), "unknown_kid"),
        2 => (signer.envelope(KID, &claims(r#"{"exp":1799999000}"#)), "expired"),
        3 => (signer.envelope(KID, &claims(r#"{"nbf":1800000300}"#)), "nbf"),
        4 => (with(&signer.envelope(KID, &good), r#""audience":"x""#), "bad_aud"),
        5 => (with(&signer.envelope(KID, &good), r#""scopes":["x"]"#), "scope_denied"),
        6 => (signer.envelope(KID, format!(" {text}").as_bytes()), "malformed"),
        7 => (signer.envelope(KID, &good[..good.len() - 1]), "malformed"),
        8 => (signer.envelope(KID, &good).replace("Ed25519", "HS256"), "malformed"),
        9 => (signer.token(&header, &text), "ok"),
        10 => (signer.token(&header, &format!(" {} ", text.replace(':', " : "))), "ok"),
        11 => (stranger.token(&header, &text), "verify_failed"),
        _ => (signer.envelope(KID, &good), "ok"),
    }
}

#[test]
fn a_batch_of_one_of_each() {
    let (signer, stranger) = (Signer::new(1), Signer::new(2));
    let verifier = signer.verifier(policy());
    let items: Vec<_> = (0..14).map(|choice| any_item(&signer, &stranger, choice)).collect();
    let requests: Vec<&str> = items.iter().map(|(request, _)| &**request).collect();
    let expected: Vec<&str> = items.iter().map(|(_, verdict)| *verdict).collect();
    assert_eq!(batch(&verifier, &requests), expected);
    for (request, expected) in &items {
        assert_eq!(verdict(&verifier, request), *expected, "{request}");
    }
}

#[test]
fn what_is_no_passport_spoils_nothing_beside_it() {
    let signer = Signer::new(1);
    let verifier = signer.verifier(policy());
    let good = signer.envelope(KID, &claims("{}"));
    let odd = [
        "1",
        "null",
        "[]",
        "{}",
        r#""text""#,
        r#"{"alg":"Ed25519"}"#,
        r#"{"token":1}"#,
        r#"{"token":"a.b"}"#,
        r#"{"token":"a.b.c.d"}"#,
        r#"{"token":"....."}"#,
        r#"{"token":""}"#,
    ];
    let dup = good.replace(r#"{"alg""#, r#"{"kid":"x","alg""#);
    let unknown = with(&good, r#""extra":1"#);
    let both = with(&good, r#""token":"a.b.c""#);
    let mut requests = vec![&*good, &*dup, &*unknown, &*both];
    requests.extend(odd);
    requests.push(&good);
    let verdicts = batch(&verifier, &requests);
    assert_eq!(verdicts.first().map(String::as_str), Some("ok"));
    assert_eq!(verdicts.last().map(String::as_str), Some("ok"));
    for (request, answer) in requests.iter().zip(&verdicts).skip(1).take(requests.len() - 2) {
        assert_eq!(answer, "malformed", "{request}");
        assert_eq!(verdict(&verifier, request), "BadRequest", "{request}");
    }
}

#[test]
fn a_body_that_is_no_array_of_json_is_refused_whole() {
    let verifier = Signer::new(1).verifier(policy());
    let bodies =
        ["", "{}", "[", "[{]", "[{\"a\":1,}]", "[1] 2", "\u{feff}[]", "[\"\\ud800\"]", "[1e400]"];
    for body in bodies {
        let error = verifier.verify_batch(body.as_bytes(), Now::at(NOW), false).expect_err(body);
        assert_eq!(error.code.name(), "BadRequest", "{body}");
    }
    let empty = verifier.verify_batch(b" [ ] ", Now::at(NOW), false);
    assert_eq!(empty, Ok(Outcome::Answer(b"[]".to_vec())));
}

#[test]
fn bounds_items_and_payloads() {
    let signer = Signer::new(1);
    let verifier = signer.verifier(Policy { max_batch: 2, max_msg_bytes: 400, ..policy() });
    let too_many = verifier.verify_batch(b"[1,2,3]", Now::at(NOW), false).expect_err("refused");
    assert_eq!(too_many.code.name(), "TooLarge");
    let long = signer.envelope(KID, &claims(&format!(r#"{{"x":"{}"}}"#, "y".repeat(400))));
    assert_eq!(verdict(&verifier, &long), "TooLarge");
    assert_eq!(batch(&verifier, &[&long]), ["malformed"]);
}

#[test]
fn asks_for_kids_of_its_own_key_before_it_decides() {
    let signer = Signer::new(1);
    let own = "passport/issuer/ed25519/0b2e7c1e-0000-4000-8000-000000000001#v";
    let verifier = Verifier::new(Policy { own_key: own.to_owned(), ..policy() }, None);
    let ours = signer.envelope(KID, &claims("{}"));
    let other = signer.envelope("a/b/c/d#v1", &claims("{}"));
    let body = format!("[{ours},{other},{ours}]");
    let asked = verifier.verify_batch(body.as_bytes(), Now::at(NOW), true);
    assert_eq!(asked, Ok(Outcome::Unknown(vec![KID.to_owned()])));
    assert_eq!(verifier.counters().snapshot().reasons.iter().sum::<u64>(), 0);
    assert_eq!(batch(&verifier, &[&ours, &other]), ["unknown_kid", "unknown_kid"]);
    verifier.trust(KID, signer.0.public().as_bytes()).expect("trusted");
    assert_eq!(verdict(&verifier, &ours), "ok");
}

#[test]
fn one_that_asks_for_a_kid_holds_up_no_other_that_came_with_it() {
    let signer = Signer::new(1);
    let own = "passport/issuer/ed25519/0b2e7c1e-0000-4000-8000-000000000001#v";
    let verifier = signer.verifier(Policy { own_key: own.to_owned(), ..policy() });
    let good = signer.envelope(KID, &claims("{}"));
    let stranger = good.replacen("#v1", "#v9", 1);
    let bodies = [good.as_bytes(), stranger.as_bytes(), b"{}", good.as_bytes()];
    let answers = verifier.verify_each(&bodies, Now::at(NOW), true);
    assert!(matches!(&answers[0], Ok(Outcome::Answer(json)) if json.starts_with(b"{\"ok\":true")));
    assert_eq!(answers[1], Ok(Outcome::Unknown(vec![format!("{own}9")])));
    assert!(answers[2].is_err());
    assert_eq!(answers[3], answers[0]);
    let counted = verifier.counters().snapshot();
    assert_eq!((counted.ok, counted.reasons.iter().sum::<u64>()), (2, 1));
}

#[test]
fn a_key_that_is_distrusted_verifies_nothing_from_then_on() {
    let signer = Signer::new(1);
    let verifier = signer.verifier(policy());
    let envelope = signer.envelope(KID, &claims("{}"));
    assert_eq!(verdict(&verifier, &envelope), "ok");
    assert!(verifier.distrust(KID));
    assert_eq!(verdict(&verifier, &envelope), "unknown_kid");
    assert!(!verifier.distrust(KID));
}

#[test]
fn counts_what_it_answers() {
    let (signer, stranger) = (Signer::new(1), Signer::new(2));
    let verifier = signer.verifier(policy());
    let good = signer.envelope(KID, &claims("{}"));
    let bad = stranger.envelope(KID, &claims("{}"));
    batch(&verifier, &[&good, &good, &bad]);
    verdict(&verifier, &good);
    let counted = verifier.counters().snapshot();
    assert_eq!((counted.ok, counted.batched, counted.single), (3, 3, 1));
    assert_eq!(counted.reasons[crate::Reason::VerifyFailed as usize], 1);
    assert_eq!(counted.batches[..3], [1, 0, 1]);
}

#[test]
fn a_signature_of_another_length_does_not_verify() {
    let signer = Signer::new(1);
    let verifier = signer.verifier(policy());
    let msg = base64url(claims("{}"));
    for length in [0, 1, 63, 65, 128] {
        let sig = base64url(vec![0; length]);
        let request = format!(r#"{{"alg":"Ed25519","kid":"{KID}","msg":"{msg}","sig":"{sig}"}}"#);
        assert_eq!(verdict(&verifier, &request), "verify_failed", "{length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_way_to_ask_gives_the_same_verdicts(choices in prop::collection::vec(any::<u8>(), 0..40)) {
        let (signer, stranger) = (Signer::new(1), Signer::new(2));
        let verifier = signer.verifier(policy());
        let items: Vec<_> = choices.iter().map(|choice| any_item(&signer, &stranger, *choice)).collect();
        let requests: Vec<&str> = items.iter().map(|(request, _)| &**request).collect();
        let expected: Vec<&str> = items.iter().map(|(_, verdict)| *verdict).collect();
        prop_assert_eq!(batch(&verifier, &requests), expected);
        let bodies: Vec<&[u8]> = requests.iter().map(|request| request.as_bytes()).collect();
        let each = verifier.verify_each(&bodies, Now::at(NOW), false);
        for (request, answer) in requests.iter().zip(each) {
            prop_assert_eq!(verifier.verify_one(request.as_bytes(), Now::at(NOW), false), answer);
        }
    }

    #[test]
    fn a_passport_with_one_byte_changed_is_never_taken(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let signer = Signer::new(1);
        let verifier = signer.verifier(policy());
        let good = signer.envelope(KID, &claims("{}"));
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to && !bytes[at].is_ascii_whitespace());
        bytes[at] = to;
        if let Ok(Outcome::Answer(answer)) = verifier.verify_one(&bytes, Now::at(NOW), false) {
            let refused = answer.starts_with(br#"{"ok":false"#);
            prop_assert!(refused);
        }
    }
}
