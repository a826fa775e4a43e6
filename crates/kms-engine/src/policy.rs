//! Post-quantum policy: which halves of a hybrid signature are made, and which must hold.
//!
//! The operator's rule holds for a key unless its tenant has one of its own; a key's or a request's policy may only
//! tighten it. A rule applies to the part of all keys that is rolled out, by a hash of the key's name; the other keys are
//! as they were before the migration: they sign with the classical half and verify in mode `or`.
//!
//! | phase | `produce_hybrid` | `verify_mode` |
//! | --- | --- | --- |
//! | 0, classical only | false | `or` |
//! | 1, either half | true | `or` |
//! | 2, both halves | true | `and` |
//! | 3, post-quantum only | either | `pq_only` |

use std::collections::BTreeMap;

use kms_core::{Algorithm, KeyId, KmsError, Result};
use kms_crypto::aead::Aead;
use serde_json::Value;

use crate::suite::Suite;

/// Which halves of a hybrid signature must hold. None is the strictest: of a hybrid key `and` asks for more than
/// `pq_only`, of a classical one for less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Any half that the version has.
    Or,
    /// Every half that the version has.
    #[default]
    And,
    /// The post-quantum half; a classical key has none, and satisfies it only within the grace.
    PqOnly,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Mode; 3] = [Mode::Or, Mode::And, Mode::PqOnly];

    /// The name in `policy.mode`.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Or => "or",
            Mode::And => "and",
            Mode::PqOnly => "pq_only",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// `BadRequest`, field `policy.mode`.
    pub fn parse(name: &str) -> Result<Mode> {
        Mode::ALL.into_iter().find(|mode| mode.name() == name).ok_or_else(|| {
            KmsError::bad_request("must be `or`, `and` or `pq_only`").field("policy.mode")
        })
    }
}

/// The rule for the keys of the service or of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PqRule {
    /// Whether both halves of a hybrid key sign.
    pub produce_hybrid: bool,
    /// Which halves must hold.
    pub verify_mode: Mode,
    /// The part of all keys that the rule applies to: 0 to 100.
    pub rollout_percent: u8,
    /// Until when, in Unix milliseconds, classical keys satisfy `pq_only` with what they have.
    pub legacy_grace_until_ms: Option<u64>,
}

impl Default for PqRule {
    fn default() -> Self {
        PqRule {
            produce_hybrid: true,
            verify_mode: Mode::And,
            rollout_percent: 100,
            legacy_grace_until_ms: None,
        }
    }
}

impl PqRule {
    /// How far the migration is: 0 to 3.
    pub fn phase(&self) -> u8 {
        match self.verify_mode {
            Mode::Or => u8::from(self.produce_hybrid),
            Mode::And => 2,
            Mode::PqOnly => 3,
        }
    }

    /// The rule for a key in this bucket.
    fn in_bucket(self, bucket: u8) -> PqRule {
        if bucket < self.rollout_percent {
            return self;
        }
        PqRule { produce_hybrid: false, verify_mode: Mode::Or, ..self }
    }
}

/// What a rule comes to for one key, joined with what the key and the request ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    produce_hybrid: bool,
    /// Every half must hold.
    every: bool,
    /// The post-quantum half must hold, and a key without one satisfies nothing.
    post_quantum: bool,
    legacy_grace_until_ms: Option<u64>,
}

impl Demand {
    fn of(rule: PqRule) -> Demand {
        let none = Demand {
            produce_hybrid: rule.produce_hybrid,
            every: false,
            post_quantum: false,
            legacy_grace_until_ms: rule.legacy_grace_until_ms,
        };
        none.and(Some(rule.verify_mode))
    }

    /// Asks for what a mode asks for, too. Nothing that was asked for before is taken back.
    pub(crate) fn and(self, mode: Option<Mode>) -> Demand {
        Demand {
            every: self.every || mode == Some(Mode::And),
            post_quantum: self.post_quantum || mode == Some(Mode::PqOnly),
            ..self
        }
    }

    /// The name of what is asked for: the more telling one where it is `and` and `pq_only` together.
    pub(crate) fn mode(&self) -> Mode {
        match (self.post_quantum, self.every) {
            (true, _) => Mode::PqOnly,
            (false, true) => Mode::And,
            (false, false) => Mode::Or,
        }
    }

