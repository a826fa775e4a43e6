//! Making tokens: by an operator who has the root key, by the service within another capability, and by whoever has one
//! and narrows it.

use kms_core::{Clock, Entropy, ErrorCode, KmsError, Name, Result, Rights, Scopes};
use uuid::{Builder, Uuid};

use crate::caveat::Caveat;
use crate::chain::Chain;
use crate::encoding::{self, MAX_CAVEATS, MAX_TOKEN_LEN, Macaroon, Packet};
use crate::grant::{Grant, Resolver};
use crate::identifier::{Identifier, MAX_IDS};
use crate::root_keys::RootKeys;
use crate::{LOCATION, MAX_LIFE_MS};

/// A capability that was made.
pub struct Minted {
    /// What its holder sends. A secret.
    pub token: String,
    /// What it grants.
    pub grant: Grant,
}

/// A wish for a capability within another one.
#[derive(Clone, Debug, Hash)]
pub struct Wish {
    /// For people.
    pub name: String,
    /// Caveats beside the minter's own.
    pub caveats: Vec<String>,
    /// Seconds that it lives; as long as it may where it is not said.
    pub ttl_s: Option<u64>,
}

/// Mints a capability with the root key.
///
/// # Errors
/// `BadRequest`, naming the field: for what is no caveat, and without scope, tenant or exp, or for a life that is over 30
/// days or over already. `TooLarge` for more than fits a token.
pub fn mint(
    roots: &RootKeys,
    name: &str,
    caveats: &[impl AsRef<str>],
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Minted> {
    let ids = [fresh_id(clock, entropy)?];
    let minted = mint_as(roots, name, &ids, caveats)?;
    if minted.grant.exp_ms <= clock.unix_ms() {
        return Err(KmsError::bad_request("is over already").field("exp"));
    }
    Ok(minted)
}

/// The caveats of a capability that is minted within another one: the minter's, and those of the wish. It never has more
/// than the minter: what the wish names beyond that is refused where it is named, and the rest is narrowed.
///
/// # Errors
/// `BadRequest`; `NoCapability` where it would have a scope or a tenant that the minter has not, and of a minter who may
/// not mint: one that is limited to a rate, which many capabilities together would exceed, or one of the last generation.
pub(crate) fn within(
    rights: &Rights,
    wish: &Wish,
    now_ms: u64,
    max_life_s: u64,
) -> Result<Vec<String>> {
    rights.permit_scopes(Scopes::ADMIN)?;
    rights.permit_without_payload()?;
    if rights.ids.len() >= MAX_IDS || rights.caveats.iter().any(|it| it.starts_with("rps = ")) {
        let why = "this capability mints no others: it has a rate, or is too many steps from the operator";
        return Err(KmsError::new(ErrorCode::NoCapability, why).field("caveats"));
    }
    let mut longest_s = max_life_s;
    if let Some(ttl_s) = wish.ttl_s {
        if ttl_s == 0 || ttl_s > max_life_s {
            let error = KmsError::bad_request("must be from 1 to the longest life that is allowed");
            return Err(error.field("ttl_s"));
        }
        longest_s = ttl_s;
    }
    for (i, text) in wish.caveats.iter().enumerate() {
        let covered = match parse(text, i)? {
            Caveat::Scope(scopes) => rights.scopes.contains(scopes),
            Caveat::Tenant(tenants) => rights.tenants.includes(&tenants),
            _ => true,
        };
        if !covered {
            let why = "the minter's own capability does not cover this";
            return Err(KmsError::new(ErrorCode::NoCapability, why).field(format!("caveats[{i}]")));
        }
    }
    let mut caveats: Vec<String> = rights.caveats.iter().map(|it| it.to_string()).collect();
    caveats.extend(wish.caveats.iter().cloned());
    caveats.push(format!("exp = {}", now_ms / 1000 + longest_s));
    // A caveat that is there already adds nothing.
    let mut seen = std::collections::HashSet::new();
    caveats.retain(|text| seen.insert(text.clone()));
    Ok(caveats)
}

/// Mints under ids that were chosen.
pub(crate) fn mint_as(
    roots: &RootKeys,
    name: &str,
    ids: &[Uuid],
    caveats: &[impl AsRef<str>],
) -> Result<Minted> {
    let (root, key) =
        roots.newest().ok_or_else(|| KmsError::internal("there is no root key to mint with"))?;
    let who = Identifier { root: *root, ids: ids.into(), name: Name::parse(name, "name")? };
    let identifier = who.to_string();
    let mut chain = Chain::start(key, identifier.as_bytes());
    let token = append(identifier.as_bytes(), &[], &mut chain, caveats)?;
    let grant = resolve(who, caveats)?;
    Ok(Minted { token, grant })
}

/// A token with more caveats. Nothing but its form is checked: its holder need not have the root key.
///
/// # Errors
/// `BadRequest`, naming the field: for what is no capability of this service, and for what is no caveat. `TooLarge` for
/// more than fits a token.
pub fn attenuate(token: &str, caveats: &[impl AsRef<str>]) -> Result<String> {
    let fault = || KmsError::bad_request("is not a capability of this service").field("token");
    let bytes = encoding::decode(token).ok_or_else(fault)?;
    let macaroon = Macaroon::parse(&bytes).ok_or_else(fault)?;
    if macaroon.location != Some(LOCATION.as_bytes())
        || Identifier::parse(macaroon.identifier).is_none()
        || macaroon.caveats.iter().any(Packet::is_third_party)
    {
        return Err(fault());
    }
    let mut chain = Chain::resume(macaroon.signature);
    append(macaroon.identifier, &macaroon.caveats, &mut chain, caveats)
}

fn append<'a>(
    identifier: &'a [u8],
    before: &[Packet<'a>],
    chain: &mut Chain,
    caveats: &'a [impl AsRef<str>],
) -> Result<String> {
    let too_large = || KmsError::new(ErrorCode::TooLarge, "more than fits a token");
    let mut all = before.to_vec();
    if all.len() + caveats.len() > MAX_CAVEATS {
        return Err(too_large().field("caveats"));
    }
    for (i, text) in caveats.iter().enumerate() {
        let identifier = text.as_ref().as_bytes();
        parse(text.as_ref(), i)?;
        chain.push(identifier);
        all.push(Packet { location: None, identifier, verification_id: None });
    }
    let macaroon = Macaroon {
        location: Some(LOCATION.as_bytes()),
        identifier,
        caveats: all,
        signature: chain.value(),
    };
    let token = encoding::encode(&macaroon.to_bytes());
    if token.len() > MAX_TOKEN_LEN { Err(too_large().field("caveats")) } else { Ok(token) }
}

fn parse(text: &str, i: usize) -> Result<Caveat> {
    Caveat::parse(text.as_bytes())
        .ok_or_else(|| KmsError::bad_request("is not a caveat").field(format!("caveats[{i}]")))
}

fn resolve(who: Identifier, caveats: &[impl AsRef<str>]) -> Result<Grant> {
    let mut resolver = Resolver::new(caveats.len());
    for (i, text) in caveats.iter().enumerate() {
        let field = || KmsError::bad_request("is not a caveat").field(format!("caveats[{i}]"));
        resolver.add(text.as_ref().as_bytes(), || [0; 16]).ok_or_else(field)?;
    }
    let days = MAX_LIFE_MS / 86_400_000;
    resolver.resolve(who).ok_or_else(|| {
        let why = format!("must have scope, tenant and exp, and live at most {days} days");
        KmsError::bad_request(why).field("caveats")
    })
}

pub(crate) fn fresh_id(clock: &dyn Clock, entropy: &dyn Entropy) -> Result<Uuid> {
    let mut random = [0; 10];
    entropy.fill(&mut random)?;
    Ok(Builder::from_unix_timestamp_millis(clock.unix_ms(), &random).into_uuid())
}
