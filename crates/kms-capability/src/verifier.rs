//! Who is let in: MAC, scope, time, address and rate, in this order, before anything else of a request is read.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kms_core::{Clock, Entropy, ErrorCode, KmsError, Result, Rights, Scopes, Tenants};

use crate::LOCATION;
pub use crate::cache::Admission;
use crate::cache::{self, Cache};
use crate::ceilings::{Ceilings, Minted as Counted};
use crate::chain::Chain;
use crate::encoding::{self, Macaroon};
use crate::grant::{Grant, Resolver};
use crate::identifier::Identifier;
use crate::limiter::Limiter;
use crate::mint::{self, Minted, Wish};
use crate::refusal::{Admitted, Refusal};
use crate::revocation::Revocations;
use crate::root_keys::RootKeys;

/// How a verifier is made.
pub struct VerifierConfig {
    /// How far a clock may be off, in milliseconds.
    pub skew_ms: u64,
    /// Requests a second of one capability, with all that was attenuated from it; `None` for no ceiling.
    pub max_rps: Option<u32>,
    /// Whether `kms:read` also verifies.
    pub read_may_verify: bool,
    /// The list of revoked capabilities.
    pub revocations: Option<PathBuf>,
    /// What may be minted on line.
    pub ceilings: Ceilings,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// Verifies capabilities, and mints them. Safe to share between threads.
pub struct Verifier {
    config: VerifierConfig,
    state: Mutex<State>,
}

struct State {
    roots: RootKeys,
    revocations: Option<Revocations>,
    /// Counts changes of keys and revocations, from 1.
    epoch: u64,
    cache: Cache,
    limiter: Limiter,
    minted: Counted,
}

impl Verifier {
    /// A verifier of what was minted with any of some root keys.
    ///
    /// # Errors
    /// `BadRequest`, field `capability.revocation_file`, where the list of revoked capabilities cannot be read.
    pub fn new(roots: RootKeys, config: VerifierConfig) -> Result<Verifier> {
        let mut revocations = config.revocations.clone().map(Revocations::new);
        if let Some(list) = &mut revocations {
            list.look(config.clock.monotonic_ms());
            if !list.is_known() {
                let why = "the list of revoked capabilities cannot be read, or has a line that is not one";
                return Err(KmsError::bad_request(why).field("capability.revocation_file"));
            }
        }
        let state = State {
            roots,
            revocations,
            epoch: 1,
            cache: Cache::default(),
            limiter: Limiter::default(),
            minted: Counted::default(),
        };
        Ok(Verifier { config, state: Mutex::new(state) })
    }

    /// Replaces the root keys. What was minted with one that is gone is refused from now on.
    pub fn set_roots(&self, roots: RootKeys) {
        let mut state = self.lock();
        state.roots = roots;
        state.epoch += 1;
    }

    /// Lets the bearer of a token in, for what needs some scopes, from an address where one is known.
    ///
    /// # Errors
    /// The first of the checks that fails.
    pub fn admit(&self, token: &str, peer: Option<IpAddr>, needed: Scopes) -> Admitted<Admission> {
        let mut state = self.lock();
        let state = &mut *state;
        let now_ms = self.config.clock.monotonic_ms();
        state.look(now_ms)?;
        let name = cache::name(token);
        let admission = match state.cache.get(&name) {
            Some(known) => known,
            None => {
                let grant = self.verify(&state.roots, token).ok_or(Refusal::Invalid)?;
                state.cache.add(name, grant)
            }
        };
        let grant = &*admission.grant;
        state.check_valid(grant)?;
        if !grant.rights.scopes.contains(needed) {
            return Err(Refusal::Scope);
        }
        grant.check_time(self.config.clock.unix_ms(), self.config.skew_ms)?;
        grant.check_address(peer)?;
        if !state.limiter.take(grant.who.id(), &grant.limits, now_ms) {
            return Err(Refusal::Rate);
        }
        Ok(admission)
    }

