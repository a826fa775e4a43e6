//! Capabilities that are minted within others.

use std::sync::Arc;

use kms_core::{ErrorCode, Rights, Scopes};

use super::{NOW, Set, set, set_with};
use crate::Ceilings;
use crate::mint::{Minted, Wish};

fn minter(set: &Set, more: &[&str]) -> Arc<Rights> {
    let exp = format!("exp = {}", NOW + 7 * 86_400);
    let usual = ["scope = kms:admin,kms:sign,kms:read", "tenant = core,acme", &exp];
    let token = set.mint(&[&usual[..], more].concat());
    let admitted = set.verifier.admit(&token, Some("10.0.0.1".parse().unwrap()), Scopes::ADMIN);
    Arc::clone(&admitted.unwrap().grant.rights)
}

fn mint(
    set: &Set,
    rights: &Rights,
    caveats: &[&str],
    ttl_s: Option<u64>,
) -> kms_core::Result<Minted> {
    let caveats = caveats.iter().map(|it| (*it).to_owned()).collect();
    set.verifier.mint_within(rights, &Wish { name: "child".into(), caveats, ttl_s })
}

fn refusal(refused: kms_core::Result<Minted>) -> (ErrorCode, Option<String>) {
    let error = refused.err().expect("it was minted");
    (error.code, error.field.map(std::borrow::Cow::into_owned))
}

#[test]
fn a_minted_capability_stays_within_its_minter() {
    let set = set();
    let rights = minter(&set, &["kid = core/audit", "ip = 10.0.0.0/8"]);
    let minted = mint(&set, &rights, &["scope = kms:sign", "tenant = core"], Some(60)).unwrap();
    let from =
        |peer: &str| set.verifier.admit(&minted.token, Some(peer.parse().unwrap()), Scopes::SIGN);
    assert!(from("11.0.0.1").is_err());
    let grant = from("10.0.0.1").unwrap().grant;
    assert_eq!(grant.rights.scopes, Scopes::SIGN);
    assert_eq!(grant.rights.tenants.only(), Some("core"));
    assert_eq!(grant.rights.kids.len(), 1);
    assert_eq!(grant.exp(), NOW + 60);
    assert_eq!(grant.rights.ids.len(), 2);
    assert_eq!(grant.rights.ids[1], rights.ids[0]);
    assert!(grant.identifier.ends_with(":child"));
    assert!(minted.grant.rights.caveats.iter().any(|it| **it == *"kid = core/audit"));
}

#[test]
fn what_the_minter_has_not_is_refused_where_it_is_named() {
    let set = set();
    let rights = minter(&set, &[]);
    let refused = |caveats: &[&str]| refusal(mint(&set, &rights, caveats, None));
    let at = |i: usize| (ErrorCode::NoCapability, Some(format!("caveats[{i}]")));
    assert_eq!(refused(&["scope = kms:sign,kms:destroy"]), at(0));
    assert_eq!(refused(&["scope = kms:sign", "tenant = other"]), at(1));
    assert_eq!(refused(&["tenant = *"]), at(0));
    let none = (ErrorCode::NoCapability, Some("caveats".to_owned()));
    assert_eq!(refused(&["tenant = core", "tenant = acme"]), none);
    assert_eq!(refused(&["scope = kms:sign", "scope = kms:read"]), none);
    assert_eq!(refused(&["exp = 5"]), none);
    let bad = (ErrorCode::BadRequest, Some("caveats[1]".to_owned()));
    assert_eq!(refused(&["scope = kms:sign", "nonsense"]), bad);
}

#[test]
fn only_an_admin_mints_and_not_one_with_a_rate_or_a_payload() {
    let set = set();
    let mut rights = (*minter(&set, &[])).clone();
    rights.scopes = Scopes::SIGN;
    assert_eq!(refusal(mint(&set, &rights, &[], None)).1.as_deref(), Some("scope"));
    let limited = minter(&set, &["rps = 100"]);
    assert_eq!(refusal(mint(&set, &limited, &[], None)).0, ErrorCode::NoCapability);
    let payload = format!("payload_b3 = {}", "00".repeat(32));
    let limited = minter(&set, &[&payload]);
    assert_eq!(refusal(mint(&set, &limited, &[], None)).1.as_deref(), Some("payload_b3"));
}

#[test]
fn generations_end() {
    let set = set();
    let mut rights = minter(&set, &[]);
    for _ in 0..3 {
        rights = mint(&set, &rights, &[], None).unwrap().grant.rights;
    }
    assert_eq!(rights.ids.len(), 4);
    assert_eq!(refusal(mint(&set, &rights, &[], None)).0, ErrorCode::NoCapability);
}

#[test]
fn lives_as_long_as_the_service_allows_and_the_minter_does() {
    let ceilings = Ceilings { max_life_s: 3600, ..Ceilings::default() };
    let set = set_with(|config| config.ceilings = ceilings);
    let rights = minter(&set, &[]);
    assert_eq!(mint(&set, &rights, &[], None).unwrap().grant.exp(), NOW + 3600);
    let long = format!("exp = {}", NOW + 9000);
    assert_eq!(mint(&set, &rights, &[&long], None).unwrap().grant.exp(), NOW + 3600);
    for ttl_s in [0, 3601] {
        assert_eq!(refusal(mint(&set, &rights, &[], Some(ttl_s))).1.as_deref(), Some("ttl_s"));
    }
    let soon = minter(&set, &[&format!("exp = {}", NOW + 10)]);
    assert_eq!(mint(&set, &soon, &[], Some(3600)).unwrap().grant.exp(), NOW + 10);
}

#[test]
fn ceilings_hold_for_each_tenant() {
    let ceilings = Ceilings { per_minute: 2, ..Ceilings::default() };
    let set = set_with(|config| config.ceilings = ceilings);
    let rights = minter(&set, &[]);
    let core = || mint(&set, &rights, &["tenant = core"], None);
    assert!(core().is_ok() && core().is_ok());
    let refused = core().err().unwrap();
    assert_eq!((refused.code, refused.retryable), (ErrorCode::Backpressure, true));
    assert!(mint(&set, &rights, &["tenant = acme"], None).is_ok());
    set.clock.advance_ms(60_000);
    assert!(core().is_ok());
}

#[test]
fn more_than_fits_a_token_is_too_large() {
    let set = set();
    let rights = minter(&set, &[]);
    let many: Vec<String> = (0..62).map(|n| format!("purpose = p{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(refusal(mint(&set, &rights, &many, None)).0, ErrorCode::TooLarge);
}