    /// The tracks that sign: never fewer than what must hold.
    pub(crate) fn signing_tracks(&self, suite: Suite) -> &'static [Algorithm] {
        let algs = suite.algs();
        match algs {
            [_, pq] if !self.produce_hybrid && !self.every => {
                let classical = &algs[..1];
                if self.post_quantum { std::slice::from_ref(pq) } else { classical }
            }
            algs => algs,
        }
    }

    /// Whether a classical key may still be used as if it satisfied the demand.
    pub(crate) fn accepts_classical(&self, unix_ms: impl Fn() -> u64) -> bool {
        !self.post_quantum || self.legacy_grace_until_ms.is_some_and(|until| unix_ms() < until)
    }

    /// Whether the halves that held satisfy the demand, for a version of this suite.
    pub(crate) fn is_met(
        &self,
        suite: Suite,
        [first, second]: [bool; 2],
        unix_ms: impl Fn() -> u64,
    ) -> bool {
        match (suite.is_hybrid(), suite.named_by().is_post_quantum()) {
            (false, false) => first && self.accepts_classical(unix_ms),
            (false, true) => first,
            (true, _) if self.every => first && second,
            (true, _) if self.post_quantum => second,
            (true, _) => first || second,
        }
    }
}

/// The rules of the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PqPolicy {
    /// For tenants without a rule of their own.
    pub service: PqRule,
    /// By tenant.
    pub tenants: BTreeMap<Box<str>, PqRule>,
}

impl PqPolicy {
    /// What is asked for of one key, before the key's and the request's own policies.
    pub(crate) fn demand(&self, tenant: &str, bucket: u8) -> Demand {
        Demand::of(self.rule(tenant, bucket))
    }

    fn rule(&self, tenant: &str, bucket: u8) -> PqRule {
        self.tenants.get(tenant).unwrap_or(&self.service).in_bucket(bucket)
    }
}

/// The bucket of a key, 0 to 99: BLAKE3 of its name without version, as a big-endian integer, mod 100.
pub(crate) fn bucket(id: &KeyId) -> u8 {
    let hash = kms_crypto::digest::blake3(id.to_string().as_bytes());
    let rest = hash.iter().fold(0u32, |rest, byte| (rest * 256 + u32::from(*byte)) % 100);
    u8::try_from(rest).unwrap_or_default()
}

/// What the hints of a key say that the service acts on. The others are kept and shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyPolicy {
    /// `verify_mode`: at least this is asked of its signatures.
    pub(crate) verify_mode: Option<Mode>,
    /// `wrap_outside`: whether envelopes that others made with the public key open.
    pub(crate) wrap_outside: bool,
    /// `aead`: the cipher of its envelopes.
    pub(crate) aead: Aead,
    /// `rotate_days`: how old its newest version gets, in days, where this service is the key's `owner`.
    pub(crate) rotate_days: Option<u16>,
}

impl KeyPolicy {
    /// Reads the hints that have a meaning here.
    ///
    /// # Errors
    /// `BadRequest`, naming the hint.
    pub(crate) fn from_hints(hints: Option<&str>) -> Result<KeyPolicy> {
        let mut policy = KeyPolicy::default();
        let Some(hints) = object(hints) else { return Ok(policy) };
        let fault = |name: &str, why: &'static str| {
            KmsError::bad_request(why).field(format!("policy_hints.{name}"))
        };
        if let Some(mode) = hints.get("verify_mode") {
            let parsed = mode.as_str().and_then(|mode| Mode::parse(mode).ok());
            let why = "must be `or`, `and` or `pq_only`";
            policy.verify_mode = Some(parsed.ok_or_else(|| fault("verify_mode", why))?);
        }
        if let Some(outside) = hints.get("wrap_outside") {
            let why = "must be true or false";
            policy.wrap_outside = outside.as_bool().ok_or_else(|| fault("wrap_outside", why))?;
        }
        if let Some(aead) = hints.get("aead") {
            let parsed = aead.as_str().and_then(|aead| Aead::parse(aead).ok());
            let why = "must be `chacha20-poly1305` or `aes-256-gcm`";
            policy.aead = parsed.ok_or_else(|| fault("aead", why))?;
        }
        let why = "must be a whole number from 1 to 3650";
        policy.rotate_days = rotate_days(&hints).map_err(|()| fault("rotate_days", why))?;
        Ok(policy)
    }

    /// As [`KeyPolicy::from_hints`] for a key that a store has: `rotate_days` had no meaning once, and may be anything.
    ///
    /// # Errors
    /// `BadRequest`, naming the hint.
    pub(crate) fn of_stored(hints: Option<&str>) -> Result<KeyPolicy> {
        let Some(mut known) = object(hints) else { return Ok(KeyPolicy::default()) };
        if rotate_days(&known).is_err() {
            known.remove(ROTATE_DAYS);
        }
        KeyPolicy::from_hints(Some(&Value::Object(known).to_string()))
    }
}

