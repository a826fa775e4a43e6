//! Signatures that a token makes before the use case runs, so that no thread waits for it.
//!
//! First it is found out which signatures of a token a request needs; then the token makes them, several at once; then
//! the use case runs as ever, and finds them in its context. It decides everything anew: a signature that it does not
//! look for does not leave.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kms_core::signer::{Presigned, Signer};
use kms_core::{Algorithm, Context, ErrorCode, Kid, KidRef, KmsError, Result};

use crate::batch::SignItem;
use crate::engine::{Engine, Trace};
use crate::known::ItemKid;
use crate::material::Signature;
use crate::sign::{Payload, SignRequest, SigningHead, faulty};

/// A signature that a token has to make.
pub struct Need {
    kid: Kid,
    alg: Algorithm,
    covered: Box<[u8]>,
}

/// What goes on when the signatures are there, with the context that has them. It must be short, and must not block.
pub type GoOn = Box<dyn FnOnce(Context) + Send>;

/// What is under way for one request.
struct Making {
    signer: Arc<dyn Signer>,
    context: Context,
    /// How long each may take.
    within: Duration,
    state: Mutex<State>,
}

struct State {
    waiting: std::vec::IntoIter<Need>,
    under_way: usize,
    made: Presigned,
    /// Of the first that failed in a way that the others would: they are not asked for.
    failed: Option<KmsError>,
    /// A thread is handing out what waits.
    handing_out: bool,
    go_on: Option<GoOn>,
}

impl Engine {
    /// What a token has to make for one signature in process.
    pub fn needs_of_one(&self, context: &Context, kid: ItemKid<'_>, message: &[u8]) -> Vec<Need> {
        self.needs_of_items(context, &[SignItem { kid, message }])
    }

    /// What a token has to make for messages under keys with one track.
    pub fn needs_of_items(&self, context: &Context, items: &[SignItem<'_>]) -> Vec<Need> {
        let need = |item: &SignItem<'_>| -> Result<Option<Need>> {
            let kid = self.find_item(context, item.kid)?;
            let head = self.signing_head(context, &kid, &mut Trace::default())?;
            head.only_track(true)?;
            self.need(&head, &Payload::Local(item.message))
        };
        self.if_token(|| items.iter().filter_map(|item| need(item).ok().flatten()).collect())
    }

    /// What a token has to make for a request; nothing where the request will be refused.
    pub fn needs(&self, context: &Context, wish: &SignRequest<'_>) -> Vec<Need> {
        let need = |kid: &String| -> Result<Option<Need>> {
            let kid = self.know(context, kid)?;
            let head = self.signing_head(context, &kid, &mut Trace::default())?;
            let signed_under = kms_crypto::context::Context::new(&wish.context)?;
            head.check_wish(wish, signed_under)?;
            if !head.tracks(wish.produce_hybrid).contains(&Algorithm::Ed25519) {
                return Ok(None);
            }
            self.need(&head, &wish.payload)
        };
        let all = || wish.target.kids().iter().map(need).collect::<Result<Vec<_>>>();
        self.if_token(|| all().unwrap_or_default().into_iter().flatten().collect())
    }

    fn if_token(&self, needs: impl FnOnce() -> Vec<Need>) -> Vec<Need> {
        if self.has_token() { needs() } else { Vec::new() }
    }

    fn need(&self, head: &SigningHead<'_>, payload: &Payload<'_>) -> Result<Option<Need>> {
        if !head.held.is_remote() {
            return Ok(None);
        }
        payload.check_not_reserved()?;
        let covered = payload.covered(head.key.facts.signs)?;
        Ok(Some(Need { kid: head.kid(), alg: Algorithm::Ed25519, covered: Box::from(&*covered) }))
    }

