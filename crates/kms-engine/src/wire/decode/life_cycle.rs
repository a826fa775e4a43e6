//! JSON to changes of state. An empty body is `{}`.

use kms_core::{Context, Result};
use serde::Deserialize;

use super::json::{Object, Whole, json, present};
use super::{Text, take_op_id};
use crate::dispatch::Request;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateDto<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    op_id: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DestroyDto<'a> {
    #[serde(default, deserialize_with = "present")]
    delay_ms: Option<Whole>,
    #[serde(default, borrow, deserialize_with = "present")]
    op_id: Option<Text<'a>>,
}

fn object<'a, T: Deserialize<'a> + Default>(body: &'a [u8]) -> Result<T> {
    if body.is_empty() {
        return Ok(T::default());
    }
    json(body).map(|Object(dto)| dto)
}

/// `disable`, `enable` and `cancel_destroy`.
pub(in crate::wire) fn state(
    kid: String,
    body: &[u8],
    context: &mut Context,
    request: impl FnOnce(String) -> Request,
) -> Result<Request> {
    let dto: StateDto<'_> = object(body)?;
    take_op_id(dto.op_id.as_deref(), context)?;
    Ok(request(kid))
}

pub(in crate::wire) fn destroy(kid: String, body: &[u8], context: &mut Context) -> Result<Request> {
    let dto: DestroyDto<'_> = object(body)?;
    take_op_id(dto.op_id.as_deref(), context)?;
    Ok(Request::Destroy(kid, dto.delay_ms.map(|Whole(ms)| ms)))
}
