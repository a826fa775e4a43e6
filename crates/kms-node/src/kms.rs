//! The key service as a JavaScript object.

use std::sync::Arc;

use kms_core::{Algorithm, Context, KmsError, Result};
use kms_crypto::ed25519::{SIGNATURE_LEN, SignLane, VerifyLane};
use kms_engine::{BatchItem, Engine, EngineConfig, Op, wire};
use napi::Env;
use napi::bindgen_prelude::{Object, Uint8Array, Uint8ArraySlice, Uint32ArraySlice};
use napi_derive::napi;
use uuid::Uuid;

use crate::bytes;
use crate::task::{guard, spawn};

/// How a key service is opened.
#[napi(object)]
pub struct KmsOptions {
    /// Algorithms that keys may be created of; all of this build by default.
    pub allowed_algs: Option<Vec<String>>,
    /// Who signs: `auto` by default.
    pub sign_lane: Option<String>,
    /// Who verifies: `auto` by default.
    pub verify_lane: Option<String>,
}

/// Who calls, and under which conditions.
#[napi(object)]
pub struct CallContext {
    /// Joins logs, answers and audit records.
    pub request_id: String,
    /// Who calls, for the audit record.
    pub actor: String,
    /// The one tenant this caller may touch; absent for all.
    pub tenant: Option<String>,
    /// A UUID that makes a mutation idempotent.
    pub op_id: Option<String>,
    /// How long the call may wait before work begins, in milliseconds.
    pub deadline_ms: Option<u32>,
}

/// What a batch came to.
#[napi(object)]
pub struct BatchVerdicts {
    /// 0 invalid, 1 valid, 2 could not check; one byte an item.
    pub verdicts: Uint8Array,
    /// JSON array of `[index into kids, error]`, absent when every kid was found.
    pub errors: Option<String>,
}

/// A key service in memory. Its private keys are wiped when it is closed or collected.
#[napi]
pub struct NativeKms {
    engine: Arc<Engine>,
    library: Context,
}

#[napi]
impl NativeKms {
    /// Opens an empty service.
    #[napi(constructor)]
    pub fn new(options: KmsOptions) -> napi::Result<Self> {
        guard("NativeKms", || {
            let mut config = EngineConfig::default();
            if let Some(names) = options.allowed_algs {
                let parsed = names.iter().map(|name| Algorithm::parse(name));
                config.allowed_algs =
                    parsed.collect::<Result<_>>().map_err(|error| error.field("allowedAlgs"))?;
            }
            if let Some(name) = options.sign_lane {
                config.sign_lane = SignLane::parse(&name)?;
            }
            if let Some(name) = options.verify_lane {
                config.verify_lane = VerifyLane::parse(&name)?;
            }
            Ok(NativeKms { engine: Arc::new(Engine::new(config)), library: Context::library() })
        })
    }

