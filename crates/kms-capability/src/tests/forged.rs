//! What holders do to tokens, and what strangers send.

use super::{NOW, OTHER, bytes, first_party, roots, set, token};
use crate::encoding::Packet;
use crate::{Macaroon, Refusal, mint};

/// Rebuilds a token from parts that a test has changed.
fn rebuilt(whole: &str, change: impl for<'a> FnOnce(&mut Macaroon<'a>)) -> String {
    let bytes = bytes(whole);
    let mut macaroon = Macaroon::parse(&bytes).unwrap();
    change(&mut macaroon);
    token(&macaroon.to_bytes())
}

#[test]
fn only_an_appended_caveat_verifies() {
    let set = set();
    let whole = set.usual(&["kid = core/audit", "rps = 1000", "alg = ed25519"]);
    assert_eq!(set.refusal(&whole), None);
    let narrower = mint::attenuate(&whole, &["purpose = audit"]).unwrap();
    assert_eq!(set.refusal(&narrower), None);

    let count = 6;
    for at in 0..count {
        let removed = rebuilt(&whole, |it| {
            it.caveats.remove(at);
        });
        assert_eq!(set.refusal(&removed), Some(Refusal::Invalid), "removed {at}");
        let doubled = rebuilt(&whole, |it| it.caveats.insert(at, it.caveats[at]));
        assert_eq!(set.refusal(&doubled), Some(Refusal::Invalid), "doubled {at}");
        let edited = rebuilt(&whole, |it| it.caveats[at] = first_party(b"scope = kms:admin"));
        assert_eq!(set.refusal(&edited), Some(Refusal::Invalid), "edited {at}");
        for other in at + 1..count {
            let swapped = rebuilt(&whole, |it| it.caveats.swap(at, other));
            assert_eq!(set.refusal(&swapped), Some(Refusal::Invalid), "swapped {at} {other}");
        }
        let inserted = rebuilt(&whole, |it| it.caveats.insert(at, first_party(b"rps = 1")));
        assert_eq!(set.refusal(&inserted), Some(Refusal::Invalid), "inserted {at}");
    }
    let unsigned = rebuilt(&whole, |it| it.caveats.push(first_party(b"rps = 1")));
    assert_eq!(set.refusal(&unsigned), Some(Refusal::Invalid));
    let bare = rebuilt(&whole, |it| it.caveats.clear());
    assert_eq!(set.refusal(&bare), Some(Refusal::Invalid));
}

#[test]
fn rejects_an_edited_location_which_the_mac_does_not_cover() {
    let set = set();
    let whole = set.usual(&[]);
    let others: [Option<&[u8]>; 5] =
        [None, Some(b""), Some(b"ron-km"), Some(b"RON-KMS"), Some(b"http://evil")];
    for location in others {
        let edited = rebuilt(&whole, |it| it.location = location);
        assert_eq!(set.refusal(&edited), Some(Refusal::Invalid));
    }
    let on_a_caveat = rebuilt(&whole, |it| it.caveats[0].location = Some(b"ron-kms"));
    assert_eq!(set.refusal(&on_a_caveat), Some(Refusal::Invalid));
}

#[test]
fn rejects_third_party_caveats() {
    let set = set();
    let whole = set.usual(&[]);
    let vid = Some(&b"anything"[..]);
    let third =
        Packet { location: Some(b"https://a"), identifier: b"rps = 1", verification_id: vid };
    let added = rebuilt(&whole, |it| it.caveats.push(third));
    assert_eq!(set.refusal(&added), Some(Refusal::Invalid));
    assert_eq!(mint::attenuate(&added, &["rps = 1"]).unwrap_err().field.as_deref(), Some("token"));
}

#[test]
fn rejects_what_was_minted_with_another_root_key() {
    let set = set();
    let exp = format!("exp = {}", NOW + 60);
    let caveats = ["scope = kms:sign", "tenant = core", &exp];
    let entropy = &kms_core::OsEntropy;
    let other = mint::mint(&roots(&[OTHER]), "x", &caveats, &*set.clock, entropy).unwrap();
    assert_eq!(set.refusal(&other.token), Some(Refusal::Invalid));
    // The other key under the name of ours.
    let (ours, theirs) = (set.usual(&[]), other.token);
    let bytes = bytes(&ours);
    let own = Macaroon::parse(&bytes).unwrap();
    let renamed = rebuilt(&theirs, |it| it.identifier = own.identifier.to_vec().leak());
    assert_eq!(set.refusal(&renamed), Some(Refusal::Invalid));
}

