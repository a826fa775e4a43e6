//! Whole capabilities: scope, time, address, rate, root keys.

use std::sync::Arc;

use kms_core::{ErrorCode, OsEntropy, Scopes, SecretBytes};

use super::{NOW, NOW_MS, OTHER, ROOT, roots, set, set_with};
use crate::{MAX_LIFE_MS, Refusal, RootKeys, mint};

#[test]
fn lets_in_by_all_scopes_that_are_needed() {
    let set = set();
    let exp = format!("exp = {}", NOW + 60);
    let both = set.mint(&["scope = kms:wrap,kms:unwrap", "tenant = core", &exp]);
    let needed = Scopes::WRAP.union(Scopes::UNWRAP);
    assert!(set.admit_for(&both, needed).is_ok());
    assert!(set.admit_for(&both, Scopes::WRAP).is_ok());
    assert!(set.admit_for(&both, Scopes::NONE).is_ok());
    let one = mint::attenuate(&both, &["scope = kms:wrap,kms:admin"]).unwrap();
    assert!(set.admit_for(&one, Scopes::WRAP).is_ok());
    assert_eq!(set.admit_for(&one, needed).err(), Some(Refusal::Scope));
    assert_eq!(set.admit_for(&one, Scopes::ADMIN).err(), Some(Refusal::Scope), "never given back");
}

#[test]
fn read_verifies_where_that_is_configured() {
    let (strict, lax) = (set(), set_with(|config| config.read_may_verify = true));
    let exp = format!("exp = {}", NOW + 60);
    for (set, allowed) in [(strict, false), (lax, true)] {
        let token = set.mint(&["scope = kms:read", "tenant = core", &exp]);
        assert_eq!(set.admit_for(&token, Scopes::VERIFY).is_ok(), allowed);
        assert!(set.admit_for(&token, Scopes::SIGN).is_err());
    }
}

#[test]
fn rejects_a_capability_without_scope_tenant_or_exp() {
    let set = set();
    let exp = format!("exp = {}", NOW + 60);
    let all: [&[u8]; 3] = [b"scope = kms:sign", b"tenant = core", exp.as_bytes()];
    assert_eq!(set.refusal(&set.forge(&all)), None);
    for left_out in 0..3 {
        let mut some = all.to_vec();
        some.remove(left_out);
        assert_eq!(set.refusal(&set.forge(&some)), Some(Refusal::Invalid));
    }
    assert_eq!(set.refusal(&set.forge(&[])), Some(Refusal::Invalid));
}

#[test]
fn lives_from_nbf_to_exp_with_the_skew_and_not_a_moment_longer() {
    let set = set();
    let (nbf, exp) = (format!("nbf = {}", NOW + 100), format!("exp = {}", NOW + 200));
    let token = set.mint(&["scope = kms:sign", "tenant = core", &nbf, &exp]);
    let at = |ms: u64| {
        set.clock.advance_ms(ms);
        set.refusal(&token)
    };
    assert_eq!(at(97_999), Some(Refusal::NotYet));
    assert_eq!(at(1), None, "two seconds before, which a clock may be off by");
    assert_eq!(at(103_999), None);
    assert_eq!(at(1), Some(Refusal::Expired));
}

#[test]
fn repeated_times_leave_what_is_common() {
    let set = set();
    let token = set.usual(&[]);
    let shorter = mint::attenuate(&token, &[format!("exp = {}", NOW + 10)]).unwrap();
    let longer = mint::attenuate(&shorter, &[format!("exp = {}", NOW + 9000)]).unwrap();
    assert_eq!(set.refusal(&longer), None);
    set.clock.advance_ms(12_000);
    assert_eq!(set.refusal(&longer), Some(Refusal::Expired));
    assert_eq!(set.refusal(&token), None);
}

#[test]
fn rejects_a_life_of_over_30_days_for_ever() {
    let set = set();
    let days = MAX_LIFE_MS / 1000;
    let life = |seconds: u64| {
        let exp = format!("exp = {}", NOW + seconds);
        set.forge(&[b"scope = kms:sign", b"tenant = core", exp.as_bytes()])
    };
    assert_eq!(set.refusal(&life(days)), None);
    let long = life(days + 1);
    assert_eq!(set.refusal(&long), Some(Refusal::Invalid));
    set.clock.advance_ms(20 * 86_400_000);
    assert_eq!(set.refusal(&long), Some(Refusal::Invalid), "also when less than 30 days are left");
    let exp = format!("exp = {}", NOW + 50 * 86_400 + 1);
    let caveats = ["scope = kms:sign", "tenant = core", exp.as_str()];
    let refused = mint::mint(&set.roots, "x", &caveats, &*set.clock, &OsEntropy).err().unwrap();
    assert_eq!((refused.code, refused.field.as_deref()), (ErrorCode::BadRequest, Some("caveats")));
}

#[test]
fn rejects_what_a_clock_far_ahead_minted() {
    let set = set();
    let ahead = kms_testkit::clock::ManualClock::default();
    ahead.advance_ms(NOW_MS + 40 * 86_400_000);
    let exp = format!("exp = {}", NOW + 41 * 86_400);
    let caveats = ["scope = kms:sign", "tenant = core", exp.as_str()];
    let far = mint::mint(&set.roots, "x", &caveats, &ahead, &OsEntropy).unwrap();
    assert_eq!(set.refusal(&far.token), Some(Refusal::Invalid));
}