const ROTATE_DAYS: &str = "rotate_days";
/// Whom a key is rotated by without being asked, by its hint `owner`; also where there is no such hint.
const SERVICE: &str = "service";

fn object(hints: Option<&str>) -> Option<serde_json::Map<String, Value>> {
    match serde_json::from_str(hints?) {
        Ok(Value::Object(hints)) => Some(hints),
        _ => None,
    }
}

fn rotate_days(hints: &serde_json::Map<String, Value>) -> Result<Option<u16>, ()> {
    let Some(days) = hints.get(ROTATE_DAYS) else { return Ok(None) };
    let days = days.as_u64().filter(|days| (1..=3650).contains(days));
    let days = days.and_then(|days| u16::try_from(days).ok()).ok_or(())?;
    let owned = hints.get("owner").is_none_or(|owner| owner.as_str() == Some(SERVICE));
    Ok(owned.then_some(days))
}

#[cfg(test)]
mod tests {
    use kms_core::Name;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn buckets_are_spread_over_the_hundred() {
        let mut counts = [0u32; 100];
        for n in 0..20_000u128 {
            let id = KeyId {
                tenant: Name::parse("core", "tenant").unwrap(),
                purpose: Name::parse("audit", "purpose").unwrap(),
                alg: Algorithm::Ed25519,
                uuid: Uuid::from_u128(n),
            };
            assert_eq!(bucket(&id), bucket(&id.clone()));
            counts[usize::from(bucket(&id))] += 1;
        }
        assert!(counts.iter().all(|count| (120..290).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_bucket_is_the_whole_hash_mod_100() {
        let id = KeyId {
            tenant: Name::parse("core", "tenant").unwrap(),
            purpose: Name::parse("audit", "purpose").unwrap(),
            alg: Algorithm::Ed25519,
            uuid: Uuid::from_u128(7),
        };
        // Long division in base 10^2 over the hash, another way: the last two decimal digits.
        let hash = kms_crypto::digest::blake3(id.to_string().as_bytes());
        let mut power = 1u32;
        let mut sum = 0u32;
        for byte in hash.iter().rev() {
            sum = (sum + u32::from(*byte) * power) % 100;
            power = power * 256 % 100;
        }
        assert_eq!(u32::from(bucket(&id)), sum);
    }

    #[test]
    fn phases_are_what_the_settings_say() {
        let rule = |produce_hybrid, verify_mode| PqRule {
            produce_hybrid,
            verify_mode,
            ..PqRule::default()
        };
        assert_eq!(rule(false, Mode::Or).phase(), 0);
        assert_eq!(rule(true, Mode::Or).phase(), 1);
        assert_eq!(rule(true, Mode::And).phase(), 2);
        assert_eq!(rule(true, Mode::PqOnly).phase(), 3);
        let halves = |rule: PqRule| Demand::of(rule).signing_tracks(Suite::Hybrid);
        assert_eq!(halves(rule(false, Mode::Or)), [Algorithm::Ed25519]);
        assert_eq!(halves(rule(true, Mode::Or)), Suite::Hybrid.algs());
        assert_eq!(halves(rule(false, Mode::PqOnly)), [Algorithm::MlDsa65]);
        assert_eq!(halves(rule(true, Mode::PqOnly)), Suite::Hybrid.algs());
    }

    #[test]
    fn demands_only_grow() {
        let all = [None, Some(Mode::Or), Some(Mode::And), Some(Mode::PqOnly)];
        let suites =
            [Suite::Ed25519, Suite::Hybrid, Suite::MlDsa(kms_crypto::ml_dsa::Set::MlDsa65)];
        let halves = [[false, false], [true, false], [false, true], [true, true]];
        for service in Mode::ALL {
            let rule = PqRule { verify_mode: service, ..PqRule::default() };
            let before = Demand::of(rule);
            for (own, request) in all.iter().flat_map(|own| all.map(|request| (*own, request))) {
                let after = before.and(own).and(request);
                for (suite, halves) in suites.iter().flat_map(|it| halves.map(|h| (*it, h))) {
                    let met = |demand: Demand| demand.is_met(suite, halves, || 0);
                    let each = [Some(service), own, request].into_iter().flatten();
                    let alone = each.map(|verify_mode| {
                        met(Demand::of(PqRule { verify_mode, ..PqRule::default() }))
                    });
                    assert_eq!(met(after), alone.into_iter().all(|it| it), "{suite:?} {halves:?}");
                }
                for produce_hybrid in [false, true] {
                    let demand = Demand { produce_hybrid, ..after };
                    let signed = demand.signing_tracks(Suite::Hybrid);
                    let made = Suite::Hybrid.algs().iter().map(|alg| signed.contains(alg));
                    let made: Vec<bool> = made.collect();
                    let ok = demand.is_met(Suite::Hybrid, [made[0], made[1]], || 0);
                    assert!(ok, "what is signed verifies: {demand:?}");
                }
            }
        }
    }

    #[test]
    fn keys_outside_the_rollout_are_as_before_the_migration() {
        let strict = PqRule { verify_mode: Mode::PqOnly, rollout_percent: 30, ..PqRule::default() };
        let policy = PqPolicy { service: strict, ..PqPolicy::default() };
        assert_eq!(policy.rule("core", 29).phase(), 3);
        assert_eq!(policy.rule("core", 30).phase(), 0);
        let own = PqRule { rollout_percent: 100, ..strict };
        let policy = PqPolicy { tenants: [("core".into(), own)].into(), ..policy };
        assert_eq!(policy.rule("core", 99).phase(), 3);
        assert_eq!(policy.rule("other", 99).phase(), 0);
    }

    #[test]
    fn hints_with_a_meaning_are_checked_and_others_kept() {
        let parse = |hints: &str| KeyPolicy::from_hints(Some(hints));
        assert_eq!(parse(r#"{"owner":"ops","rotate_days":30}"#).unwrap(), KeyPolicy::default());
        for hints in [r#"{"rotate_days":30}"#, r#"{"owner":"service","rotate_days":30}"#] {
            assert_eq!(parse(hints).unwrap().rotate_days, Some(30));
        }
        for hints in [r#"{"rotate_days":0}"#, r#"{"rotate_days":"30"}"#, r#"{"rotate_days":3651}"#]
        {
            let fault = parse(hints).unwrap_err();
            assert_eq!(fault.field.as_deref(), Some("policy_hints.rotate_days"));
            let stored = KeyPolicy::of_stored(Some(hints)).unwrap();
            assert_eq!(stored, KeyPolicy::default(), "of an earlier version");
        }
        let full =
            parse(r#"{"verify_mode":"pq_only","wrap_outside":true,"aead":"aes-256-gcm"}"#).unwrap();
        assert_eq!(full.verify_mode, Some(Mode::PqOnly));
        assert!(full.wrap_outside);
        assert_eq!(full.aead, Aead::Aes256Gcm);
        for (hints, field) in [
            (r#"{"verify_mode":"none"}"#, "policy_hints.verify_mode"),
            (r#"{"wrap_outside":"yes"}"#, "policy_hints.wrap_outside"),
            (r#"{"aead":"rot13"}"#, "policy_hints.aead"),
        ] {
            assert_eq!(parse(hints).unwrap_err().field.as_deref(), Some(field));
        }
    }
}
