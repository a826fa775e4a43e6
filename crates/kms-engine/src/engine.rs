//! The engine: what all use cases share.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use kms_capability::Verifier;
use kms_core::secret_memory::{self, Locked};
use kms_core::{
    AuditSink, Clock, Context, Entropy, ErrorCode, KeyId, KidRef, KmsError, OsEntropy, Result,
    SystemClock,
};
use kms_crypto::ed25519::{SignLane, VerifyLane};
use kms_crypto::lane::Lane;

use crate::arena::Arena;
use crate::counters::{Counters, Outcome, Snapshot, Tally};
use crate::custody::Custody;
use crate::deadlines::{Deadlines, Unfinished};
use crate::idempotency::Idempotency;
use crate::key::Key;
use crate::material::Lanes;
use crate::op::Op;
use crate::policy::{Demand, KeyPolicy, PqPolicy};
use crate::pool::Pool;
use crate::rate::Rate;
use crate::recording::AuditVerify;
use crate::registry::Registry;
use crate::remote::{Destroyer, Remote};
use crate::suite::Label;

/// Every family of algorithms, in the order of documents and metrics.
pub const FAMILIES: [&str; 5] = ["ed25519", "ml-dsa", "slh-dsa", "x25519", "ml-kem"];

/// Calls that wait for a token at once, beside signatures, for which no thread waits.
const SLOW_THREADS: usize = 4;

/// How an engine is made. The defaults are right for production.
pub struct EngineConfig {
    /// Families of algorithms ([`Algorithm::family`]) that keys may be created of; a hybrid key needs both of its.
    pub allowed_algs: Vec<&'static str>,
    /// Who signs.
    pub sign_lane: SignLane,
    /// Who verifies.
    pub verify_lane: VerifyLane,
    /// Who computes the post-quantum algorithms.
    pub pq_lane: Lane,
    /// Which halves of hybrid signatures are made, and which must hold.
    pub pq: PqPolicy,
    /// Whether every signature is verified before it leaves, so that a fault of the machine in the middle
    /// of signing, which can reveal the key, does not.
    pub verify_after_sign: bool,
    /// The shortest time from the wish to destroy a key or a version until that is done, in milliseconds.
    pub min_destroy_delay_ms: u64,
    /// Whether private keys that were made elsewhere are taken in.
    pub allow_import: bool,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The audit log, if there is one.
    pub audit: Option<Arc<dyn AuditSink>>,
    /// Which verifications it is told of.
    pub audit_verify: AuditVerify,
    /// The token that makes Ed25519 keys, if there is one.
    pub remote: Option<Remote>,
    /// Whether versions that another backend made are in the store too: they only verify.
    pub other_backends: bool,
    /// Whether one of those signs where it claims the same custody as the first backend.
    pub allow_sign_fallback: bool,
    /// What [`secret_memory::require_locked`] gave, where every secret must be locked; held until `close`.
    pub locked: Option<Locked>,
    /// How many private keys that the store can unseal again stay in memory; what was not used for long goes first.
    pub max_unsealed: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            allowed_algs: FAMILIES.to_vec(),
            sign_lane: SignLane::Auto,
            verify_lane: VerifyLane::Auto,
            pq_lane: Lane::Auto,
            pq: PqPolicy::default(),
            verify_after_sign: false,
            min_destroy_delay_ms: 24 * 3_600_000,
            allow_import: false,
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(OsEntropy),
            audit: None,
            audit_verify: AuditVerify::None,
            remote: None,
            other_backends: false,
            allow_sign_fallback: false,
            locked: None,
            max_unsealed: 16_384,
        }
    }
}