#[test]
fn is_for_the_addresses_of_every_list() {
    let set = set();
    let token = set.usual(&["ip = 10.0.0.0/8,127.0.0.1", "ip = 10.1.0.0/16,2001:db8::/32"]);
    let from = |peer: Option<&str>| {
        let peer = peer.map(|peer| peer.parse().unwrap());
        set.verifier.admit(&token, peer, Scopes::SIGN).err()
    };
    assert_eq!(from(Some("10.1.2.3")), None);
    assert_eq!(from(Some("::ffff:10.1.2.3")), None);
    for elsewhere in ["10.2.0.1", "127.0.0.1", "2001:db8::1", "::1"] {
        assert_eq!(from(Some(elsewhere)), Some(Refusal::Address), "{elsewhere}");
    }
    assert_eq!(from(None), Some(Refusal::Address), "who has no address");
}

#[test]
fn a_rate_is_shared_by_all_that_was_attenuated_after_it() {
    let set = set();
    let token = set.usual(&["rps = 3"]);
    let children: Vec<String> = (0..50)
        .map(|n| {
            mint::attenuate(&token, &[format!("purpose = p{n}"), "rps = 1000".into()]).unwrap()
        })
        .collect();
    let admitted = children.iter().filter(|child| set.admit(child).is_ok()).count();
    assert_eq!(admitted, 3);
    assert_eq!(set.refusal(&token), Some(Refusal::Rate));
    set.clock.advance_ms(334);
    assert_eq!(set.refusal(&token), None);
    let other = set.usual(&["rps = 3"]);
    assert_eq!(set.refusal(&other), None, "another capability has its own");
}

#[test]
fn the_ceiling_of_a_service_is_for_each_capability() {
    let set = set_with(|config| config.max_rps = Some(2));
    let token = set.usual(&[]);
    let child = mint::attenuate(&token, &["rps = 1000"]).unwrap();
    assert_eq!(
        [&token, &child, &token].map(|it| set.refusal(it)),
        [None, None, Some(Refusal::Rate)]
    );
}

#[test]
fn refuses_by_the_first_check_that_fails() {
    let set = set();
    let exp = format!("exp = {}", NOW + 1);
    let token = set.mint(&["scope = kms:read", "tenant = core", &exp, "ip = 10.0.0.1", "rps = 1"]);
    set.clock.advance_ms(60_000);
    let refusal = |scopes| set.admit_for(&token, scopes).err();
    assert_eq!(refusal(Scopes::SIGN), Some(Refusal::Scope));
    assert_eq!(refusal(Scopes::READ), Some(Refusal::Expired));
}

#[test]
fn what_older_root_keys_minted_lives_on_until_they_go() {
    let set = set();
    let old = set.usual(&[]);
    assert!(set.admit(&old).is_ok());
    set.verifier.set_roots(roots(&[ROOT, OTHER]));
    assert!(set.admit(&old).is_ok());
    let exp = format!("exp = {}", NOW + 60);
    let caveats = ["scope = kms:sign", "tenant = core", &exp];
    let both = roots(&[ROOT, OTHER]);
    let new = mint::mint(&both, "x", &caveats, &*set.clock, &OsEntropy).unwrap().token;
    assert!(set.admit(&new).is_ok());
    let granted = set.admit(&old).unwrap().grant;
    set.verifier.set_roots(roots(&[OTHER]));
    assert_eq!(set.refusal(&old), Some(Refusal::Invalid), "it was in the cache");
    assert_eq!(set.verifier.check_still(&granted), Err(Refusal::Invalid), "and under way");
    assert!(set.admit(&new).is_ok());
}

#[test]
fn root_keys_are_lines_of_hex_each_once() {
    let parse = |text: &str| RootKeys::parse(&SecretBytes::copy_of(text.as_bytes()));
    assert_eq!(parse(&format!("{ROOT}\n{OTHER}\n")).unwrap().names().len(), 2);
    assert_eq!(parse(&format!("{ROOT}\r\n{OTHER}")).unwrap().names().len(), 2);
    let sixteen: Vec<String> = (0..16).map(|n| format!("{n:064x}")).collect();
    assert_eq!(parse(&sixteen.join("\n")).unwrap().names().len(), 16);
    let bad = [
        String::new(),
        "\n".into(),
        ROOT[1..].into(),
        format!("{ROOT}0"),
        ROOT.to_uppercase(),
        format!(" {ROOT}"),
        format!("{ROOT}\n\n{OTHER}"),
        format!("{ROOT}\n{ROOT}"),
        format!("{}\n{:064x}", sixteen.join("\n"), 99),
        "x".repeat(64),
    ];
    for text in bad {
        let refused = parse(&text).err().unwrap();
        assert_eq!(refused.field.as_deref(), Some("capability.root_key"), "{text}");
        assert!(!refused.message.contains(&ROOT[..8]));
    }
}

#[test]
fn a_token_that_was_let_in_has_one_number_and_is_found_again() {
    let set = set();
    let tokens: Vec<String> = (0..3000)
        .map(|n| mint::attenuate(&set.usual(&[]), &[format!("purpose = p{n}")]).unwrap())
        .collect();
    let first = set.admit(&tokens[0]).unwrap();
    assert_eq!(set.admit(&tokens[0]).unwrap().number, first.number);
    let numbers: std::collections::HashSet<u64> =
        tokens.iter().map(|token| set.admit(token).unwrap().number).collect();
    assert_eq!(numbers.len(), tokens.len());
    let again = set.admit(&tokens[0]).unwrap();
    assert!(again.number > first.number, "it had been forgotten, and no number comes again");
    assert_eq!(again.grant.identifier, first.grant.identifier);
    assert!(!Arc::ptr_eq(&again.grant, &first.grant));
}
