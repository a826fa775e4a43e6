//! The key service as a JavaScript object.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::Arc;

use kms_core::secret_memory::require_locked;
use kms_core::{Context, KmsError, Result};
use kms_crypto::ed25519::{SIGNATURE_LEN, SignLane, VerifyLane};
use kms_crypto::lane::Lane;
use kms_engine::{
    Engine, EngineConfig, FAMILIES, ItemKid, MAX_DESTROY_DELAY_MS, Op, Signature, wire,
};
use napi::Env;
use napi::bindgen_prelude::{Either, Object, Uint8Array, Uint8ArraySlice, Uint32ArraySlice};
use napi_derive::napi;
use uuid::Uuid;

use crate::audit::{Audit, AuditOptions};
use crate::bytes;
use crate::capability;
use crate::known::KnownKids;
use crate::pkcs11::Pkcs11Options;
use crate::pq;
use crate::shared::Offers;
use crate::store::{self, FileStoreOptions};
use crate::task::{Signing, guard, spawn, spawn_recorded, spawn_recorded_on, spawn_signing};
use crate::times::{CallClock, timed};

/// How a key service is opened.
#[napi(object)]
pub struct KmsOptions {
    /// Families of algorithms that keys may be created of; all of this build by default.
    pub allowed_algs: Option<Vec<String>>,
    /// Who signs: `auto` by default.
    pub sign_lane: Option<String>,
    /// Who verifies: `auto` by default.
    pub verify_lane: Option<String>,
    /// Whether each signature is verified before it leaves; no by default.
    pub verify_after_sign: Option<bool>,
    /// Who computes ML-DSA, ML-KEM and X-Wing: `auto` by default.
    pub pq_lane: Option<String>,
    /// The post-quantum policy as JSON, see `setPqPolicy`.
    pub pq_policy: Option<String>,
    /// The shortest time from the wish to destroy until that is done, in milliseconds; a day by default.
    pub min_destroy_delay_ms: Option<i64>,
    /// Where keys are kept; in memory by default.
    pub store: Option<FileStoreOptions>,
    /// The audit log; none by default.
    pub audit: Option<AuditOptions>,
    /// Whether a service whose store or log is not what was acknowledged still opens, and only verifies; no by default.
    pub verify_only_on_mismatch: Option<bool>,
    /// Whether private keys that were made elsewhere may be imported; no by default.
    pub allow_import: Option<bool>,
    /// The token that Ed25519 keys are made in; a store is needed beside it.
    pub pkcs11: Option<Pkcs11Options>,
    /// Whether a store may have keys of the backend `pkcs11`, which then only verify; no by default.
    pub with_pkcs11: Option<bool>,
    /// Whether every secret must be in memory that the operating system locked; no by default.
    pub require_mlock: Option<bool>,
}

/// Who calls, and under which conditions.
#[napi(object)]
pub struct CallContext {
    /// Joins logs, answers and audit records.
    pub request_id: String,
    /// Who calls, for the audit record.
    pub actor: String,
    /// The one tenant this caller may touch; absent for all.
    #[napi(ts_type = "string | undefined")]
    pub tenant: Option<String>,
    /// What the caller's capability grants: the number of a `NativeGrant`. It says who calls, whatever `actor` says.
    #[napi(ts_type = "number | undefined")]
    pub grant: Option<f64>,
    /// A UUID that makes a mutation idempotent.
    #[napi(ts_type = "string | undefined")]
    pub op_id: Option<String>,
    /// How long the call may wait before work begins, in milliseconds.
    #[napi(ts_type = "number | undefined")]
    pub deadline_ms: Option<u32>,
}

/// The answer to one of several requests, or the JSON of its error; neither where it takes longer than this thread may
/// wait.
#[napi(object)]
pub struct Answer {
    /// The answer's JSON.
    pub answer: Option<String>,
    /// The error's JSON, where there is no answer.
    pub error: Option<String>,
}

/// A key service: what all threads share of it.
pub struct Custody {
    pub(crate) engine: Arc<Engine>,
    pub(crate) audit: Audit,
    pub(crate) store: store::Kept,
}

static OFFERS: Offers<Custody> = Offers::new();

/// A key service, as one thread has it. Its private keys are wiped when it is closed where it was opened, or collected
/// everywhere.
#[napi]
pub struct NativeKms {
    custody: Arc<Custody>,
    /// Whether it was opened here. Only then it is closed here.
    owns: bool,
    pub(crate) library: Context,
    /// Used on the JS thread only.
    pub(crate) known: RefCell<KnownKids>,
}

