//! Creating a key.

use std::sync::Arc;

use kms_core::{Algorithm, Context, KeyId, Kid, KmsError, Name, Result, Signs, Version};
use uuid::{Builder, Uuid};

use crate::dispatch::Response;
use crate::engine::{Engine, Trace};
use crate::key::{Key, KeyFacts, KeyVersion};
use crate::material::{PublicHalf, SecretHalf};
use crate::op::Op;
use crate::policy::{self, Demand, KeyPolicy};
use crate::suite::Suite;

/// A wish for a new key.
#[derive(Clone, Debug, Hash)]
pub struct CreateKey {
    /// Who it belongs to; the tenant `ron-kms` is reserved.
    pub tenant: String,
    /// What it is for.
    pub purpose: String,
    /// The name of its algorithm, or `hybrid`.
    pub alg: String,
    /// What its signatures cover; fixed for ever.
    pub signs: Option<String>,
    /// A JSON object that is kept and shown.
    pub policy_hints: Option<Box<str>>,
}

impl Engine {
    /// Makes a key with version 1 as its head.
    ///
    /// # Errors
    /// `BadRequest` naming the field, `Unsupported` for an algorithm that is not allowed here or by policy.
    pub fn create(&self, context: &Context, wish: &CreateKey) -> Result<Created> {
        self.run(Op::Create, context, |trace| {
            let (suite, facts) = self.plan_key(context, wish, trace)?;
            let version = self.fresh_version(context, &facts.id.at(Version::MIN), suite)?;
            self.publish(Op::Create, context, facts, version)
        })
    }

    /// What a new key is to be, where it may be made.
    ///
    /// # Errors
    /// Those of [`Engine::create`].
    pub(crate) fn plan_key(
        &self,
        context: &Context,
        wish: &CreateKey,
        trace: &mut Trace,
    ) -> Result<(Suite, KeyFacts)> {
        let tenant = Name::parse_tenant(&wish.tenant)?;
        let purpose = Name::parse(&wish.purpose, "purpose")?;
        let suite = Suite::parse(&wish.alg, &wish.purpose)?;
        self.check_allowed(suite)?;
        trace.alg = suite.label();
        let signs = wish.signs.as_deref().map_or(Ok(Signs::Digest), Signs::parse)?;
        let own = KeyPolicy::from_hints(wish.policy_hints.as_deref())?;
        context.permit(tenant.as_str()).map_err(|error| error.field("tenant"))?;

        let id = KeyId { tenant, purpose, alg: suite.named_by(), uuid: self.fresh_uuid()? };
        let demand = self.demand_for(&id, policy::bucket(&id), &own);
        self.check_signs(demand, suite).map_err(|error| error.field("alg"))?;
        Ok((suite, self.facts(id, signs, wish.policy_hints.clone(), own)))
    }

    /// Whether keys of this suite may be made here.
    pub(crate) fn check_allowed(&self, suite: Suite) -> Result<()> {
        let allowed = |alg: &Algorithm| self.config.allowed_algs.contains(&alg.family());
        if suite.algs().iter().all(allowed) {
            return Ok(());
        }
        Err(KmsError::unsupported("algorithm is not allowed here").field("alg"))
    }

    pub(crate) fn facts(
        &self,
        id: KeyId,
        signs: Signs,
        policy_hints: Option<Box<str>>,
        policy: KeyPolicy,
    ) -> KeyFacts {
        let classical_only = self.counters.classical_only(id.tenant.as_str());
        let created_unix_ms = self.config.clock.unix_ms();
        KeyFacts { id, signs, created_unix_ms, policy_hints, policy, classical_only }
    }

    /// Records a new key and makes it known. If that fails its private key is wiped.
    pub(crate) fn publish(
        &self,
        op: Op,
        context: &Context,
        facts: KeyFacts,
        version: KeyVersion,
    ) -> Result<Created> {
        let kid = facts.id.at(Version::MIN);
        let (secret, public) = (version.secret, PublicHalves::of(&version));
        let remote = version.is_remote();
        let key = Arc::new(Key::new(facts, version));
        let create = || -> Result<_> {
            let audit = self.audit_change(op.name(), context, (&kid).into())?;
            let created = Created { kid: kid.clone(), public, audit };
            let first = key.published(Version::MIN)?;
            let answer = || Response::Created(created.clone());
            self.commit_new(op, context, &key, first, answer)?;
            self.keys.insert(Arc::clone(&key))?;
            self.plan_rotation(&key);
            Ok(created)
        };
        create().inspect_err(|error| {
            self.arena.remove(secret);
            // Where it is open whether it was committed, the next start finds out.
            if remote && error.retryable {
                self.abandon(&kid);
            }
        })
    }

    /// Refuses to sign with a classical key what nobody would verify.
    ///
    /// # Errors
    /// `Unsupported`, field `kid`.
    pub(crate) fn check_signs(&self, demand: Demand, suite: Suite) -> Result<()> {
        let classical = !suite.is_hybrid() && !suite.named_by().is_post_quantum();
        if !classical || suite.wraps() {
            return Ok(());
        }
        if demand.accepts_classical(|| self.config.clock.unix_ms()) {
            return Ok(());
        }
        self.counters.pq_refused();
        Err(KmsError::unsupported("policy asks for a post-quantum signature").field("kid"))
    }

    /// Makes a private key: in the token, where there is one that keeps the suite's classical track, and else in the
    /// arena.
    pub(crate) fn fresh_version(
        &self,
        context: &Context,
        kid: &Kid,
        suite: Suite,
    ) -> Result<KeyVersion> {
        let maker = self.maker_of(context, suite)?;
        if maker.is_remote(suite) {
            return self.fresh_remote(context, kid, suite, maker);
        }
        let made = SecretHalf::generate(suite, self.lanes(), &*self.config.entropy)?;
        self.hold(suite, made)
    }

    /// Takes a private key into the arena.
    pub(crate) fn hold(
        &self,
        suite: Suite,
        (secret, public): (SecretHalf, PublicHalf),
    ) -> Result<KeyVersion> {
        let secret = self.arena.insert(secret)?;
        let created = self.config.clock.unix_ms();
        Ok(KeyVersion::new(suite, public, secret, created, self.authority(), None))
    }

    /// A random UUID (RFC 9562, version 4).
    fn fresh_uuid(&self) -> Result<Uuid> {
        let mut bytes = [0; 16];
        self.config.entropy.fill(&mut bytes)?;
        Ok(Builder::from_random_bytes(bytes).into_uuid())
    }
}

/// A key was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its first version.
    pub kid: Kid,
    /// The public keys of that.
    pub public: PublicHalves,
    /// The index of its record in the audit log, where there is one.
    pub audit: Option<u64>,
}

/// The public keys of a version.
#[derive(Clone)]
pub struct PublicHalves {
    suite: Suite,
    public: PublicHalf,
}

impl PublicHalves {
    pub(crate) fn of(version: &KeyVersion) -> PublicHalves {
        PublicHalves { suite: version.suite, public: version.public.clone() }
    }

    /// Algorithm and encoded key of each track, the classical one first.
    pub fn tracks(&self) -> Vec<(Algorithm, Vec<u8>)> {
        self.suite.algs().iter().copied().zip(self.public.encoded()).collect()
    }
}

impl std::fmt::Debug for PublicHalves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PublicHalves").field(&self.suite).finish()
    }
}