    /// Whether the head of a key is in a token.
    pub(crate) fn asks_token(&self, kid: &str) -> bool {
        let head = |kid: KidRef<'_>| {
            let key = self.keys.get(&kid.uuid)?;
            let head = key.load();
            Some(key.published(kid.version.unwrap_or(head.active)).ok()?.is_remote())
        };
        self.has_token() && KidRef::parse(kid).ok().and_then(head).unwrap_or(false)
    }

    /// Refuses a call that would wait for a token on a thread that must not.
    ///
    /// # Errors
    /// `Unsupported`, field `kid`.
    pub fn check_at_hand(&self, kid: &str) -> Result<()> {
        if self.asks_token(kid) {
            let why = "the private half is in a token: use the asynchronous call";
            return Err(KmsError::unsupported(why).field("kid"));
        }
        Ok(())
    }

    /// Has the token make what is needed, and goes on with the context that has it: on a thread of the token's, or on this
    /// one.
    pub fn presign(&self, context: Context, needs: Vec<Need>, go_on: GoOn) {
        let within = self.remote().and_then(|remote| Ok((remote, self.within(remote, &context)?)));
        let Ok((remote, within)) = within else { return go_on(context) };
        if needs.is_empty() {
            return go_on(context);
        }
        let state = State {
            waiting: needs.into_iter(),
            under_way: 0,
            made: Presigned::new(Instant::now()),
            failed: None,
            handing_out: false,
            go_on: Some(go_on),
        };
        let signer = Arc::clone(&remote.signer);
        Making::hand_out(&Arc::new(Making { signer, context, within, state: Mutex::new(state) }));
    }

    /// A signature by a token: one that was made beforehand, or one that this thread waits for.
    pub(crate) fn sign_in_token(
        &self,
        head: &SigningHead<'_>,
        alg: Algorithm,
        covered: &[u8],
    ) -> Result<Signature> {
        let (remote, kid) = (self.remote()?, head.kid());
        let made = match &head.caller.presigned {
            Some(made) => made.find(&kid, alg, covered).ok_or_else(moved)?.clone()?,
            None => {
                let within = self.within(remote, head.caller)?;
                remote.signer.sign(&kid, alg, covered, within)?
            }
        };
        let signature = made.try_into().map_err(|_| faulty())?;
        Ok(Signature::Ed25519(signature))
    }
}

/// The head changed between the signature and its use.
fn moved() -> KmsError {
    KmsError::conflict(MOVED).field("kid").retryable(true)
}

const MOVED: &str = "the head of the key changed meanwhile";

/// Whether a request is to be begun anew, because the head of a key changed while the token signed.
pub fn is_moved(error: &KmsError) -> bool {
    error.code == ErrorCode::Conflict && error.retryable && error.message == MOVED
}

impl Making {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each critical section is some operations of collections.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for as many as the token works on at once. A signer may answer at once, on this stack: its answer does not
    /// hand out more while this does.
    fn hand_out(making: &Arc<Making>) {
        let mut state = making.lock();
        if std::mem::replace(&mut state.handing_out, true) {
            return;
        }
        loop {
            if state.under_way >= making.signer.width() {
                break;
            }
            let Some(need) = state.waiting.next() else { break };
            if let Some(error) = state.failed.clone() {
                state.made.add(&need.kid, need.alg, &need.covered, Err(error));
                continue;
            }
            state.under_way += 1;
            drop(state);
            let then = Arc::clone(making);
            let Need { kid, alg, covered } = need;
            let (own_kid, message) = (kid.clone(), covered.clone());
            making.signer.sign_then(
                &own_kid,
                alg,
                &message,
                making.within,
                Box::new(move |outcome| then.made(&kid, alg, &covered, outcome)),
            );
            state = making.lock();
        }
        state.handing_out = false;
        if state.under_way == 0 && state.waiting.as_slice().is_empty() {
            let none = Presigned::new(state.made.since());
            let (go_on, made) = (state.go_on.take(), std::mem::replace(&mut state.made, none));
            drop(state);
            if let Some(go_on) = go_on {
                go_on(Context { presigned: Some(Arc::new(made)), ..making.context.clone() });
            }
        }
    }

    fn made(self: Arc<Self>, kid: &Kid, alg: Algorithm, covered: &[u8], outcome: Result<Vec<u8>>) {
        let mut state = self.lock();
        state.under_way -= 1;
        if let Err(error) = &outcome
            && error.retryable
            && matches!(error.code, ErrorCode::StoreUnavailable | ErrorCode::Timeout)
        {
            state.failed = Some(error.clone());
        }
        state.made.add(kid, alg, covered, outcome);
        drop(state);
        Making::hand_out(&self);
    }
}
