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

use crate::dispatch::Request;
use crate::engine::Engine;
use crate::op::Op;

/// Most items in an array.
pub const MAX_ITEMS: usize = 512;
/// Longest message of a `message` key over the wire, in bytes.
pub const MAX_MESSAGE_LEN: usize = 64 * 1024;

/// Decodes `body`, carries the operation out, encodes the answer.
///
/// `target` is the kid in the path of operations on one key. The op_id may come in the context (from
/// a header) or in the body, and must be the same where it comes in both. Batches use the engine's
/// threads and block the caller meanwhile.
///
/// # Errors
/// `BadRequest` and `TooLarge` for the body; those of the use case.
pub fn handle(
    engine: &Engine,
    op: Op,
    target: Option<&str>,
    body: &[u8],
    mut context: Context,
) -> Result<Vec<u8>> {
    let kid = || {
        let missing = || KmsError::bad_request("this operation needs a kid").field("kid");
        target.map(str::to_owned).ok_or_else(missing)
    };
    let request = match op {
        Op::SignBatch | Op::VerifyBatch => return batch(engine, op, body, &context),
        Op::Create => engine.counting(op, || decode::create(body, &mut context))?,
        Op::Rotate => {
            let kid = kid()?;
            engine.counting(op, || decode::rotate(kid, body, &mut context))?
        }
        Op::Sign => engine.counting(op, || decode::sign(body, &mut context))?,
        Op::Verify => engine.counting(op, || decode::verify(body))?,
        Op::Describe => Request::Describe(kid()?),
        Op::Attest => Request::Attest(kid()?),
        Op::Export => Request::Export(kid()?),
    };
    engine.dispatch(&context, &request).map(|response| encode::response(&response))
}

fn batch(engine: &Engine, op: Op, body: &[u8], context: &Context) -> Result<Vec<u8>> {
    let items = engine.counting(op, || decode::batch(op, body, context))?;
    let mut references = Vec::with_capacity(items.len());
    let mut requests = Vec::with_capacity(items.len());
    for item in items {
        references.push(item.reference);
        requests.push((item.context, item.request));
    }
    let answers = engine.dispatch_batch(op, requests, context)?;
    Ok(encode::batch(&answers, &references))
}
