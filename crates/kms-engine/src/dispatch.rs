//! The one entrance under every transport.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use kms_core::{Context, KeyId, KeyState, KidRef, KmsError, Result, SecretBytes};
use rayon::prelude::*;

use kms_capability::mint::Wish as CapabilityWish;

use crate::capabilities::MintedCapability;
use crate::create::{CreateKey, Created};
use crate::describe::{Attested, Described};
use crate::engine::{Engine, Trace};
use crate::idempotency::{Begun, Scope, fingerprint};
use crate::import::ImportKey;
use crate::life_cycle::{StateChanged, own_state};
use crate::list::{ListKeys, Listed};
use crate::op::Op;
use crate::rotate::{RotateKey, Rotated};
use crate::sign::{SignRequest, Signed, Target};
use crate::verify::{Verified, VerifyRequest};
use crate::wrap::{DataKey, KemMode, Unwrapped, Wrapped};

/// A request, decoded and checked for form, for any transport.
#[derive(Clone, Debug, Hash)]
pub enum Request {
    /// [`Engine::create`].
    Create(CreateKey),
    /// [`Engine::import`].
    Import(ImportKey),
    /// [`Engine::describe`].
    Describe(String),
    /// [`Engine::list`].
    List(ListKeys),
    /// [`Engine::attest`].
    Attest(String),
    /// [`Engine::rotate`].
    Rotate(String, RotateKey),
    /// [`Engine::sign`].
    Sign(SignRequest<'static>),
    /// [`Engine::wrap`], with its wish to see the data key that was made.
    Wrap(WrapRequest),
    /// [`Engine::unwrap`].
    Unwrap(String, Vec<u8>),
    /// [`Engine::rewrap`].
    Rewrap(String, Vec<u8>),
    /// [`Engine::derive`].
    Derive(String, String),
    /// [`Engine::export`].
    Export(String),
    /// [`Engine::disable`].
    Disable(String),
    /// [`Engine::enable`].
    Enable(String),
    /// [`Engine::schedule_destroy`], with its delay.
    Destroy(String, Option<u64>),
    /// [`Engine::cancel_destroy`].
    CancelDestroy(String),
    /// [`Engine::mint_capability`].
    MintCapability(CapabilityWish),
}

/// A wish for a data key in an envelope.
#[derive(Clone, Debug, Hash)]
pub struct WrapRequest {
    /// For whom.
    pub kid: String,
    /// The data key, or the length of one that is made.
    pub data_key: GivenOrFresh,
    /// The KEM that the key must have.
    pub kem_mode: Option<KemMode>,
    /// Whether a data key that was made is answered too.
    pub return_plaintext: bool,
}

/// A data key of the caller, wiped when dropped, or the length of one that is made.
#[derive(Clone, Hash)]
pub enum GivenOrFresh {
    /// The caller's.
    Given(Arc<SecretData>),
    /// Made here.
    Fresh(usize),
}

/// Secret bytes that a request carries.
pub struct SecretData(pub SecretBytes);

impl Hash for SecretData {
    /// Requests are told apart by what cannot be secret: an import by its public key. Wraps are never recorded.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.len().hash(state);
    }
}

impl fmt::Debug for GivenOrFresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivenOrFresh")
    }
}

/// The answer to a [`Request`].
#[derive(Clone, Debug)]
pub enum Response {
    /// A key was made.
    Created(Created),
    /// A key was shown.
    Described(Described),
    /// Keys of a tenant.
    Listed(Listed),
    /// Where a key is held.
    Attested(Attested),
    /// A version was added.
    Rotated(Rotated),
    /// Signatures, under one kid or under a set.
    Signed(Vec<Signed>, SetOrOne),
    /// A verdict.
    Verified(Verified),
    /// A data key in an envelope.
    Wrapped(Arc<Wrapped>),
    /// A data key out of its envelope.
    Unwrapped(Arc<Unwrapped>),
    /// A key or a version came to another state.
    StateChanged(StateChanged),
    /// A capability was minted.
    Minted(Arc<MintedCapability>),
}