impl Deref for NativeKms {
    type Target = Custody;

    fn deref(&self) -> &Custody {
        &self.custody
    }
}

impl NativeKms {
    fn over(custody: Arc<Custody>, owns: bool) -> NativeKms {
        NativeKms { custody, owns, library: Context::library(), known: RefCell::default() }
    }
}

/// The key service of another thread, by a handle of `share`. Throws `NotFound` for a handle that was used, or whose
/// service is gone.
#[napi]
pub fn attach_kms(handle: String) -> napi::Result<NativeKms> {
    guard("attachKms", || Ok(NativeKms::over(OFFERS.take(&handle)?, false)))
}

#[napi]
impl NativeKms {
    /// Opens an empty service.
    #[napi(constructor)]
    pub fn new(env: Env, options: KmsOptions) -> napi::Result<Self> {
        guard("NativeKms", || {
            let mut config = EngineConfig::default();
            if let Some(names) = options.allowed_algs {
                let parsed = names.iter().map(|name| family(name));
                config.allowed_algs = parsed.collect::<Result<_>>()?;
            }
            if let Some(name) = options.sign_lane {
                config.sign_lane = SignLane::parse(&name)?;
            }
            if let Some(name) = options.verify_lane {
                config.verify_lane = VerifyLane::parse(&name)?;
            }
            if let Some(name) = options.pq_lane {
                config.pq_lane = Lane::parse(&name)?;
            }
            if let Some(json) = options.pq_policy {
                config.pq = pq::policy(&json)?;
            }
            if let Some(delay) = options.min_destroy_delay_ms {
                config.min_destroy_delay_ms = destroy_delay(delay)?;
            }
            config.verify_after_sign = options.verify_after_sign.unwrap_or(false);
            config.allow_import = options.allow_import.unwrap_or(false);
            if options.require_mlock.unwrap_or(false) {
                config.locked =
                    Some(require_locked().map_err(|error| error.field("requireMlock"))?);
            }
            config.other_backends = options.with_pkcs11.unwrap_or(false);
            let (engine, audit, store) = store::compose(
                config,
                options.store.as_ref(),
                options.audit.as_ref(),
                options.pkcs11.as_ref(),
                options.verify_only_on_mismatch.unwrap_or(false),
            )?;
            if options.pkcs11.is_some() {
                // A library of a token must not be left with a thread inside when the process ends.
                let open = store.token.downgrade();
                let hook = env.add_env_cleanup_hook(open, |open| open.close());
                hook.map_err(|_| KmsError::internal("the end of the process cannot be met"))?;
            }
            let custody = Custody { engine: Arc::new(engine), audit, store };
            Ok(NativeKms::over(Arc::new(custody), true))
        })
    }

    /// A handle by which one other thread of this process can attach itself to this service, once.
    #[napi]
    pub fn share(&self) -> napi::Result<String> {
        guard("share", || OFFERS.offer(&self.custody))
    }

    /// Carries an operation out on this thread: JSON bytes in, JSON out; null, with nothing done, where it takes longer
    /// than this thread may wait: `dispatchAsync` carries it out.
    ///
    /// The context comes before the body: reading it runs the caller's getters, and one of them could
    /// detach or shrink a body whose address was already taken.
    #[napi]
    pub fn dispatch(
        &self,
        op: String,
        target: Option<String>,
        context: CallContext,
        body: Uint8ArraySlice<'_>,
    ) -> napi::Result<Option<String>> {
        guard("dispatch", || {
            let op = parse_op(&op)?;
            let context = self.context(op, context)?;
            // Text is read in place: it must stay what it was when it was checked.
            let body = bytes::owned(&body);
            answer(&self.engine, op, target.as_deref(), &body, context, false)
        })
    }

