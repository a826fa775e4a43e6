//! JSON into structs, strictly, and what was wrong with it.

use std::fmt;
use std::marker::PhantomData;

use kms_core::{KmsError, Result};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// An object. A derived struct alone would take an array of its values as well.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMaps<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMaps<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(OnlyMaps(PhantomData))
    }
}

/// An optional value that, where it is named, is not `null`.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

/// Parses JSON. Only on failure is it parsed again, slower, to learn the path of the fault.
pub(super) fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|_| explain::<T>(body))
}

fn explain<'a, T: Deserialize<'a>>(body: &'a [u8]) -> KmsError {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut deserializer) else {
        return KmsError::bad_request("bytes follow the JSON value").field("(body)");
    };
    let path = error.path().to_string();
    let path = if path == "." { "" } else { path.as_str() };
    let inner = error.inner();
    if !inner.is_data() {
        return KmsError::bad_request("not well-formed JSON").field("(body)");
    }
    // serde gives the kind of fault in words only; its values are not repeated.
    let text = inner.to_string();
    let named = |start: &str| text.strip_prefix(start)?.split_once('`').map(|(name, _)| name);
    let (why, name) = if let Some(name) = named("unknown field `") {
        ("unknown field", name)
    } else if let Some(name) = named("missing field `") {
        ("required field is missing", name)
    } else if let Some(name) = named("duplicate field `") {
        ("field appears twice", name)
    } else {
        ("wrong type or out of range", "")
    };
    let leaf = path.rsplit('.').next().unwrap_or_default();
    let field = match (path, name) {
        ("", "") => "(body)".to_owned(),
        (path, "") => path.to_owned(),
        ("", name) => name.to_owned(),
        (path, name) if leaf == name => path.to_owned(),
        (path, name) => format!("{path}.{name}"),
    };
    let plain = field.len() <= 96
        && field.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.[]()-".contains(&b));
    let error = KmsError::bad_request(why);
    if plain { error.field(field) } else { error.field("(body)") }
}
