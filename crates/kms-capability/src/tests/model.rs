//! 100,000 random chains against a slow model that reads caveats as text: what is appended never gives anything.

use std::net::IpAddr;

use kms_core::{Algorithm, KidRef, Scopes};
use kms_testkit::cases::Random;
use uuid::Uuid;

use super::{NOW, set};
use crate::mint;

const CHAINS: u64 = 100_000;

const TENANTS: [&str; 4] = ["core", "acme", "a", "ab"];
const PURPOSES: [&str; 4] = ["audit", "a", "ab", "kem"];
const ALGS: [Algorithm; 3] = [Algorithm::Ed25519, Algorithm::MlDsa65, Algorithm::X25519];
const NETS: [&str; 5] = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "2001:db8::/32", "0.0.0.0/0"];

/// A question that may be asked of a capability.
struct Question {
    scope: usize,
    tenant: &'static str,
    purpose: &'static str,
    alg: Algorithm,
    uuid: Uuid,
    version: Option<u32>,
    payload: [u8; 32],
    peer: IpAddr,
    now: u64,
}

impl Question {
    fn random(random: &mut Random) -> Question {
        let peers = ["10.1.2.3", "10.1.9.9", "10.9.9.9", "11.0.0.1", "2001:db8::1", "::1"];
        Question {
            scope: random.below(Scopes::NAMES.len()),
            tenant: TENANTS[random.below(TENANTS.len())],
            purpose: PURPOSES[random.below(PURPOSES.len())],
            alg: ALGS[random.below(ALGS.len())],
            uuid: Uuid::from_u128(random.below(2) as u128),
            version: [None, Some(1), Some(12)][random.below(3)],
            payload: [random.below(3) as u8; 32],
            peer: peers[random.below(peers.len())].parse().unwrap(),
            now: NOW - 100 + random.below(400) as u64,
        }
    }

    fn kid(&self) -> String {
        let Question { tenant, purpose, alg, uuid, version, .. } = self;
        let version = version.map_or(String::new(), |version| format!("#v{version}"));
        format!("{tenant}/{purpose}/{}/{uuid}{version}", alg.name())
    }

    /// What a caveat says to it, read as slowly as it is written.
    fn fits(&self, caveat: &str) -> bool {
        let (name, value) = caveat.split_once(" = ").unwrap();
        let mut items = value.split(',');
        match name {
            "scope" => items.any(|item| item == Scopes::NAMES[self.scope]),
            "tenant" => items.any(|item| item == "*" || item == self.tenant),
            "purpose" => items.any(|item| item == self.purpose),
            "alg" => items.any(|item| item == self.alg.name()),
            "kid" => items.any(|prefix| {
                let kid = self.kid();
                let rest = kid.strip_prefix(prefix.strip_suffix('/').unwrap_or(prefix));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '#']))
            }),
            "exp" => self.now < value.parse::<u64>().unwrap() + 2,
            "nbf" => self.now + 2 >= value.parse::<u64>().unwrap(),
            "payload_b3" => {
                let hex: String = self.payload.iter().map(|byte| format!("{byte:02x}")).collect();
                items.any(|item| item == hex)
            }
            "ip" => items.any(|net| match net {
                "10.0.0.0/8" => self.peer.to_string().starts_with("10."),
                "10.1.0.0/16" => self.peer.to_string().starts_with("10.1."),
                "2001:db8::/32" => self.peer.to_string().starts_with("2001:db8:"),
                "0.0.0.0/0" => self.peer.is_ipv4(),
                address => self.peer.to_string() == address,
            }),
            _ => panic!("{name}"),
        }
    }
}

fn list(random: &mut Random, of: &[&str]) -> String {
    let count = 1 + random.below(of.len());
    (0..count).map(|_| of[random.below(of.len())]).collect::<Vec<_>>().join(",")
}

fn caveat(random: &mut Random) -> String {
    match random.below(9) {
        0 => format!("scope = {}", list(random, &Scopes::NAMES)),
        1 => format!("tenant = {}", list(random, &TENANTS)),
        2 => format!("purpose = {}", list(random, &PURPOSES)),
        3 => format!("alg = {}", list(random, &ALGS.map(Algorithm::name))),
        4 => {
            let whole = Question::random(random).kid();
            let parts: Vec<&str> = whole.split('/').collect();
            let open = ["", "/"][random.below(2)];
            match random.below(4) {
                0 => format!("kid = {whole}"),
                n => format!("kid = {}{open},{}", parts[..n].join("/"), TENANTS[random.below(4)]),
            }
        }
        5 => format!("exp = {}", NOW + random.below(300) as u64),
        6 => format!("nbf = {}", NOW - 100 + random.below(300) as u64),
        7 => format!("ip = {}", list(random, &NETS)),
        _ => format!("payload_b3 = {}", format!("{:02x}", random.below(3)).repeat(32)),
    }
}

#[test]
fn random_chains_grant_what_the_model_says_and_a_child_no_more_than_its_parent() {
    let set = set();
    let mut granted = 0;
    for number in 0..CHAINS {
        let mut random = Random::new("chains", number);
        let exp = format!("exp = {}", NOW + 250);
        let mut caveats: Vec<String> =
            vec![["tenant = *", "tenant = core,acme,a"][random.below(2)].into(), exp];
        caveats.push(format!("scope = {}", Scopes::NAMES.join(",")));
        let usual: Vec<&str> = caveats.iter().map(String::as_str).collect();
        let mut token = set.mint(&usual);
        let question = Question::random(&mut random);
        let mut before = true;
        for _ in 0..=random.below(6) {
            let now = answer(&set, &token, &question);
            let model = caveats.iter().all(|caveat| question.fits(caveat));
            assert_eq!(now, model, "{caveats:?} {}", question.kid());
            assert!(before || !now, "a child has more than its parent: {caveats:?}");
            before = now;
            granted += u32::from(now);
            let more = caveat(&mut random);
            token = mint::attenuate(&token, &[&more]).unwrap();
            caveats.push(more);
        }
    }
    assert!(granted > 10_000, "the model is asked about what is granted too");
}

/// Whether the question is granted, of a clock that stands where it says.
fn answer(set: &super::Set, token: &str, question: &Question) -> bool {
    let bytes = super::bytes(token);
    let macaroon = crate::Macaroon::parse(&bytes).unwrap();
    let who = crate::Identifier::parse(macaroon.identifier).unwrap();
    let mut resolver = crate::grant::Resolver::new(macaroon.caveats.len());
    for caveat in &macaroon.caveats {
        resolver.add(caveat.identifier, || [0; 16]).unwrap();
    }
    let grant = resolver.resolve(who).unwrap();
    // That the token is sound does not depend on the question.
    let needed = Scopes::NONE;
    let admitted = set.verifier.admit(token, Some(question.peer), needed);
    let kid = question.kid();
    let kid = KidRef::parse(&kid).unwrap();
    let at_other_time = grant.check_time(question.now * 1000, 2000).is_ok();
    let sound = !matches!(admitted.err(), Some(crate::Refusal::Invalid));
    let scope = Scopes::parse(Scopes::NAMES[question.scope]).unwrap();
    sound
        && at_other_time
        && grant.check_address(Some(question.peer)).is_ok()
        && grant.rights.permit_scopes(scope).is_ok()
        && grant.rights.permit_kid(&kid).is_ok()
        && grant.rights.permit_payload(|| question.payload).is_ok()
}