    /// As `dispatch`, on the service's threads; the body is copied before this returns. The clock, where there is one,
    /// sees when its parts were.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn dispatch_async<'env>(
        &self,
        env: &'env Env,
        op: String,
        target: Option<String>,
        context: CallContext,
        body: Uint8ArraySlice<'_>,
        clock: Option<&CallClock>,
    ) -> napi::Result<Object<'env>> {
        let (op, context) = guard("dispatchAsync", || {
            let op = parse_op(&op)?;
            Ok((op, self.context(op, context)?))
        })?;
        let times = clock.map(CallClock::times);
        let (engine, body) = (Arc::clone(&self.engine), bytes::owned(&body));
        if matches!(op, Op::Sign | Op::SignBatch) {
            let body = Arc::new(body);
            let (own_body, is_short) =
                (Arc::clone(&body), op == Op::Sign && context.op_id.is_none());
            let signing = Signing {
                // A body may bring an op_id of its own: then the answer is recorded, which takes longer.
                is_short: is_short && !body.windows(7).any(|it| it == b"\"op_id\""),
                context,
                times: times.clone(),
                needs: move |engine: &Engine, context: &Context| -> Result<_> {
                    Ok(wire::needs(engine, op, &own_body, context))
                },
                work: move |engine: &Engine, context: &Context| -> Result<_> {
                    let work =
                        || answer(engine, op, target.as_deref(), &body, context.clone(), true);
                    let done = timed(times.as_ref(), work)?;
                    done.ok_or_else(|| KmsError::internal("an operation was not carried out"))
                },
            };
            return spawn_signing(env, &engine, "dispatchAsync.task", signing, |_, answer| {
                Ok(answer)
            });
        }
        // What a token is asked for waits, and on threads that may.
        let asks = match op {
            Op::Wrap => false,
            Op::Unwrap | Op::Rewrap => engine.agrees_in_token(),
            _ => engine.has_token(),
        };
        let work = move || {
            let work = || answer(&engine, op, target.as_deref(), &body, context, true);
            let done = timed(times.as_ref(), work)?;
            done.ok_or_else(|| KmsError::internal("an operation was not carried out"))
        };
        let (engine_of, finish) = (&self.engine, |_, answer| Ok(answer));
        if op.only_reads() {
            let pool =
                if asks && op == Op::Attest { engine_of.slow_pool() } else { engine_of.pool() };
            return spawn(env, pool, "dispatchAsync.task", work, finish);
        }
        if asks {
            // What makes or destroys something in a token.
            let pool = engine_of.slow_pool();
            return spawn_recorded_on(env, engine_of, pool, "dispatchAsync.task", work, finish);
        }
        spawn_recorded(env, engine_of, "dispatchAsync.task", work, finish)
    }

    /// As `dispatch` of `verify` for requests that came at the same time, whose signatures are verified side by
    /// side. Their bodies lie end to end, with one more offset than there are contexts.
    #[napi]
    pub fn verify_coalesced(
        &self,
        contexts: Vec<CallContext>,
        bodies: Uint8ArraySlice<'_>,
        offsets: Uint32ArraySlice<'_>,
    ) -> napi::Result<Vec<Answer>> {
        guard("verifyCoalesced", || {
            let fault = |field| KmsError::bad_request("does not fit the contexts").field(field);
            if offsets.len() != contexts.len() + 1 {
                return Err(fault("offsets"));
            }
            let mut requests = Vec::with_capacity(contexts.len());
            for (context, ends) in contexts.into_iter().zip(offsets.windows(2)) {
                let body = bodies.get(ends[0] as usize..ends[1] as usize);
                requests.push((self.parse_context(context), body.ok_or_else(|| fault("offsets"))?));
            }
            let answers = wire::verify_coalesced(&self.engine, requests);
            Ok(answers.into_iter().map(to_answer).collect())
        })
    }

    /// A number from 1 up that names `kid` in later calls, which then need not parse and find it; 0 where it
    /// cannot be found.
    #[napi]
    pub fn know(&self, kid: String) -> napi::Result<u32> {
        guard("know", || {
            let Ok(known) = self.engine.know(&self.library, &kid) else { return Ok(0) };
            Ok(self.known.borrow_mut().number(known))
        })
    }

    /// Takes all numbers back.
    #[napi]
    pub fn forget_known(&self) -> napi::Result<()> {
        guard("forgetKnown", || {
            self.known.borrow_mut().forget();
            Ok(())
        })
    }

    /// Signs under the head of a key with one track. An Ed25519 signature goes into `out`, which has 64 bytes, and null
    /// is returned; any other is returned. The kid is known by a number, or is given as text.
    #[napi(ts_args_type = "kid: number | string, message: Uint8Array, out: Uint8Array")]
    pub fn sign(
        &self,
        kid: Either<u32, String>,
        message: Uint8ArraySlice<'_>,
        mut out: Uint8ArraySlice<'_>,
    ) -> napi::Result<Option<Uint8Array>> {
        guard("sign", || {
            // The message is read twice: it must be the same both times.
            let message = bytes::owned(&message);
            let known = self.known.borrow();
            let kid = item_kid(&known, &kid)?;
            self.engine.check_need_not_wait()?;
            let signature = self.engine.sign_one(&self.library, kid, &message, false)?;
            match signature {
                Signature::Ed25519(signature) => bytes::write(&mut out, &signature).map(|()| None),
                Signature::Long(signature) => Ok(Some(signature.into())),
            }
        })
    }

    /// As `sign`, on the service's threads, for keys that are slow.
    #[napi(ts_return_type = "Promise<Uint8Array>")]
    pub fn sign_async<'env>(
        &self,
        env: &'env Env,
        kid: String,
        message: Uint8ArraySlice<'_>,
    ) -> napi::Result<Object<'env>> {
        guard("signAsync", || Ok(()))?;
        let asked = Arc::new((kid, bytes::owned(&message)));
        let again = Arc::clone(&asked);
        let signing = Signing {
            context: self.library.clone(),
            needs: move |engine: &Engine, context: &Context| -> Result<_> {
                let (kid, message) = &*again;
                Ok(engine.needs_of_one(context, ItemKid::Named(kid), message))
            },
            work: move |engine: &Engine, context: &Context| -> Result<_> {
                let (kid, message) = &*asked;
                engine.sign_one(context, ItemKid::Named(kid), message, true)
            },
            is_short: true,
            times: None,
        };
        spawn_signing(env, &self.engine, "signAsync.task", signing, |env, signature| {
            // Memory of ours behind it would cost more than the copy: a finalizer, and a buffer to carry it.
            Uint8ArraySlice::<'static>::copy_from(&env, signature.as_bytes())
        })
    }

    /// The verdict on one signature of a key with one track; the kid must have a version. It is known by a number, or
    /// is given as text.
    #[napi(ts_args_type = "kid: number | string, message: Uint8Array, signature: Uint8Array")]
    pub fn verify(
        &self,
        kid: Either<u32, String>,
        message: Uint8ArraySlice<'_>,
        signature: Uint8ArraySlice<'_>,
    ) -> napi::Result<bool> {
        guard("verify", || {
            let known = self.known.borrow();
            let kid = item_kid(&known, &kid)?;
            // An Ed25519 signature is copied to the stack, and any other to the heap.
            match bytes::fixed::<SIGNATURE_LEN>(&signature, "signature") {
                Ok(signature) => {
                    self.engine.verify_one(&self.library, kid, message.as_ref(), &signature)
                }
                Err(_) => {
                    let signature = bytes::owned(&signature);
                    self.engine.verify_one(&self.library, kid, message.as_ref(), &signature)
                }
            }
        })
    }

    /// Replaces the post-quantum policy. JSON: `{"service": rule, "tenants": {name: rule}}`, where a rule is
    /// `{"produce_hybrid", "verify_mode", "rollout_percent", "legacy_grace_until_ms"?}`.
    #[napi]
    pub fn set_pq_policy(&self, policy: String) -> napi::Result<()> {
        guard("setPqPolicy", || {
            self.engine.set_pq_policy(pq::policy(&policy)?);
            Ok(())
        })
    }

    /// Bounds the signatures a second that `dispatch` and `dispatchAsync` make; 0 for no bound, as at the start.
    #[napi]
    pub fn set_sign_rate(&self, per_second: u32) -> napi::Result<()> {
        guard("setSignRate", || {
            self.engine.set_sign_rate(NonZeroU32::new(per_second));
            Ok(())
        })
    }

    /// Destroys what is due, has the service's threads rotate what is due, and returns in how many milliseconds
    /// something is due next; null where nothing is.
    #[napi]
    pub fn sweep(&self) -> napi::Result<Option<f64>> {
        guard("sweep", || {
            let destroys = self.engine.sweep();
            let mut rotates = self.engine.next_rotation();
            if rotates == Some(0) {
                let engine = Arc::clone(&self.engine);
                self.engine.pool().spawn(move || engine.rotate_due())?;
                rotates = Some(ROTATING_MS);
            }
            #[expect(clippy::cast_precision_loss, reason = "at most ten years of milliseconds")]
            let next = [destroys, rotates].into_iter().flatten().min().map(|wait| wait as f64);
            Ok(next)
        })
    }

    /// The engine's counters as JSON, for a metrics endpoint.
    #[napi]
    pub fn metrics(&self) -> napi::Result<String> {
        guard("metrics", || {
            serde_json::to_string(&self.engine.counters())
                .map_err(|_| KmsError::internal("counters could not be written"))
        })
    }

    /// Wipes every private key; every later call throws `StoreUnavailable`, on all threads. Where the service was not opened
    /// but attached to, nothing is done.
    #[napi]
    pub fn close(&self) -> napi::Result<()> {
        guard("close", || {
            if !self.owns {
                return Ok(());
            }
            self.engine.close();
            self.audit.close();
            self.store.close();
            Ok(())
        })
    }

    fn context(&self, op: Op, call: CallContext) -> Result<Context> {
        self.engine.counting(op, || self.parse_context(call))
    }

    fn parse_context(&self, call: CallContext) -> Result<Context> {
        let op_id = call.op_id.as_deref().map(Uuid::try_parse).transpose();
        let op_id = op_id.map_err(|_| KmsError::bad_request("must be a UUID").field("op_id"))?;
        // An audit record takes no more.
        let name = |text: &str, field: &'static str| {
            let fits = text.len() <= MAX_NAME_LEN && !text.chars().any(char::is_control);
            let fault = || KmsError::bad_request("over 255 bytes, or with control characters");
            if fits { Ok(()) } else { Err(fault().field(field)) }
        };
        name(&call.request_id, "requestId")?;
        name(&call.actor, "actor")?;
        let grant = call.grant.map(capability::find).transpose()?;
        let only = grant.as_ref().and_then(|grant| grant.rights.tenants.only());
        Ok(Context {
            tenant: call.tenant.map(Into::into).or(only.map(Into::into)),
            actor: match &grant {
                Some(grant) => grant.identifier.clone(),
                None => call.actor.into(),
            },
            rights: grant.map(|grant| Arc::clone(&grant.rights)),
            request_id: call.request_id.into(),
            op_id,
            fingerprint: None,
            presigned: None,
            deadline_ms: call
                .deadline_ms
                .map(|wait| self.engine.now_ms().saturating_add(u64::from(wait))),
        })
    }
}