#[test]
fn rejects_a_caveat_that_is_not_of_the_table_or_not_spelt_as_it_says() {
    let set = set();
    let exp = format!("exp = {}", NOW + 60);
    let with =
        |caveat: &[u8]| set.forge(&[b"scope = kms:sign", b"tenant = core", exp.as_bytes(), caveat]);
    assert_eq!(set.refusal(&with(b"rps = 5")), None);
    let bad: &[&[u8]] = &[
        b"",
        b" ",
        b"rps",
        b"rps =",
        b"rps = ",
        b"rps=5",
        b"rps  = 5",
        b"rps =  5",
        b" rps = 5",
        b"rps = 5 ",
        b"rps = 5\n",
        b"rps = 5\0",
        b"rps\0 = 5",
        b"RPS = 5",
        b"Rps = 5",
        b"rps = 0",
        b"rps = 05",
        b"rps = +5",
        b"rps = -5",
        b"rps = 5.0",
        b"rps = 1e3",
        b"rps = 1000001",
        b"rps = 99999999999999999999",
        b"rps = 5 = 6",
        b"rps\t=\t5",
        "rps = \u{665}".as_bytes(),
        "rps\u{a0}= 5".as_bytes(),
        b"\xff = 5",
        b"rps = \xff",
        b"exp = 01800003600",
        b"exp = 2027-01-15T08:00:00Z",
        b"exp = 999999999999",
        b"nbf = ",
        b"scope = ",
        b"scope = kms:sign,",
        b"scope = ,kms:sign",
        b"scope = kms:sign,,kms:read",
        b"scope = kms:sign, kms:read",
        b"scope = kms:sign;kms:read",
        b"scope = kms:*",
        b"scope = *",
        b"scope = kms:Sign",
        b"scope = kms:unknown",
        b"tenant = ",
        b"tenant = co re",
        b"tenant = core,*",
        b"tenant = .core",
        b"tenant = c\xc3\xb6re",
        b"kid = ",
        b"kid = *",
        b"kid = core/audit/rsa",
        b"kid = /core",
        b"alg = hybrid",
        b"alg = ED25519",
        b"alg = ed25519,",
        b"purpose = a/b",
        b"ip = ",
        b"ip = localhost",
        b"ip = 10.0.0.1/8",
        b"ip = 10.0.0",
        b"payload_b3 = 00",
        b"payload_b3 = D74981EFA70A0C880B8D8C1985D075DBCBF679B99A5F9914E5AAF96B831A9E24",
        b"time < 2030-01-01",
        b"admin = true",
        b"# comment",
    ];
    for caveat in bad {
        let text = String::from_utf8_lossy(caveat);
        assert_eq!(set.refusal(&with(caveat)), Some(Refusal::Invalid), "{text:?}");
        if let Ok(text) = std::str::from_utf8(caveat) {
            let refused = mint::attenuate(&set.usual(&[]), &[text]).unwrap_err();
            assert_eq!(refused.field.as_deref(), Some("caveats[0]"), "{text:?}");
        }
    }
}

#[test]
fn rejects_an_identifier_that_is_not_spelt_as_this_service_does() {
    let set = set();
    let exp = format!("exp = {}", NOW + 60);
    let caveats: &[&[u8]] = &[b"scope = kms:sign", b"tenant = core", exp.as_bytes()];
    let root: String = set.roots.names()[0].iter().map(|byte| format!("{byte:02x}")).collect();
    // Of the same moment as the clock: 0x01a3185c5000 is 1,800,000,000,000.
    let id = "01a3185c-5000-7000-8000-000000000000";
    assert_eq!(set.refusal(&set.forge_as(&format!("v1:{root}:{id}:x"), caveats)), None);
    let four = [id; 4].join(",");
    assert_eq!(set.refusal(&set.forge_as(&format!("v1:{root}:{four}:x"), caveats)), None);
    let bad = [
        String::new(),
        format!("v2:{root}:{id}:x"),
        format!("v1:{root}:{id}"),
        format!("v1:{root}:{id}:"),
        format!("v1:{root}:{id}:x:y"),
        format!("v1:{root}:{id}:x\0"),
        format!("v1:{root}:{id}:x y"),
        format!("v1:{root}::x"),
        format!("v1:{root}:{id},:x"),
        format!("v1:{root}:{four},{id}:x"),
        format!("v1:{}:{id}:x", root.to_uppercase().replace(char::is_numeric, "A")),
        format!("v1:+{}:{id}:x", &root[1..]),
        format!("v1:{root}:{}:x", id.to_uppercase()),
        format!("v1:{root}:{}:x", id.replace('-', "")),
        format!("v1:{root}:{}:x", id.replace("-7000-", "-4000-")),
        format!("v1:{root}:{}:x", id.replace("-8000-", "-0000-")),
        format!("v1:{root}:{id}:{}", "x".repeat(65)),
    ];
    for identifier in bad {
        let forged = set.forge_as(&identifier, caveats);
        assert_eq!(set.refusal(&forged), Some(Refusal::Invalid), "{identifier}");
    }
}
