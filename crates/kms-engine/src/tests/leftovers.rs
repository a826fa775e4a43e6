//! What an interrupted change left in a token, and what an older copy of the store takes for that.

use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;

use kms_core::signer::GenerateKeys;
use kms_core::{Algorithm, KeyId, Version};

use super::map_token::{MINUTE, Place, create_as, parsed, rotate, sign_later, until};
use super::*;
use crate::{AttestPolicy, Reconciled};

#[test]
fn a_first_version_that_was_not_committed_is_cleaned_up_and_another_services_key_is_not() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let id = |n| KeyId { uuid: uuid::Uuid::from_u128(n), ..parsed(&kid).key };
    // Made by a process that was killed before it could commit; and by another service.
    let (ours, stranger) = (id(1).at(Version::MIN), id(2).at(Version::MIN));
    engine.note_intent(&ours).unwrap();
    for kid in [&ours, &stranger] {
        place.token.generate(kid, Algorithm::Ed25519, MINUTE).unwrap();
    }
    let (engine, found) = place.reopen(engine);
    let expected = Reconciled { present: 1, cleaned: 1, strangers: 1, ..Reconciled::default() };
    assert_eq!(found, expected);
    let mut left = vec![kid, stranger.to_string()];
    left.sort();
    assert_eq!(place.token.kids(), left);
    // One whose making timed out goes by itself.
    place.token.fails_after_generating.store(true, SeqCst);
    assert_eq!(refusal(create_as(&engine, "ed25519")).0, "Timeout");
    until(|| place.token.kids() == left);
}

#[test]
fn a_version_that_an_interrupted_rotation_left_is_taken_up_unless_it_came_another_way() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let second = parsed(&kid).key.at(Version::new(2).unwrap());
    let left = place.token.generate(&second, Algorithm::Ed25519, MINUTE).unwrap();
    let (engine, found) = place.reopen(engine);
    assert_eq!((found.cleaned, found.strangers), (0, 0));
    place.token.incomplete.store(true, SeqCst);
    assert_eq!(refusal(rotate(&engine, &kid)).0, "Conflict");
    place.token.incomplete.store(false, SeqCst);
    let rotated = rotate(&engine, &kid).unwrap();
    let shown = engine.describe(&Context::library(), &rotated).unwrap().public.tracks();
    assert_eq!(shown, [(Algorithm::Ed25519, left)]);
    assert!(sign_later(&engine, &rotated, b"m").is_ok());
}

#[test]
fn a_version_that_was_left_half_made_is_made_anew() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let second = parsed(&kid).key.at(Version::new(2).unwrap());
    let left = place.token.generate(&second, Algorithm::Ed25519, MINUTE).unwrap();
    place.token.torn.lock().unwrap().push(second);
    let rotated = rotate(&engine, &kid).unwrap();
    let shown = engine.describe(&Context::library(), &rotated).unwrap().public.tracks();
    assert_ne!(shown, [(Algorithm::Ed25519, left)]);
    assert!(sign_later(&engine, &rotated, b"m").is_ok());
}

#[test]
fn a_key_that_is_not_on_the_token_any_more_is_named() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    place.token.keys.lock().unwrap().clear();
    let (engine, found) = place.reopen(engine);
    assert_eq!(
        found.missing.iter().map(Kid::to_string).collect::<Vec<_>>(),
        std::slice::from_ref(&kid)
    );
    assert_eq!(refusal(sign_later(&engine, &kid, b"m")).0, "StoreUnavailable");
}

/// Puts all files of one directory into another one.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(std::result::Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), &to).unwrap()),
        }
    }
}

#[test]
fn no_key_is_destroyed_on_the_word_of_an_older_copy() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    // As a copy has it that is taken between the note and the commit of another key.
    let saved = place.dir.path().join("saved");
    let id = KeyId { uuid: uuid::Uuid::from_u128(1), ..parsed(&kid).key };
    engine.note_intent(&id.at(Version::MIN)).unwrap();
    copy(&place.data(), &saved);
    place.token.generate(&id.at(Version::MIN), Algorithm::Ed25519, MINUTE).unwrap();
    rotate(&engine, &kid).unwrap();
    engine.close();
    drop(engine);
    let on_token = place.token.kids();
    std::fs::remove_dir_all(place.data()).unwrap();
    copy(&saved, &place.data());

    let (engine, overridden) = place.open_with(true);
    // From then on it is the newest.
    let (_engine, after) = place.reopen(engine);
    let expected = Reconciled { present: 1, strangers: 1, ..Reconciled::default() };
    for found in [overridden, after] {
        assert_eq!(found, expected);
    }
    assert_eq!(place.token.kids(), on_token);
}

#[test]
fn without_an_anchor_what_was_left_is_not_destroyed() {
    let place = Place { anchor: None, ..Place::new(AttestPolicy::Never) };
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let left = KeyId { uuid: uuid::Uuid::from_u128(1), ..parsed(&kid).key }.at(Version::MIN);
    engine.note_intent(&left).unwrap();
    place.token.generate(&left, Algorithm::Ed25519, MINUTE).unwrap();
    let (_engine, found) = place.reopen(engine);
    assert_eq!((found.present, found.cleaned, found.strangers), (1, 0, 1));
    assert_eq!(place.token.kids().len(), 2);
}