/// Whether signatures answer a single kid or a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOrOne {
    /// One kid.
    One,
    /// A set; each signature then carries its kid.
    Set,
}

impl Engine {
    /// Carries a request out. A mutation whose context has an op_id is carried out once.
    ///
    /// # Errors
    /// Those of the use case; `Conflict` and `Backpressure` of the op_id; `NoCapability`, before anything is looked up,
    /// for what the caller's capability does not cover.
    pub fn dispatch(&self, context: &Context, request: &Request) -> Result<Response> {
        self.check_rights(context, request)?;
        let (Some(op_id), Some((op, tenant))) = (context.op_id, mutation(request)) else {
            return self.act(context, request);
        };
        let context = &Context { fingerprint: Some(fingerprint(request)), ..context.clone() };
        let begun = self.counting(op, || {
            // Rights are checked on every replay, not only when the answer was recorded.
            context.permit(tenant)?;
            let scope = Scope { tenant: tenant.into(), actor: context.actor.clone(), op, op_id };
            let fingerprint = context.fingerprint.unwrap_or_default();
            let begun = self.idempotency.begin(scope, fingerprint, self.now_ms())?;
            // Claimed here; but a process before this one may have answered.
            let Begun::Claimed(claim) = begun else { return Ok(begun) };
            Ok(match self.recorded(op, context, tenant)? {
                Some(response) => Begun::Answered(Box::new(response)),
                None => Begun::Claimed(claim),
            })
        })?;
        match begun {
            Begun::Answered(response) => self.run(op, context, |trace| {
                self.recheck(context, request, &response, trace)?;
                Ok(*response)
            }),
            Begun::Claimed(claim) => {
                let response = self.act(context, request)?;
                if op == Op::Sign && self.is_durable() {
                    // An answer that outlives the process is of signatures whose records do.
                    self.counting(op, || {
                        self.settle_records()?;
                        self.record_answer(op, context, tenant, &response)
                    })?;
                }
                claim.keep(response.clone(), self.now_ms());
                Ok(response)
            }
        }
    }

