//! A capability whose MAC was verified, resolved.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kms_core::{Rights, Scopes, Tenants};

use crate::MAX_LIFE_MS;
use crate::caveat::Caveat;
use crate::identifier::Identifier;
use crate::network::Network;
use crate::refusal::{Admitted, Refusal};

/// What a capability grants. All caveats hold: what one grants another may take away, and none gives anything back.
pub struct Grant {
    /// What may be done, and with which keys.
    pub rights: Arc<Rights>,
    /// Who it is, for audit records and op_ids. A token that somebody attenuated has the same one.
    pub identifier: Box<str>,
    pub(crate) who: Identifier,
    /// Until when, in Unix milliseconds.
    pub(crate) exp_ms: u64,
    pub(crate) nbf_ms: u64,
    /// Of each list one network must have the caller.
    pub(crate) ips: Vec<Vec<Network>>,
    /// Places of the chain, with the requests a second that are allowed there.
    pub(crate) limits: Vec<([u8; 16], u32)>,
    /// The state of keys and revocations under which it was found to be valid last.
    pub(crate) epoch: AtomicU64,
}

/// Caveats as they come, with the place of each in the chain.
pub(crate) struct Resolver {
    scopes: Option<Scopes>,
    tenants: Option<Tenants>,
    rights: Rights,
    exp: Option<u64>,
    nbf: u64,
    ips: Vec<Vec<Network>>,
    limits: Vec<([u8; 16], u32)>,
    texts: Vec<Box<str>>,
}

impl Resolver {
    pub(crate) fn new(caveats: usize) -> Resolver {
        let rights = Rights {
            scopes: Scopes::NONE,
            tenants: Tenants::Only(vec![]),
            kids: vec![],
            algs: None,
            purposes: None,
            payloads: None,
            caveats: Box::default(),
            ids: Box::default(),
        };
        Resolver {
            scopes: None,
            tenants: None,
            rights,
            exp: None,
            nbf: 0,
            ips: vec![],
            limits: vec![],
            texts: Vec::with_capacity(caveats),
        }
    }

    /// Takes one more caveat; `None` for what is none.
    pub(crate) fn add(&mut self, text: &[u8], place: impl FnOnce() -> [u8; 16]) -> Option<()> {
        let rights = &mut self.rights;
        match Caveat::parse(text)? {
            Caveat::Scope(scopes) => {
                self.scopes = Some(self.scopes.map_or(scopes, |own| own.intersection(scopes)));
            }
            Caveat::Tenant(tenants) => {
                self.tenants = Some(match self.tenants.take() {
                    Some(own) => own.intersection(tenants),
                    None => tenants,
                });
            }
            Caveat::Kid(prefixes) => rights.kids.push(prefixes),
            Caveat::Alg(algs) => {
                rights.algs = Some(rights.algs.map_or(algs, |own| own.intersection(algs)));
            }
            Caveat::Purpose(names) => rights.purposes = Some(narrow(rights.purposes.take(), names)),
            Caveat::PayloadB3(digests) => {
                rights.payloads = Some(narrow(rights.payloads.take(), digests));
            }
            Caveat::Exp(exp) => self.exp = Some(self.exp.map_or(exp, |own| own.min(exp))),
            Caveat::Nbf(nbf) => self.nbf = self.nbf.max(nbf),
            Caveat::Rps(rps) => self.limits.push((place(), rps)),
            Caveat::Ip(networks) => self.ips.push(networks),
        }
        self.texts.push(std::str::from_utf8(text).ok()?.into());
        Some(())
    }

    /// What all of them leave; `None` without scope, tenant or exp, and for a life that is too long.
    pub(crate) fn resolve(self, who: Identifier) -> Option<Grant> {
        let exp_ms = self.exp? * 1000;
        if exp_ms.saturating_sub(who.minted_ms()) > MAX_LIFE_MS {
            return None;
        }
        let rights = Rights {
            scopes: self.scopes?,
            tenants: self.tenants?,
            caveats: self.texts.into(),
            ids: who.ids.clone(),
            ..self.rights
        };
        Some(Grant {
            rights: Arc::new(rights),
            identifier: who.to_string().into(),
            who,
            exp_ms,
            nbf_ms: self.nbf * 1000,
            ips: self.ips,
            limits: self.limits,
            epoch: AtomicU64::new(0),
        })
    }
}

fn narrow<T: PartialEq>(own: Option<Vec<T>>, other: Vec<T>) -> Vec<T> {
    match own {
        Some(own) => own.into_iter().filter(|it| other.contains(it)).collect(),
        None => other,
    }
}

impl Grant {
    /// Until when, in Unix seconds.
    pub fn exp(&self) -> u64 {
        self.exp_ms / 1000
    }

    /// Refuses at the wrong time. A clock may be off by `skew_ms` either way.
    ///
    /// # Errors
    /// `Expired`, `NotYet`; `Invalid` where it would live on for too long by this clock.
    pub(crate) fn check_time(&self, now_ms: u64, skew_ms: u64) -> Admitted<()> {
        if now_ms >= self.exp_ms.saturating_add(skew_ms) {
            return Err(Refusal::Expired);
        }
        if now_ms.saturating_add(skew_ms) < self.nbf_ms {
            return Err(Refusal::NotYet);
        }
        let longest = now_ms.saturating_add(MAX_LIFE_MS).saturating_add(skew_ms);
        if self.exp_ms > longest { Err(Refusal::Invalid) } else { Ok(()) }
    }

    /// Refuses callers from elsewhere, and those of whom it is not known.
    pub(crate) fn check_address(&self, peer: Option<IpAddr>) -> Admitted<()> {
        let has = |list: &Vec<Network>| {
            peer.is_some_and(|peer| list.iter().any(|network| network.contains(peer)))
        };
        if self.ips.iter().all(has) { Ok(()) } else { Err(Refusal::Address) }
    }

    pub(crate) fn is_of(&self, epoch: u64) -> bool {
        self.epoch.load(Ordering::Acquire) == epoch
    }

    pub(crate) fn found_valid_in(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Release);
    }
}
