//! `policy_hints`: a small flat object that is kept and shown.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Most hints a key may carry.
const MAX_HINTS: usize = 32;
/// Longest name or text of a hint, in bytes.
const MAX_TEXT_LEN: usize = 256;
/// Integers beyond this do not survive a JavaScript number.
const MAX_INTEGER: i64 = (1 << 53) - 1;

/// Names to texts, whole numbers and truth values, without repeats.
pub(super) struct Hints(BTreeMap<String, Hint>);

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Hint {
    Flag(bool),
    Number(#[serde(deserialize_with = "whole")] i64),
    Text(String),
}

/// A whole number, however JSON spells it.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is exact")]
    let fits = |number: &f64| number.fract() == 0.0 && number.abs() <= MAX_INTEGER as f64;
    #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
    let whole = number.as_f64().filter(fits).map(|number| number as i64);
    number.as_i64().or(whole).ok_or_else(|| D::Error::custom("must be whole"))
}

impl Hints {
    /// The object, with its names sorted.
    pub(super) fn into_json(self) -> Box<str> {
        serde_json::to_string(&self.0).unwrap_or_else(|_| "{}".to_owned()).into()
    }
}

impl<'de> Deserialize<'de> for Hints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Hints;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a flat object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Hints, A::Error> {
                let mut hints = BTreeMap::new();
                while let Some((name, hint)) = map.next_entry::<String, Hint>()? {
                    let fits = match &hint {
                        Hint::Flag(_) => true,
                        Hint::Number(n) => (-MAX_INTEGER..=MAX_INTEGER).contains(n),
                        Hint::Text(text) => text.len() <= MAX_TEXT_LEN,
                    };
                    let room = hints.len() < MAX_HINTS && name.len() <= MAX_TEXT_LEN;
                    if !fits || !room || hints.insert(name, hint).is_some() {
                        return Err(A::Error::custom("a hint is repeated or too large"));
                    }
                }
                Ok(Hints(hints))
            }
        }
        deserializer.deserialize_map(Object)
    }
}