/// A key service. Without a store (backend `inmem`) nothing is ever written; closing it wipes every secret in memory.
pub struct Engine {
    pub(crate) config: EngineConfig,
    pub(crate) keys: Registry,
    pub(crate) arena: Arena,
    pub(crate) idempotency: Idempotency,
    pub(crate) pool: Pool,
    /// For what waits for a token.
    pub(crate) slow: Pool,
    /// Whether there are versions whose X25519 half is in a token.
    pub(crate) agrees: AtomicBool,
    pub(crate) destroyer: Destroyer,
    pub(crate) counters: Counters,
    pub(crate) deadlines: Deadlines,
    /// When which key is rotated without being asked.
    pub(crate) rotations: Deadlines,
    pub(crate) rotating: AtomicBool,
    pub(crate) unfinished: Unfinished,
    pub(crate) activations: Unfinished,
    pub(crate) custody: ArcSwapOption<Custody>,
    /// Whether there ever was a store.
    pub(crate) durable: AtomicBool,
    pq: ArcSwap<PqPolicy>,
    locked: ArcSwapOption<Locked>,
    sign_rate: ArcSwapOption<Rate>,
    verify_only: OnceLock<KmsError>,
    /// Who mints capabilities on line.
    pub(crate) capabilities: OnceLock<Arc<Verifier>>,
    closed: AtomicBool,
}

/// What a use case learns on the way, for counters and audit.
pub(crate) struct Trace {
    pub(crate) alg: Label,
    pub(crate) invalid: bool,
    /// The key, once it was found under the caller's rights.
    pub(crate) key: Option<Arc<Key>>,
}

impl Default for Trace {
    fn default() -> Self {
        Trace { alg: Label::NONE, invalid: false, key: None }
    }
}

