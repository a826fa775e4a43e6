//! The list of revoked capabilities.

use std::fs;

use kms_core::Scopes;
use kms_testkit::temp_dir::TempDir;

use super::{NOW, ROOT, Set, config, roots, set, set_with};
use crate::mint::{self, Wish};
use crate::{Refusal, Verifier};

fn id_of(set: &Set, token: &str) -> String {
    set.admit(token).unwrap().grant.rights.ids[0].to_string()
}

#[test]
fn a_revoked_capability_and_all_that_came_of_it_is_refused_within_a_second() {
    let dir = TempDir::new("revoked");
    let list = dir.path().join("revoked");
    fs::write(&list, "").unwrap();
    let set = set_with(|config| config.revocations = Some(list.clone()));
    let (token, other) = (set.usual(&[]), set.usual(&[]));
    let child = mint::attenuate(&token, &["purpose = audit"]).unwrap();
    let granted = set.admit(&child).unwrap().grant;
    assert!(set.admit(&token).is_ok() && set.admit(&other).is_ok());
    fs::write(&list, format!("# lost laptop\n\n{} in the train\n", id_of(&set, &token))).unwrap();
    set.clock.advance_ms(1000);
    assert_eq!(set.refusal(&token), Some(Refusal::Revoked), "it was in the cache");
    assert_eq!(set.refusal(&child), Some(Refusal::Revoked));
    assert_eq!(set.verifier.check_still(&granted), Err(Refusal::Revoked), "it was under way");
    assert_eq!(set.refusal(&other), None);
    fs::write(&list, "").unwrap();
    set.clock.advance_ms(1000);
    assert_eq!(set.refusal(&token), None, "taken off the list");
}

#[test]
fn a_change_within_the_tick_of_a_file_system_is_seen() {
    let dir = TempDir::new("revoked-tick");
    let list = dir.path().join("revoked");
    fs::write(&list, "").unwrap();
    let set = set_with(|config| config.revocations = Some(list.clone()));
    let (one, two) = (set.usual(&[]), set.usual(&[]));
    let (first, second) = (id_of(&set, &one), id_of(&set, &two));
    for id in [&first, &second, &first, &second] {
        // As long as before, in the same inode, and maybe of the same moment.
        fs::write(&list, format!("{id}\n")).unwrap();
        set.clock.advance_ms(1000);
        assert_eq!(set.refusal(&one).is_some(), *id == first);
        assert_eq!(set.refusal(&two).is_some(), *id == second);
    }
}

#[test]
fn nobody_is_let_in_while_the_list_cannot_be_read() {
    let dir = TempDir::new("revoked-gone");
    let list = dir.path().join("revoked");
    fs::write(&list, "").unwrap();
    let set = set_with(|config| config.revocations = Some(list.clone()));
    let token = set.usual(&[]);
    let granted = set.admit(&token).unwrap().grant;
    let after = |content: Option<&[u8]>| {
        let _ = fs::remove_file(&list);
        if let Some(content) = content {
            fs::write(&list, content).unwrap();
        }
        set.clock.advance_ms(1000);
        assert_eq!(set.verifier.check_still(&granted).err(), set.refusal(&token));
        set.refusal(&token)
    };
    assert_eq!(after(None), Some(Refusal::Unavailable));
    assert_eq!(after(Some(b"")), None, "it is back");
    assert_eq!(after(Some(b"not an id\n")), Some(Refusal::Unavailable));
    assert_eq!(after(Some(b"01a3185c-5000-7000-8000-00000000000\n")), Some(Refusal::Unavailable));
    assert_eq!(after(Some(b"01A3185C-5000-7000-8000-000000000000\n")), Some(Refusal::Unavailable));
    assert_eq!(after(Some(&[0xff; 8])), Some(Refusal::Unavailable));
    let long = vec![b'\n'; crate::revocation::MAX_LIST_LEN as usize + 1];
    assert_eq!(after(Some(&long)), Some(Refusal::Unavailable));
    assert_eq!(after(Some(b"01a3185c-5000-7000-8000-000000000000")), None);
    fs::remove_file(&list).unwrap();
    fs::create_dir(&list).unwrap();
    set.clock.advance_ms(1000);
    assert_eq!(set.refusal(&token), Some(Refusal::Unavailable));
}

#[test]
fn a_verifier_does_not_begin_without_its_list() {
    let dir = TempDir::new("revoked-never");
    let set = set();
    let mut config = config(&set.clock);
    config.revocations = Some(dir.path().join("none"));
    let refused = Verifier::new(roots(&[ROOT]), config).err().unwrap();
    assert_eq!(refused.field.as_deref(), Some("capability.revocation_file"));
}

#[test]
fn revoking_a_capability_revokes_what_was_minted_with_it() {
    let dir = TempDir::new("revoked-line");
    let list = dir.path().join("revoked");
    fs::write(&list, "").unwrap();
    let set = set_with(|config| config.revocations = Some(list.clone()));
    let exp = format!("exp = {}", NOW + 3600);
    let minter = set.mint(&["scope = kms:admin,kms:sign", "tenant = core", &exp]);
    let granted = set.admit_for(&minter, Scopes::ADMIN).unwrap().grant;
    let wish = Wish { name: "x".into(), caveats: vec!["scope = kms:sign".into()], ttl_s: None };
    let minted = set.verifier.mint_within(&granted.rights, &wish).unwrap();
    assert!(set.admit(&minted.token).is_ok());
    fs::write(&list, granted.rights.ids[0].to_string()).unwrap();
    set.clock.advance_ms(1000);
    assert_eq!(set.refusal(&minted.token), Some(Refusal::Revoked));
}
