//! Wishes for capabilities.

use kms_capability::MAX_CAVEATS;
use kms_capability::mint::Wish;
use kms_core::{ErrorCode, KmsError, Result};
use serde::Deserialize;

use super::Text;
use super::json::{Items, Object, Whole, json, present};
use crate::dispatch::Request;

/// The name of one that has no other.
const UNNAMED: &str = "online";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MintDto<'a> {
    #[serde(borrow)]
    caveats: Items<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    name: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    ttl_s: Option<Whole>,
}

pub(in crate::wire) fn mint_capability(body: &[u8]) -> Result<Request> {
    let Object(dto): Object<MintDto<'_>> = json(body)?;
    let caveats = dto.caveats.all("caveats")?;
    if caveats.len() > MAX_CAVEATS {
        return Err(KmsError::new(ErrorCode::TooLarge, "at most 64 caveats").field("caveats"));
    }
    Ok(Request::MintCapability(Wish {
        name: dto.name.map_or_else(|| UNNAMED.to_owned(), std::borrow::Cow::into_owned),
        caveats: caveats.into_iter().map(std::borrow::Cow::into_owned).collect(),
        ttl_s: dto.ttl_s.map(|Whole(seconds)| seconds),
    }))
}
