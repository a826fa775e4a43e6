//! The JSON of the service: bytes in, bytes out, the same under every JSON transport.
//!
//! Strict: an unknown, duplicate or missing name, a wrong type, `null` for an optional value, bytes
//! after the value, invalid UTF-8 and lone surrogates are all `BadRequest`, and the error names the
//! field and never repeats a value.

mod decode;
mod encode;
mod hints;

pub use encode::error as error_json;
use kms_core::{Context, KmsError, Result};

use crate::cost;
use crate::dispatch::{Request, Response};
use crate::engine::Engine;
use crate::op::Op;
use crate::presign::Need;
use crate::recording::AuditVerify;

/// Most items in an array.
pub const MAX_ITEMS: usize = 512;
/// Longest message of a `message` key over the wire, in bytes.
pub const MAX_MESSAGE_LEN: usize = 64 * 1024;

/// Decodes `body`, carries the operation out, encodes the answer.
///
/// `target` is the kid in the path of operations on one key. The op_id may come in the context (from
/// a header) or in the body, and must be the same where it comes in both. With `parallel` a batch is cut
/// over the engine's threads; without, what takes longer than an event loop may wait is not done, and the answer is
/// `None`: nothing has happened, and the call is to be made again where it may wait.
///
/// # Errors
/// `BadRequest` and `TooLarge` for the body; those of the use case.
pub fn handle(
    engine: &Engine,
    op: Op,
    target: Option<&str>,
    body: &[u8],
    mut context: Context,
    parallel: bool,
) -> Result<Option<Vec<u8>>> {
    let kid = || {
        let missing = || KmsError::bad_request("this operation needs a kid").field("kid");
        target.map(str::to_owned).ok_or_else(missing)
    };
    // What is tried again would make another data key, or another token: whoever sends an op_id expects the same one.
    if matches!(op, Op::Wrap | Op::Unwrap | Op::Rewrap | Op::MintCapability)
        && context.op_id.is_some()
    {
        let error = KmsError::unsupported("this operation is not idempotent");
        return engine.counting(op, || Err(error.field("op_id")));
    }
    let request = match op {
        Op::SignBatch => {
            let batch = engine.counting(op, || decode::sign_batch(body, &context))?;
            let blocks = |(context, request): &(Context, Result<_>)| {
                request.as_ref().is_ok_and(|request| engine.blocks(context, request))
            };
            if !parallel
                && (cost::are_slow(batch.requests.iter()) || batch.requests.iter().any(blocks))
            {
                return Ok(None);
            }
            let signatures = batch.requests.iter().filter_map(|(_, request)| request.as_ref().ok());
            let signatures = signatures.map(signatures_of).sum();
            engine.counting(op, || engine.check_sign_rate(signatures))?;
            let answers = engine.sign_batch(batch.requests, &context, parallel)?;
            let answers: Vec<_> = answers.into_iter().map(|it| it.map_err(on_the_wire)).collect();
            return Ok(Some(encode::batch(&answers, &batch.references, engine.log())));
        }
        Op::VerifyBatch => {
            let batch = engine.counting(op, || decode::verify_batch(body, &context))?;
            if !parallel && cost::are_slow_to_verify(batch.requests.iter()) {
                return Ok(None);
            }
            let answers = engine.verify_batch(&batch.requests, &context, parallel)?;
            let invalid = answers.iter().filter(|answer| !is_valid(answer)).count();
            let counts = (answers.len(), invalid);
            engine.audit_verification(AuditVerify::Requests, op, &context, counts, &[body]);
            let answers: Vec<_> = answers.into_iter().map(|it| it.map_err(on_the_wire)).collect();
            return Ok(Some(encode::batch(&answers, &batch.references, engine.log())));
        }
        Op::Create => engine.counting(op, || decode::create(body, &mut context))?,
        Op::Import => engine.counting(op, || decode::import(body, &mut context))?,
        Op::List => engine.counting(op, || decode::list(body))?,
        Op::Rotate => {
            let kid = kid()?;
            engine.counting(op, || decode::rotate(kid, body, &mut context))?
        }
        Op::Sign => engine.counting(op, || decode::sign(body, &mut context))?,
        Op::Verify => {
            let wish = engine.counting(op, || decode::verify(body))?;
            if !parallel && cost::is_slow_to_verify(&wish) {
                return Ok(None);
            }
            let answer = engine.verify(&context, &wish).map(Response::Verified);
            let counts = (1, usize::from(!is_valid(&answer)));
            engine.audit_verification(AuditVerify::Requests, op, &context, counts, &[body]);
            let response = answer.map_err(on_the_wire)?;
            return Ok(Some(encode::response(&response, engine.log())));
        }
        Op::Wrap => engine.counting(op, || decode::wrap(body))?,
        Op::Unwrap => engine.counting(op, || decode::unwrap(body))?,
        Op::Rewrap => engine.counting(op, || decode::rewrap(body))?,
        Op::Derive => {
            let kid = kid()?;
            engine.counting(op, || decode::derive(kid, body))?
        }
        Op::Disable | Op::Enable | Op::CancelDestroy => {
            let request = match op {
                Op::Disable => Request::Disable,
                Op::Enable => Request::Enable,
                _ => Request::CancelDestroy,
            };
            let kid = kid()?;
            engine.counting(op, || decode::state(kid, body, &mut context, request))?
        }
        Op::Destroy => {
            let kid = kid()?;
            engine.counting(op, || decode::destroy(kid, body, &mut context))?
        }
        Op::MintCapability => engine.counting(op, || decode::mint_capability(body))?,
        Op::Describe => Request::Describe(kid()?),
        Op::Attest => Request::Attest(kid()?),
        Op::Export => Request::Export(kid()?),
    };
    if !parallel && (cost::is_slow(&request) || engine.blocks(&context, &request)) {
        return Ok(None);
    }
    engine.counting(op, || engine.check_sign_rate(signatures_of(&request)))?;
    let answer = engine.dispatch(&context, &request);
    let response = answer.map_err(|error| match op {
        Op::Sign => on_the_wire(error),
        _ => error,
    })?;
    Ok(Some(encode::response(&response, engine.log())))
}