impl Engine {
    /// An empty engine.
    pub fn new(mut config: EngineConfig) -> Engine {
        Engine {
            locked: ArcSwapOption::from(config.locked.take().map(Arc::new)),
            pq: ArcSwap::from_pointee(config.pq.clone()),
            arena: Arena::new(config.max_unsealed),
            config,
            keys: Registry::default(),
            idempotency: Idempotency::default(),
            pool: Pool::default(),
            slow: Pool::of(SLOW_THREADS),
            agrees: AtomicBool::new(false),
            destroyer: Destroyer::default(),
            counters: Counters::default(),
            custody: ArcSwapOption::empty(),
            durable: AtomicBool::new(false),
            unfinished: Unfinished::default(),
            activations: Unfinished::default(),
            deadlines: Deadlines::default(),
            rotations: Deadlines::default(),
            rotating: AtomicBool::new(false),
            sign_rate: ArcSwapOption::empty(),
            verify_only: OnceLock::new(),
            capabilities: OnceLock::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Bounds the signatures a second that requests over the wire ask for; none is the state at the start.
    pub fn set_sign_rate(&self, per_second: Option<NonZeroU32>) {
        let rate = per_second.map(|per_second| Arc::new(Rate::new(per_second, self.now_ms())));
        self.sign_rate.store(rate);
    }

    /// Takes signatures from what this second has.
    ///
    /// # Errors
    /// `Backpressure`.
    pub(crate) fn check_sign_rate(&self, signatures: usize) -> Result<()> {
        match self.sign_rate.load().as_deref() {
            Some(rate) if signatures > 0 => rate.take(signatures, self.now_ms()),
            _ => Ok(()),
        }
    }

    /// Refuses from now on to use a private key and to change anything, because what is kept is not what was
    /// acknowledged. Verification goes on.
    pub fn only_verify(&self, refusal: KmsError) {
        // The first reason stays.
        let _ = self.verify_only.set(refusal);
    }

    /// Why private keys are not used and nothing is changed, where that is so.
    pub fn verifies_only(&self) -> Option<&KmsError> {
        self.verify_only.get()
    }

    /// Mints capabilities on line with `verifier` from now on; it stays the first that was given.
    pub fn mint_with(&self, verifier: Arc<Verifier>) {
        let _ = self.capabilities.set(verifier);
    }

    /// Wipes every private key and refuses all further calls. Calls under way end first or fail.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.arena.clear();
        self.custody.store(None);
        self.locked.store(None);
    }

    /// The engine's threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Threads for what waits for a token: the others have other work.
    pub fn slow_pool(&self) -> &Pool {
        &self.slow
    }

    /// The counters, for a metrics endpoint.
    pub fn counters(&self) -> Snapshot {
        self.counters.snapshot(&self.keys.count(), self.pool.queue())
    }

    /// Replaces the post-quantum policy: every later call sees the new one whole.
    pub fn set_pq_policy(&self, policy: PqPolicy) {
        self.pq.store(Arc::new(policy));
    }

    /// The post-quantum policy in force.
    pub fn pq_policy(&self) -> Arc<PqPolicy> {
        self.pq.load_full()
    }

    /// What is asked for of a key, by policy and by its own hints.
    pub(crate) fn demand(&self, key: &Key) -> Demand {
        self.demand_for(key.id(), key.bucket, &key.facts.policy)
    }

    pub(crate) fn demand_for(&self, id: &KeyId, bucket: u8, own: &KeyPolicy) -> Demand {
        self.pq.load().demand(id.tenant.as_str(), bucket).and(own.verify_mode)
    }

    pub(crate) fn lanes(&self) -> Lanes {
        Lanes { ed25519: self.config.sign_lane, pq: self.config.pq_lane }
    }

    /// Milliseconds on the clock that deadlines are set against.
    pub fn now_ms(&self) -> u64 {
        self.config.clock.monotonic_ms()
    }

    /// Frames one operation: refuses after `close` and after the deadline, contains panics, counts.
    pub(crate) fn run<T>(
        &self,
        op: Op,
        context: &Context,
        work: impl FnOnce(&mut Trace) -> Result<T>,
    ) -> Result<T> {
        // What a token made beforehand is part of the operation.
        let before = context.presigned.as_ref().map(|made| made.since());
        let started = before.unwrap_or_else(Instant::now);
        let mut trace = Trace::default();
        let admitted = self.admit(context).and_then(|()| self.check_served(op));
        let result = admitted.and_then(|()| contain(AssertUnwindSafe(|| work(&mut trace))));
        self.ended(op, &trace, &result, Some(started.elapsed()));
        if let Err(refusal) = &result {
            self.audit_refusal(op, context, trace.key.as_deref(), refusal);
        }
        result
    }

    /// Counts an operation that ended.
    pub(crate) fn ended<T>(
        &self,
        op: Op,
        trace: &Trace,
        result: &Result<T>,
        took: Option<Duration>,
    ) {
        let outcome = match result {
            Ok(_) if trace.invalid => Outcome::Invalid,
            Ok(_) => Outcome::Ok,
            Err(error) => Outcome::Err(error.code),
        };
        self.counters.ended(op, trace.alg, outcome, 1);
        if let Some(took) = took {
            self.counters.took(op, trace.alg, took);
        }
    }

    /// Takes a step before the operation itself; a refusal counts as a failure of the operation.
    ///
    /// # Errors
    /// Those of the step.
    pub fn counting<T>(&self, op: Op, step: impl FnOnce() -> Result<T>) -> Result<T> {
        step()
            .inspect_err(|error| self.counters.ended(op, Label::NONE, Outcome::Err(error.code), 1))
    }

    /// Refuses in a forked child, after `close` and after the deadline.
    pub(crate) fn admit(&self, context: &Context) -> Result<()> {
        secret_memory::check_process()?;
        if self.is_closed() {
            return Err(KmsError::new(ErrorCode::StoreUnavailable, "this key service is closed")
                .retryable(false));
        }
        match context.deadline_ms {
            Some(_) => context.check_deadline(self.now_ms()),
            None => Ok(()),
        }
    }

    /// Refuses what uses a private key or changes something, where only verification goes on.
    fn check_served(&self, op: Op) -> Result<()> {
        match self.verifies_only() {
            Some(_) if !op.only_reads() => Err(only_verifies()),
            _ => Ok(()),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Counts the items of a batch, beside the batch itself.
    pub(crate) fn tally(&self, op: Op) -> Tally<'_> {
        Tally::new(&self.counters, op)
    }

    pub(crate) fn count_batch(&self, op: Op, len: usize) {
        self.counters.batch(op, len);
    }

    pub(crate) fn find(&self, kid: &KidRef<'_>, context: &Context) -> Result<Arc<Key>> {
        self.keys.find(kid, context)
    }
}

/// What callers are told of that. The reason is the operator's: it names files and records.
pub(crate) fn only_verifies() -> KmsError {
    let why = "this service only verifies: what it kept is not what was acknowledged";
    KmsError::new(ErrorCode::StoreUnavailable, why).retryable(false)
}

/// Turns a panic into an error. What it held is dropped, and so wiped, on the way.
pub(crate) fn contain<T>(work: impl FnOnce() -> Result<T> + std::panic::UnwindSafe) -> Result<T> {
    catch_unwind(work).unwrap_or_else(|payload| Err(KmsError::of_panic(payload)))
}