    /// Whether a grant still holds when its request is carried out, which may be a while after it was let in.
    ///
    /// # Errors
    /// `Revoked`, `Expired`, `Unavailable`.
    pub fn check_still(&self, grant: &Grant) -> Admitted<()> {
        let mut state = self.lock();
        state.look(self.config.clock.monotonic_ms())?;
        state.check_valid(grant)?;
        grant.check_time(self.config.clock.unix_ms(), self.config.skew_ms)
    }

    /// Mints a capability within another one.
    ///
    /// # Errors
    /// `NoCapability`, `BadRequest`, `TooLarge`; `Backpressure` over a ceiling of a tenant.
    pub fn mint_within(&self, rights: &Rights, wish: &Wish) -> Result<Minted> {
        let VerifierConfig { clock, entropy, ceilings, .. } = &self.config;
        let now_ms = clock.unix_ms();
        let caveats = mint::within(rights, wish, now_ms, ceilings.max_life_s)?;
        let mut ids = vec![mint::fresh_id(&**clock, &**entropy)?];
        ids.extend_from_slice(&rights.ids);
        let mut state = self.lock();
        let minted = mint::mint_as(&state.roots, &wish.name, &ids, &caveats)?;
        let granted = &minted.grant.rights;
        let nothing = granted.scopes.is_empty() || granted.tenants == Tenants::Only(vec![]);
        if nothing || minted.grant.exp_ms <= now_ms {
            let why = "nothing would be granted";
            return Err(KmsError::new(ErrorCode::NoCapability, why).field("caveats"));
        }
        state.minted.count(&granted.tenants, minted.grant.exp(), now_ms, ceilings)?;
        Ok(minted)
    }

    /// The grant of a token whose MAC holds and whose caveats are all known.
    fn verify(&self, roots: &RootKeys, token: &str) -> Option<Grant> {
        let bytes = encoding::decode(token)?;
        let macaroon = Macaroon::parse(&bytes)?;
        let who = Identifier::parse(macaroon.identifier)?;
        let key = roots.get(&who.root)?;
        let mut chain = Chain::start(key, macaroon.identifier);
        let ceiling = self.config.max_rps.map(|rps| (chain.place(), rps));
        let mut resolver = Resolver::new(macaroon.caveats.len());
        let mut known = macaroon.location == Some(LOCATION.as_bytes());
        for caveat in &macaroon.caveats {
            chain.push(caveat.identifier);
            known &= !caveat.is_third_party();
            known = known && resolver.add(caveat.identifier, || chain.place()).is_some();
        }
        // What the caveats say matters only if somebody with the key wrote them.
        if !chain.is(macaroon.signature) || !known {
            return None;
        }
        resolver.resolve(who).map(|mut grant| {
            grant.limits.extend(ceiling);
            if self.config.read_may_verify && grant.rights.scopes.contains(Scopes::READ) {
                let mut rights = (*grant.rights).clone();
                rights.scopes = rights.scopes.union(Scopes::VERIFY);
                grant.rights = Arc::new(rights);
            }
            grant
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every part of the state is whole after each of its own calls.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Looks at the list of revoked capabilities if it is time to.
    fn look(&mut self, now_ms: u64) -> Admitted<()> {
        let Some(list) = &mut self.revocations else { return Ok(()) };
        if list.look(now_ms) {
            self.epoch += 1;
        }
        if list.is_known() { Ok(()) } else { Err(Refusal::Unavailable) }
    }

    /// Whether nothing has been taken back since the MAC was verified.
    fn check_valid(&self, grant: &Grant) -> Admitted<()> {
        if grant.is_of(self.epoch) {
            return Ok(());
        }
        if self.roots.get(&grant.who.root).is_none() {
            return Err(Refusal::Invalid);
        }
        if self.revocations.as_ref().is_some_and(|list| list.contains(&grant.who.ids)) {
            return Err(Refusal::Revoked);
        }
        grant.found_valid_in(self.epoch);
        Ok(())
    }
}

/// The token of an `Authorization` header (RFC 6750, section 2.1).
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    let plain = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && plain).then_some(token)
}