/// How many keys a request signs with.
fn signatures_of(request: &Request) -> usize {
    match request {
        Request::Sign(wish) => wish.target.kids().len(),
        _ => 0,
    }
}

/// What a token has to make for a request to sign: [`Engine::presign`]. Nothing where the request will be refused.
pub fn needs(engine: &Engine, op: Op, body: &[u8], context: &Context) -> Vec<Need> {
    let of = |context: &Context, request: &Result<Request>| match request {
        Ok(Request::Sign(wish)) => engine.needs(context, wish),
        _ => Vec::new(),
    };
    match op {
        _ if !engine.has_token() => Vec::new(),
        Op::Sign => of(context, &decode::sign(body, &mut context.clone())),
        Op::SignBatch => decode::sign_batch(body, context).map_or_else(
            |_| Vec::new(),
            |batch| batch.requests.iter().flat_map(|(context, it)| of(context, it)).collect(),
        ),
        _ => Vec::new(),
    }
}

fn is_valid(answer: &Result<Response>) -> bool {
    matches!(answer, Ok(Response::Verified(verified)) if verified.ok)
}

/// Names a field of a signature as the JSON does: use cases know the context by its bytes.
fn on_the_wire(error: KmsError) -> KmsError {
    match error.field.as_deref() {
        Some("context") => error.field("context_b64"),
        _ => error,
    }
}

/// As [`handle`] for many requests to verify that came at the same time: an answer each, in order. Their
/// signatures are verified side by side. One whose context is at fault fails alone, and one that takes longer than an
/// event loop may wait is not done: its answer is `None`, as that of [`handle`].
pub fn verify_coalesced(
    engine: &Engine,
    requests: Vec<(Result<Context>, &[u8])>,
) -> Vec<Result<Option<Vec<u8>>>> {
    let mut slow = Vec::with_capacity(requests.len());
    let mut quick = Vec::with_capacity(requests.len());
    let mut bodies = Vec::with_capacity(requests.len());
    for (context, body) in requests {
        let request = match context {
            Ok(context) => (context, decode::verify(body)),
            Err(error) => (Context::default(), Err(error)),
        };
        slow.push(cost::are_slow_to_verify(std::iter::once(&request.1)));
        if slow.last() == Some(&false) {
            quick.push(request);
            bodies.push(body);
        }
    }
    let answers = engine.verify_coalesced(&quick);
    for (((context, _), body), answer) in quick.iter().zip(bodies).zip(&answers) {
        let counts = (1, usize::from(!is_valid(answer)));
        engine.audit_verification(AuditVerify::Requests, Op::Verify, context, counts, &[body]);
    }
    let mut answers = answers.into_iter();
    let answer = |slow: bool| {
        let next = if slow { None } else { answers.next() };
        let next = next.map(|answer| answer.map_err(on_the_wire));
        next.map(|answer| answer.map(|answer| encode::response(&answer, engine.log()))).transpose()
    };
    slow.into_iter().map(answer).collect()
}