    /// Carries an operation out on this thread: JSON bytes in, JSON out.
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
    ) -> napi::Result<String> {
        guard("dispatch", || {
            let op = parse_op(&op)?;
            let context = self.context(op, context)?;
            answer(&self.engine, op, target.as_deref(), body.as_ref(), context)
        })
    }

    /// As `dispatch`, on the service's threads; the body is copied before this returns.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn dispatch_async<'env>(
        &self,
        env: &'env Env,
        op: String,
        target: Option<String>,
        context: CallContext,
        body: Uint8ArraySlice<'_>,
    ) -> napi::Result<Object<'env>> {
        let (op, context) = guard("dispatchAsync", || {
            let op = parse_op(&op)?;
            Ok((op, self.context(op, context)?))
        })?;
        let (engine, body) = (Arc::clone(&self.engine), bytes::owned(&body));
        let work = move || answer(&engine, op, target.as_deref(), &body, context);
        spawn(env, self.engine.pool(), "dispatchAsync.task", work, |_, answer| Ok(answer))
    }

    /// Signs under the head of `kid`, into 64 bytes.
    #[napi]
    pub fn sign(
        &self,
        kid: String,
        message: Uint8ArraySlice<'_>,
        mut out: Uint8ArraySlice<'_>,
    ) -> napi::Result<()> {
        guard("sign", || {
            // Ed25519 reads the message twice: it must be the same both times.
            let message = bytes::owned(&message);
            let mut signature = [0; SIGNATURE_LEN];
            self.engine.sign_into(&self.library, &kid, &message, &mut signature)?;
            bytes::write(&mut out, &signature)
        })
    }

    /// The verdict on one signature of `kid`, which must have a version.
    #[napi]
    pub fn verify(
        &self,
        kid: String,
        message: Uint8ArraySlice<'_>,
        signature: Uint8ArraySlice<'_>,
    ) -> napi::Result<bool> {
        guard("verify", || {
            let signature: Vec<u8> = bytes::owned(&signature);
            self.engine.verify_one(&self.library, &kid, message.as_ref(), &signature)
        })
    }

    /// Verifies a packed batch: item i is of kid `kids[kidOf[i]]`, its signature the i-th 64 bytes and
    /// its message between the offsets i and i + 1. Writes 0, 1 or 2 for each item into `out` and
    /// returns the errors as in `BatchVerdicts`.
    #[napi]
    pub fn verify_batch(
        &self,
        kids: Vec<String>,
        kid_of: Uint32ArraySlice<'_>,
        signatures: Uint8ArraySlice<'_>,
        messages: Uint8ArraySlice<'_>,
        offsets: Uint32ArraySlice<'_>,
        mut out: Uint8ArraySlice<'_>,
    ) -> napi::Result<Option<String>> {
        guard("verifyBatch", || {
            let (kid_of, offsets) = (kid_of.to_vec(), offsets.to_vec());
            let batch = Batch {
                kids: &kids,
                kid_of: &kid_of,
                signatures: signatures.as_ref(),
                messages: messages.as_ref(),
                offsets: &offsets,
            };
            let (verdicts, errors) = batch.verify(&self.engine, &self.library, false)?;
            bytes::write(&mut out, &verdicts)?;
            Ok(errors)
        })
    }

    /// As `verifyBatch`, on the service's threads; the inputs are copied before this returns.
    #[napi(ts_return_type = "Promise<BatchVerdicts>")]
    pub fn verify_batch_async<'env>(
        &self,
        env: &'env Env,
        kids: Vec<String>,
        kid_of: Uint32ArraySlice<'_>,
        signatures: Uint8ArraySlice<'_>,
        messages: Uint8ArraySlice<'_>,
        offsets: Uint32ArraySlice<'_>,
    ) -> napi::Result<Object<'env>> {
        guard("verifyBatchAsync", || Ok(()))?;
        let (engine, context) = (Arc::clone(&self.engine), self.library.clone());
        let (kid_of, offsets) = (kid_of.to_vec(), offsets.to_vec());
        let (signatures, messages) = (bytes::owned(&signatures), bytes::owned(&messages));
        let work = move || {
            let batch = Batch {
                kids: &kids,
                kid_of: &kid_of,
                signatures: &signatures,
                messages: &messages,
                offsets: &offsets,
            };
            batch.verify(&engine, &context, true)
        };
        spawn(env, self.engine.pool(), "verifyBatchAsync.task", work, |_, (verdicts, errors)| {
            Ok(BatchVerdicts { verdicts: verdicts.into(), errors })
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

    /// Wipes every private key; every later call throws `StoreUnavailable`.
    #[napi]
    pub fn close(&self) -> napi::Result<()> {
        guard("close", || {
            self.engine.close();
            Ok(())
        })
    }

    fn context(&self, op: Op, call: CallContext) -> Result<Context> {
        let op_id = self.engine.counting(op, || {
            let parsed = call.op_id.as_deref().map(Uuid::try_parse).transpose();
            parsed.map_err(|_| KmsError::bad_request("must be a UUID").field("op_id"))
        })?;
        Ok(Context {
            tenant: call.tenant.map(Into::into),
            actor: call.actor.into(),
            request_id: call.request_id.into(),
            op_id,
            deadline_ms: call
                .deadline_ms
                .map(|wait| self.engine.now_ms().saturating_add(u64::from(wait))),
        })
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
) -> Result<String> {
    let json = wire::handle(engine, op, target, body, context)?;
    String::from_utf8(json).map_err(|_| KmsError::internal("the answer is not UTF-8"))
}

/// The packed inputs of a batch under kids.
struct Batch<'a> {
    kids: &'a [String],
    kid_of: &'a [u32],
    signatures: &'a [u8],
    messages: &'a [u8],
    offsets: &'a [u32],
}

impl Batch<'_> {
    fn verify(
        &self,
        engine: &Engine,
        context: &Context,
        parallel: bool,
    ) -> Result<(Vec<u8>, Option<String>)> {
        let items = self.items()?;
        let kids: Vec<&str> = self.kids.iter().map(String::as_str).collect();
        let mut verdicts = vec![0; items.len()];
        let errors = engine.verify_items(context, &kids, &items, parallel, &mut verdicts)?;
        let errors = errors
            .iter()
            .map(|(kid, error)| format!("[{kid},{}]", wire::error_json(error)))
            .reduce(|all, next| format!("{all},{next}"));
        Ok((verdicts, errors.map(|errors| format!("[{errors}]"))))
    }

    fn items(&self) -> Result<Vec<BatchItem<'_>>> {
        let fault = |field, why: &'static str| KmsError::bad_request(why).field(field);
        let (signatures, rest) = self.signatures.as_chunks::<SIGNATURE_LEN>();
        if !rest.is_empty() || signatures.len() != self.kid_of.len() {
            return Err(fault("signatures", "length must be 64 bytes an item"));
        }
        if self.offsets.len() != self.kid_of.len() + 1 {
            return Err(fault("offsets", "length must be one more than the number of items"));
        }
        let items = self.kid_of.iter().zip(signatures).zip(self.offsets.windows(2));
        items
            .map(|((kid, signature), ends)| {
                let kid = *kid as usize;
                if kid >= self.kids.len() {
                    return Err(fault("kidOf", "must be an index into kids"));
                }
                let message = self
                    .messages
                    .get(ends[0] as usize..ends[1] as usize)
                    .ok_or_else(|| fault("offsets", "must ascend within messages"))?;
                Ok(BatchItem { kid, message, signature })
            })
            .collect()
    }
}
