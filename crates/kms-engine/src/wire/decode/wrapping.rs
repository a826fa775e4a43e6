//! Requests around data keys. What they carry is wiped here; the bytes of the body are the transport's.

use std::sync::Arc;

use kms_core::{KmsError, Result, SecretBytes};
use serde::Deserialize;
use zeroize::Zeroize;

use super::json::{Object, Whole, json, present};
use super::{Text, base64};
use crate::dispatch::{GivenOrFresh, Request, SecretData, WrapRequest};
use crate::wrap::KemMode;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrapDto<'a> {
    #[serde(borrow)]
    kid: Text<'a>,
    #[serde(default, deserialize_with = "present")]
    plaintext_key_b64: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    size: Option<Whole>,
    #[serde(default, deserialize_with = "present")]
    kem_mode: Option<Text<'a>>,
    #[serde(default)]
    return_plaintext: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnwrapDto<'a> {
    #[serde(borrow)]
    kid: Text<'a>,
    wrapped_b64: Text<'a>,
}

pub(in crate::wire) fn wrap(body: &[u8]) -> Result<Request> {
    let Object(dto): Object<WrapDto<'_>> = json(body)?;
    let data_key = match (dto.plaintext_key_b64, dto.size) {
        (Some(text), None) => {
            let mut bytes = base64(&text, "plaintext_key_b64")?;
            let secret = SecretBytes::copy_of(&bytes);
            bytes.zeroize();
            GivenOrFresh::Given(Arc::new(SecretData(secret)))
        }
        (None, Some(size)) => GivenOrFresh::Fresh(size.to_usize()),
        (Some(_), Some(_)) => {
            return Err(KmsError::bad_request("excludes plaintext_key_b64").field("size"));
        }
        (None, None) => {
            let error = KmsError::bad_request("plaintext_key_b64 or size is needed");
            return Err(error.field("plaintext_key_b64"));
        }
    };
    Ok(Request::Wrap(WrapRequest {
        kid: dto.kid.into_owned(),
        data_key,
        kem_mode: dto.kem_mode.map(|mode| KemMode::parse(&mode)).transpose()?,
        return_plaintext: dto.return_plaintext,
    }))
}

pub(in crate::wire) fn unwrap(body: &[u8]) -> Result<Request> {
    let Object(dto): Object<UnwrapDto<'_>> = json(body)?;
    Ok(Request::Unwrap(dto.kid.into_owned(), base64(&dto.wrapped_b64, "wrapped_b64")?))
}

pub(in crate::wire) fn rewrap(body: &[u8]) -> Result<Request> {
    let Object(dto): Object<UnwrapDto<'_>> = json(body)?;
    Ok(Request::Rewrap(dto.kid.into_owned(), base64(&dto.wrapped_b64, "wrapped_b64")?))
}
