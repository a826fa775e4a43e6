//! Tests of whole tokens.

mod forged;
mod libmacaroons;
mod model;
mod online;
mod revoked;
mod spelling;
mod tokens;

use std::sync::Arc;

use kms_core::{OsEntropy, Scopes, SecretBytes};
use kms_testkit::clock::ManualClock;

use crate::chain::Chain;
use crate::encoding::Packet;
use crate::identifier::Identifier;
use crate::{
    Admission, Ceilings, LOCATION, Macaroon, Refusal, RootKeys, Verifier, VerifierConfig, encoding,
    mint,
};

/// 2027-01-15T08:00:00Z, in milliseconds.
const NOW_MS: u64 = 1_800_000_000_000;
const NOW: u64 = NOW_MS / 1000;
const ROOT: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

fn roots(lines: &[&str]) -> RootKeys {
    RootKeys::parse(&SecretBytes::copy_of(lines.join("\n").as_bytes())).unwrap()
}

struct Set {
    verifier: Verifier,
    clock: Arc<ManualClock>,
    roots: RootKeys,
}

fn config(clock: &Arc<ManualClock>) -> VerifierConfig {
    VerifierConfig {
        skew_ms: 2000,
        max_rps: None,
        read_may_verify: false,
        revocations: None,
        ceilings: Ceilings::default(),
        clock: clock.clone(),
        entropy: Arc::new(OsEntropy),
    }
}

fn set_with(change: impl FnOnce(&mut VerifierConfig)) -> Set {
    let clock = Arc::new(ManualClock::default());
    clock.advance_ms(NOW_MS);
    let mut config = config(&clock);
    change(&mut config);
    let verifier = Verifier::new(roots(&[ROOT]), config).unwrap();
    Set { verifier, clock, roots: roots(&[ROOT]) }
}

fn set() -> Set {
    set_with(|_| {})
}

impl Set {
    fn mint(&self, caveats: &[&str]) -> String {
        mint::mint(&self.roots, "test", caveats, &*self.clock, &OsEntropy).unwrap().token
    }

    /// Scope `kms:sign` for the tenant `core`, an hour long, and more.
    fn usual(&self, more: &[&str]) -> String {
        let exp = format!("exp = {}", NOW + 3600);
        let usual = ["scope = kms:sign", "tenant = core", &exp];
        self.mint(&[&usual[..], more].concat())
    }

    fn admit(&self, token: &str) -> Result<Admission, Refusal> {
        self.admit_for(token, Scopes::SIGN)
    }

    fn admit_for(&self, token: &str, scopes: Scopes) -> Result<Admission, Refusal> {
        self.verifier.admit(token, Some("127.0.0.1".parse().unwrap()), scopes)
    }

    fn refusal(&self, token: &str) -> Option<Refusal> {
        self.admit(token).err()
    }

    /// A token with a sound chain over whatever it is made of.
    fn forge(&self, caveats: &[&[u8]]) -> String {
        let who = Identifier {
            root: *self.roots.names().last().unwrap(),
            ids: Box::new([mint::fresh_id(&*self.clock, &OsEntropy).unwrap()]),
            name: kms_core::Name::parse("forged", "name").unwrap(),
        };
        self.forge_as(&who.to_string(), caveats)
    }

    fn forge_as(&self, identifier: &str, caveats: &[&[u8]]) -> String {
        let key = &self.roots.newest().unwrap().1;
        let mut chain = Chain::start(key, identifier.as_bytes());
        for caveat in caveats {
            chain.push(caveat);
        }
        let macaroon = Macaroon {
            location: Some(LOCATION.as_bytes()),
            identifier: identifier.as_bytes(),
            caveats: caveats.iter().copied().map(first_party).collect(),
            signature: chain.value(),
        };
        encoding::encode(&macaroon.to_bytes())
    }
}

fn first_party(identifier: &[u8]) -> Packet<'_> {
    Packet { location: None, identifier, verification_id: None }
}

/// The bytes of a token.
fn bytes(token: &str) -> Vec<u8> {
    encoding::decode(token).unwrap()
}

/// A token of these bytes.
fn token(bytes: &[u8]) -> String {
    encoding::encode(bytes)
}