/// When it is asked again what is due while keys are being rotated, in milliseconds.
const ROTATING_MS: u64 = 1_000;

/// Longest name of a caller, and of a request, in bytes.
const MAX_NAME_LEN: usize = 255;

fn family(name: &str) -> Result<&'static str> {
    FAMILIES
        .into_iter()
        .find(|family| *family == name)
        .ok_or_else(|| KmsError::unsupported("algorithm is not in this build").field("allowedAlgs"))
}

fn destroy_delay(ms: i64) -> Result<u64> {
    let delay = u64::try_from(ms).ok().filter(|delay| *delay <= MAX_DESTROY_DELAY_MS);
    let fault = || KmsError::bad_request("must be from 0 to ten years, in milliseconds");
    delay.ok_or_else(|| fault().field("minDestroyDelayMs"))
}

fn item_kid<'a>(known: &'a KnownKids, kid: &'a Either<u32, String>) -> Result<ItemKid<'a>> {
    match kid {
        Either::A(number) => known.get(*number).map(ItemKid::Known),
        Either::B(kid) => Ok(ItemKid::Named(kid)),
    }
}

fn parse_op(name: &str) -> Result<Op> {
    Op::parse(name).ok_or_else(|| KmsError::bad_request("no such operation").field("op"))
}

fn answer(
    engine: &Engine,
    op: Op,
    target: Option<&str>,
    body: &[u8],
    context: Context,
    parallel: bool,
) -> Result<Option<String>> {
    wire::handle(engine, op, target, body, context, parallel)?.map(utf8).transpose()
}

fn utf8(json: Vec<u8>) -> Result<String> {
    String::from_utf8(json).map_err(|_| KmsError::internal("the answer is not UTF-8"))
}

fn to_answer(result: Result<Option<Vec<u8>>>) -> Answer {
    match result.and_then(|answer| answer.map(utf8).transpose()) {
        Ok(answer) => Answer { answer, error: None },
        Err(error) => Answer { answer: None, error: Some(wire::error_json(&error)) },
    }
}
