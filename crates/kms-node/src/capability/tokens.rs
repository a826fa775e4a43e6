//! Tokens, without a root key: what they say, and how they are narrowed.

use kms_capability::{Identifier, MAX_TOKEN_LEN, Macaroon, Refusal, encoding, mint};
use kms_core::{KmsError, Scopes};
use napi_derive::napi;
use serde_json::{Map, Value, json};

use crate::task::guard;

/// The names of all scopes, in the order of their bits.
#[napi]
pub fn capability_scopes() -> napi::Result<Vec<String>> {
    guard("capabilityScopes", || Ok(Scopes::NAMES.map(str::to_owned).to_vec()))
}

/// Why somebody is not let in, in the order of `authenticate`'s numbers.
#[napi]
pub fn capability_refusals() -> napi::Result<Vec<String>> {
    guard("capabilityRefusals", || Ok(Refusal::ALL.map(|it| format!("{it:?}")).to_vec()))
}

/// What a token says, as JSON: `{"location"?, "identifier", "caveats": [text], "capability"?: {"id", "minted_with",
/// "root_key", "name", "minted_ms"}}`. Nothing of it is verified, and the signature is not shown. What is no text is an
/// object with its bytes in hex.
#[napi]
pub fn macaroon_inspect(token: String) -> napi::Result<String> {
    guard("macaroonInspect", || {
        let fault = || KmsError::bad_request("is not a macaroon").field("token");
        if token.len() > MAX_TOKEN_LEN {
            return Err(KmsError::bad_request("over 8 KiB").field("token"));
        }
        let bytes = encoding::decode(&token).ok_or_else(fault)?;
        let macaroon = Macaroon::parse(&bytes).ok_or_else(fault)?;
        let caveats = macaroon.caveats.iter().map(|caveat| match caveat.is_third_party() {
            false => text(caveat.identifier),
            true => json!({ "third_party": true, "identifier": text(caveat.identifier) }),
        });
        let mut shown = Map::new();
        if let Some(location) = macaroon.location {
            shown.insert("location".into(), text(location));
        }
        shown.insert("identifier".into(), text(macaroon.identifier));
        shown.insert("caveats".into(), caveats.collect());
        if let Some(who) = Identifier::parse(macaroon.identifier) {
            let mut ids = who.ids.iter().map(ToString::to_string);
            let own = json!({
                "id": ids.next(),
                "minted_with": ids.collect::<Vec<_>>(),
                "root_key": format!("{:08x}", u32::from_be_bytes(who.root)),
                "name": who.name.as_str(),
                "minted_ms": who.minted_ms(),
            });
            shown.insert("capability".into(), own);
        }
        Ok(Value::Object(shown).to_string())
    })
}

/// A token with more caveats. Whoever has a token can do this, and nobody can undo it.
#[napi]
pub fn macaroon_attenuate(token: String, caveats: Vec<String>) -> napi::Result<String> {
    guard("macaroonAttenuate", || mint::attenuate(&token, &caveats))
}

fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "hex": hex })
        }
    }
}
