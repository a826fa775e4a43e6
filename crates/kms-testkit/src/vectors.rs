//! Loads `test/vectors/`.

use std::io::Read;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use serde_json::Value;

/// The text of `test/vectors/<name>`; of a name that ends in `.gz`, decompressed.
///
/// # Panics
/// If the file cannot be read.
pub fn text(name: &str) -> String {
    let bytes = std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut text = String::new();
    let read = if name.ends_with(".gz") {
        GzDecoder::new(&bytes[..]).read_to_string(&mut text)
    } else {
        (&bytes[..]).read_to_string(&mut text)
    };
    read.unwrap_or_else(|error| panic!("{name}: {error}"));
    text
}

/// Where `test/vectors/<name>` is.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/vectors").join(name)
}

/// `test/vectors/<name>` as JSON.
///
/// # Panics
/// If the file cannot be read or is not JSON.
pub fn json(name: &str) -> Value {
    serde_json::from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The `testGroups` of `test/vectors/<name>`.
///
/// # Panics
/// If there are none.
pub fn groups(name: &str) -> Vec<Value> {
    json(name)["testGroups"].as_array().unwrap_or_else(|| panic!("no groups in {name}")).clone()
}

/// The `tests` of a group.
///
/// # Panics
/// If there are none.
pub fn tests(group: &Value) -> &[Value] {
    group["tests"].as_array().expect("tests in the group")
}

/// The tests of all groups of a file.
///
/// # Panics
/// If there are none.
pub fn cases(file: &Value) -> impl Iterator<Item = &Value> {
    file["testGroups"].as_array().expect("groups").iter().flat_map(tests)
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
