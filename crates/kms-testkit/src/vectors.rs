//! Loads `test/vectors/`.

use std::path::PathBuf;

use serde_json::Value;

/// The text of `test/vectors/<name>`.
///
/// # Panics
/// If the file cannot be read.
pub fn text(name: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/vectors");
    let path = root.join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// `test/vectors/<name>` as JSON.
///
/// # Panics
/// If the file cannot be read or is not JSON.
pub fn json(name: &str) -> Value {
    serde_json::from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The hex string under `key`, decoded; upper- or lower-case.
///
/// # Panics
/// If there is none.
pub fn hex_field(value: &Value, key: &str) -> Vec<u8> {
    hex(value[key].as_str().unwrap_or_else(|| panic!("no string under {key}: {value}")))
}

/// Decodes hex.
///
/// # Panics
/// If it is not hex.
pub fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd hex: {text}");
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex digits"))
        .collect()
}
