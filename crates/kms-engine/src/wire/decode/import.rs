//! JSON to an import. The private key is wiped here; the bytes of the body are the transport's.

use std::borrow::Cow;
use std::sync::Arc;

use kms_core::{Context, Result, SecretBytes};
use serde::Deserialize;
use zeroize::Zeroize;

use super::json::{Object, json, present};
use super::{Hints, Text, base64, take_op_id};
use crate::create::CreateKey;
use crate::dispatch::{Request, SecretData};
use crate::import::ImportKey;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportDto<'a> {
    #[serde(borrow)]
    tenant: Text<'a>,
    purpose: Text<'a>,
    alg: Text<'a>,
    private_key_b64: Text<'a>,
    public_key_b64: Text<'a>,
    #[serde(default, deserialize_with = "present")]
    pq_public_key_b64: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    signs: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    policy_hints: Option<Hints>,
    #[serde(default, deserialize_with = "present")]
    op_id: Option<Text<'a>>,
}

pub(in crate::wire) fn import(body: &[u8], context: &mut Context) -> Result<Request> {
    let Object(dto): Object<ImportDto<'_>> = json(body)?;
    let mut bytes = base64(&dto.private_key_b64, "private_key_b64")?;
    let private = SecretBytes::copy_of(&bytes);
    bytes.zeroize();
    take_op_id(dto.op_id.as_deref(), context)?;
    let mut public = vec![base64(&dto.public_key_b64, "public_key_b64")?];
    if let Some(text) = dto.pq_public_key_b64 {
        public.push(base64(&text, "pq_public_key_b64")?);
    }
    Ok(Request::Import(ImportKey {
        key: CreateKey {
            tenant: dto.tenant.into_owned(),
            purpose: dto.purpose.into_owned(),
            alg: dto.alg.into_owned(),
            signs: dto.signs.map(Cow::into_owned),
            policy_hints: dto.policy_hints.map(Hints::into_json),
        },
        private: Arc::new(SecretData(private)),
        public,
    }))
}