    /// What must still hold for a recorded answer to be given again: the caller may know of every key, none is
    /// closed to changes and signing, policy still lets them sign, and what the answer is about is still in use; or,
    /// where the answer is a state, still in that state or gone on from it to its end.
    fn recheck(
        &self,
        context: &Context,
        request: &Request,
        response: &Response,
        trace: &mut Trace,
    ) -> Result<()> {
        let kids = match request {
            Request::Rotate(kid, _)
            | Request::Disable(kid)
            | Request::Enable(kid)
            | Request::Destroy(kid, _)
            | Request::CancelDestroy(kid) => std::slice::from_ref(kid),
            Request::Sign(wish) => wish.target.kids(),
            _ => &[],
        };
        for kid in kids {
            let key = self.find(&KidRef::parse(kid)?, context)?;
            let head = self.settled_head(&key)?;
            let suite = key.published(head.active)?.suite;
            trace.alg = suite.label();
            key.check_sound()?;
            if !matches!(response, Response::StateChanged(_)) {
                self.check_signs(self.demand(&key), suite)?;
            }
        }
        let key = |kid: &KeyId| self.keys.get(&kid.uuid).ok_or_else(KmsError::not_found);
        match response {
            Response::Created(it) => key(&it.kid.key)?.load().life.key().check(),
            Response::Rotated(rotated) => key(&rotated.kid.key)?.load().life.key().check(),
            Response::Signed(signed, _) => {
                signed.iter().try_for_each(|it| key(&it.kid.key)?.check_enabled(it.kid.version))
            }
            Response::StateChanged(changed) => {
                let now = own_state(&key(&changed.key)?.load(), changed.version);
                let ended = changed.state.destroy_at().is_some() && now == KeyState::Destroyed;
                if now == changed.state || ended {
                    return Ok(());
                }
                let error = KmsError::conflict("the key or version has changed its state since");
                Err(error.field("kid"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a request waits for a disk, or for a token.
    pub(crate) fn blocks(&self, context: &Context, request: &Request) -> bool {
        if self.is_slow_to_settle() && request.is_recorded() {
            return true;
        }
        self.is_durable()
            && match request {
                Request::Sign(wish) => {
                    context.op_id.is_some()
                        || wish.target.kids().iter().any(|kid| self.asks_token(kid))
                }
                Request::Attest(kid) => self.asks_token(kid),
                Request::Unwrap(_, envelope) | Request::Rewrap(_, envelope) => {
                    self.opens_in_token(envelope)
                }
                Request::Derive(..) => true,
                request => mutation(request).is_some(),
            }
    }

    fn act(&self, context: &Context, request: &Request) -> Result<Response> {
        match request {
            Request::Create(wish) => self.create(context, wish).map(Response::Created),
            Request::Import(wish) => self.import(context, wish).map(Response::Created),
            Request::Describe(kid) => self.describe(context, kid).map(Response::Described),
            Request::List(wish) => self.list(context, wish).map(Response::Listed),
            Request::Attest(kid) => self.attest(context, kid).map(Response::Attested),
            Request::Rotate(kid, wish) => self.rotate(context, kid, wish).map(Response::Rotated),
            Request::Sign(wish) => {
                self.sign(context, wish).map(|signed| Response::Signed(signed, shape(wish)))
            }
            Request::Wrap(wish) => {
                let data_key = match &wish.data_key {
                    GivenOrFresh::Given(bytes) => DataKey::Given(bytes.0.expose()),
                    GivenOrFresh::Fresh(size) => DataKey::Fresh(*size),
                };
                let mut wrapped = self.wrap(context, &wish.kid, data_key, wish.kem_mode)?;
                if !wish.return_plaintext {
                    wrapped.fresh = None;
                }
                Ok(Response::Wrapped(Arc::new(wrapped)))
            }
            Request::Unwrap(kid, envelope) => {
                let unwrapped = self.unwrap(context, Some(kid), envelope)?;
                Ok(Response::Unwrapped(Arc::new(unwrapped)))
            }
            Request::Rewrap(kid, envelope) => {
                let wrapped = self.rewrap(context, Some(kid), envelope)?;
                Ok(Response::Wrapped(Arc::new(wrapped)))
            }
            Request::Derive(kid, name) => self.derive(context, kid, name).map(Response::Created),
            Request::Export(kid) => match self.export(context, kid)? {},
            Request::Disable(kid) => self.disable(context, kid).map(Response::StateChanged),
            Request::Enable(kid) => self.enable(context, kid).map(Response::StateChanged),
            Request::Destroy(kid, delay_ms) => {
                self.schedule_destroy(context, kid, *delay_ms).map(Response::StateChanged)
            }
            Request::CancelDestroy(kid) => {
                self.cancel_destroy(context, kid).map(Response::StateChanged)
            }
            Request::MintCapability(wish) => {
                let minted = self.mint_capability(context, wish)?;
                Ok(Response::Minted(Arc::new(minted)))
            }
        }
    }

    /// Carries out an array of requests to sign: an answer each, in order, whatever becomes of the others.
    /// With `parallel` it is cut over the engine's threads.
    ///
    /// # Errors
    /// Only for the array as a whole: after `close`, or past the deadline.
    pub fn sign_batch(
        &self,
        items: Vec<(Context, Result<Request>)>,
        context: &Context,
        parallel: bool,
    ) -> Result<Vec<Result<Response>>> {
        self.run(Op::SignBatch, context, |_| {
            self.count_batch(Op::SignBatch, items.len());
            let answer = |(context, request): (Context, Result<Request>)| {
                let request = self.counting(Op::Sign, || request)?;
                self.dispatch(&context, &request)
            };
            if !parallel {
                return Ok(items.into_iter().map(answer).collect());
            }
            let threads = self.pool.threads()?;
            Ok(threads.install(|| items.into_par_iter().map(answer).collect()))
        })
    }

    /// Carries out an array of requests to verify, side by side: an answer each, in order, whatever becomes of
    /// the others. With `parallel` it is cut over the engine's threads.
    ///
    /// # Errors
    /// As [`Engine::sign_batch`].
    pub fn verify_batch(
        &self,
        items: &[Result<VerifyRequest<'_>>],
        context: &Context,
        parallel: bool,
    ) -> Result<Vec<Result<Response>>> {
        self.run(Op::VerifyBatch, context, |_| {
            self.count_batch(Op::VerifyBatch, items.len());
            let verified = |answers: Vec<Result<Verified>>| {
                answers.into_iter().map(|answer| answer.map(Response::Verified)).collect()
            };
            let together = |items: &[Result<VerifyRequest<'_>>]| {
                self.verify_together(items.iter().map(|it| (context, it)), false)
            };
            if !parallel {
                return Ok(verified(together(items)));
            }
            let share = self.pool.share(items.len(), 0)?;
            let shares = || items.par_chunks(share).map(together);
            let shares: Vec<_> = self.pool.threads()?.install(|| shares().collect());
            Ok(verified(shares.into_iter().flatten().collect()))
        })
    }

    /// Carries out single requests to verify that came at the same time, side by side on this thread: an answer
    /// each, in order.
    pub fn verify_coalesced(
        &self,
        items: &[(Context, Result<VerifyRequest<'_>>)],
    ) -> Vec<Result<Response>> {
        self.count_batch(Op::Verify, items.len());
        let answers = self.verify_together(items.iter().map(|(context, it)| (context, it)), true);
        answers.into_iter().map(|answer| answer.map(Response::Verified)).collect()
    }
}

fn shape(wish: &SignRequest<'_>) -> SetOrOne {
    match wish.target {
        Target::Kid(_) => SetOrOne::One,
        Target::Set(_) => SetOrOne::Set,
    }
}

impl Request {
    /// The operation that it asks for.
    pub(crate) fn op(&self) -> Op {
        match self {
            Request::Create(_) => Op::Create,
            Request::Import(_) => Op::Import,
            Request::List(_) => Op::List,
            Request::Describe(_) => Op::Describe,
            Request::Attest(_) => Op::Attest,
            Request::Rotate(..) => Op::Rotate,
            Request::Sign(_) => Op::Sign,
            Request::Wrap(_) => Op::Wrap,
            Request::Unwrap(..) => Op::Unwrap,
            Request::Rewrap(..) => Op::Rewrap,
            Request::Derive(..) => Op::Derive,
            Request::Export(_) => Op::Export,
            Request::Disable(_) => Op::Disable,
            Request::Enable(_) => Op::Enable,
            Request::Destroy(..) => Op::Destroy,
            Request::CancelDestroy(_) => Op::CancelDestroy,
            Request::MintCapability(_) => Op::MintCapability,
        }
    }

    /// Whether the audit log has a record of each.
    fn is_recorded(&self) -> bool {
        let is_use = matches!(
            self,
            Request::Wrap(_)
                | Request::Unwrap(..)
                | Request::Rewrap(..)
                | Request::Derive(..)
                | Request::Export(_)
                | Request::MintCapability(_)
        );
        is_use || mutation(self).is_some()
    }
}

/// The operation and the tenant of a request that changes something or makes a signature.
fn mutation(request: &Request) -> Option<(Op, &str)> {
    match request {
        Request::Create(wish) => Some((Op::Create, &wish.tenant)),
        Request::Import(wish) => Some((Op::Import, &wish.key.tenant)),
        Request::Rotate(kid, _) => Some((Op::Rotate, tenant_of(kid))),
        Request::Disable(kid) => Some((Op::Disable, tenant_of(kid))),
        Request::Enable(kid) => Some((Op::Enable, tenant_of(kid))),
        Request::Destroy(kid, _) => Some((Op::Destroy, tenant_of(kid))),
        Request::CancelDestroy(kid) => Some((Op::CancelDestroy, tenant_of(kid))),
        Request::Sign(wish) => Some((Op::Sign, tenant_of(wish.target.kids().first()?))),
        _ => None,
    }
}

fn tenant_of(kid: &str) -> &str {
    kid.split_once('/').map_or(kid, |(tenant, _)| tenant)
}
