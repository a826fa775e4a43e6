//! JSON into structs, strictly, and what was wrong with it.

use std::fmt;
use std::marker::PhantomData;

use kms_core::{ErrorCode, KmsError, Result};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use smallvec::SmallVec;

use super::MAX_ITEMS;

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

/// A whole number from 0 to 2^53 - 1, however JSON spells it: `1`, `1.0` and `1e0` are one number (RFC 8259,
/// section 6), and clients in some languages know no other kind.
#[derive(Clone, Copy)]
pub(super) struct Whole(pub(super) u64);

/// The largest whole number that every JSON reader keeps: beyond it a JavaScript number rounds (RFC 8259 section 6).
const MOST: u64 = (1 << 53) - 1;

impl Whole {
    /// The number; the largest where it is larger.
    pub(super) fn to_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 0")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Whole, E> {
                if number <= MOST { Ok(Whole(number)) } else { Err(E::custom("too large")) }
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Whole, E> {
                #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is exact")]
                let fits = number.fract() == 0.0 && (0.0..=MOST as f64).contains(&number);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "taken only where it is whole and in range"
                )]
                let whole = number as u64;
                if fits { Ok(Whole(whole)) } else { Err(E::custom("not whole")) }
            }
        }
        deserializer.deserialize_u64(Number)
    }
}

/// An array of which at most [`MAX_ITEMS`] are kept. The rest is read past and counted, so that an array
/// costs no more memory than an answer to it would.
pub(super) struct Items<T> {
    kept: SmallVec<[T; 1]>,
    len: usize,
}

impl<T> Items<T> {
    /// All of them.
    ///
    /// # Errors
    /// `TooLarge` where they are too many.
    pub(super) fn all(self, field: &'static str) -> Result<SmallVec<[T; 1]>> {
        if self.len > self.kept.len() {
            return Err(KmsError::new(ErrorCode::TooLarge, "at most 512 items").field(field));
        }
        Ok(self.kept)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counting<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Counting<T> {
            type Value = Items<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut kept = SmallVec::new();
                while kept.len() < MAX_ITEMS {
                    match seq.next_element()? {
                        Some(item) => kept.push(item),
                        None => return Ok(Items { len: kept.len(), kept }),
                    }
                }
                let mut len = kept.len();
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    len += 1;
                }
                Ok(Items { kept, len })
            }
        }
        deserializer.deserialize_seq(Counting(PhantomData))
    }
}

/// Parses JSON. Only on failure is it parsed again, slower, to learn the path of the fault.
pub(super) fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    read(body).ok_or_else(|| explain::<T>(body))
}

/// Parses JSON, and says nothing of what is wrong with it.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    // RFC 8259, section 8.1. Asked once for all of it, not for each string.
    serde_json::from_str(std::str::from_utf8(body).ok()?).ok()
}

fn malformed() -> KmsError {
    KmsError::bad_request("not well-formed JSON").field("(body)")
}

fn explain<'a, T: Deserialize<'a>>(body: &'a [u8]) -> KmsError {
    let Ok(text) = std::str::from_utf8(body) else { return malformed() };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut deserializer) else {
        return KmsError::bad_request("bytes follow the JSON value").field("(body)");
    };
    let path = error.path().to_string();
    let path = if path == "." { "" } else { path.as_str() };
    let inner = error.inner();
    if !inner.is_data() {
        return malformed();
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
