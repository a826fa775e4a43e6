//! libmacaroons' own test files. They are in version 1, which this service does not read: the test does, and hands over
//! what the chain is made of.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{GeneralPurposeConfig, STANDARD};

use super::first_party;
use crate::Macaroon;
use crate::chain::{Chain, derive};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/vectors/libmacaroons")
}

/// A macaroon of version 1: packets of four hex digits of length, a name, a space, bytes and a line feed.
struct First {
    location: Vec<u8>,
    identifier: Vec<u8>,
    caveats: Vec<Vec<u8>>,
    signature: [u8; 32],
}

fn read_first(bytes: &[u8]) -> First {
    let mut first =
        First { location: vec![], identifier: vec![], caveats: vec![], signature: [0; 32] };
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = usize::from_str_radix(std::str::from_utf8(&rest[..4]).unwrap(), 16).unwrap();
        let packet = rest[4..len].strip_suffix(b"\n").unwrap();
        rest = &rest[len..];
        let space = packet.iter().position(|byte| *byte == b' ').unwrap();
        let (name, value) = (&packet[..space], packet[space + 1..].to_vec());
        match name {
            b"location" => first.location = value,
            b"identifier" => first.identifier = value,
            b"cid" => first.caveats.push(value),
            b"signature" => first.signature = value.try_into().unwrap(),
            other => panic!("{other:?}"),
        }
    }
    first
}

fn decode_twice(line: &str) -> Vec<u8> {
    let outer = STANDARD.decode(line).unwrap();
    let either = GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&base64::alphabet::URL_SAFE, either).decode(outer).unwrap()
}

#[test]
fn every_test_of_the_verifier_comes_out_as_it_says() {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "vtest") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert_eq!(lines.next(), Some("version 1"));
        let authorized = lines.next() == Some("authorized");
        let key = lines.next().unwrap().strip_prefix("key ").unwrap();
        let lines: Vec<_> = lines.collect();
        let (line, exact) = lines.split_last().unwrap();
        let satisfied = |caveat: &Vec<u8>| {
            exact.iter().any(|it| it.strip_prefix("exact ").unwrap().as_bytes() == caveat)
        };

        let first = read_first(&decode_twice(line));
        let mut chain = Chain::start(&derive(key.as_bytes()), &first.identifier);
        first.caveats.iter().for_each(|caveat| chain.push(caveat));
        let verdict = chain.is(&first.signature) && first.caveats.iter().all(satisfied);
        assert_eq!(verdict, authorized, "{}", path.display());

        // The same macaroon in version 2 is read back as it was written.
        let second = Macaroon {
            location: Some(&first.location),
            identifier: &first.identifier,
            caveats: first.caveats.iter().map(|caveat| first_party(caveat)).collect(),
            signature: &first.signature,
        };
        let bytes = second.to_bytes();
        assert_eq!(Macaroon::parse(&bytes), Some(second));
        assert_eq!(Macaroon::parse(&decode_twice(line)), None, "this service reads no version 1");
    }
    assert_eq!(seen, 8);
}

// The document's own grammar has two marks of an end there, and every implementation that was tried writes two.
#[test]
fn the_macaroon_of_version_2_in_the_documents_is_that_of_version_1_but_for_a_mark_too_many() {
    let text = std::fs::read_to_string(folder().join("tests.txt")).unwrap();
    let line = |label: &str| {
        let found = text.lines().find_map(|line| line.trim().strip_prefix(label));
        found.unwrap().to_owned()
    };
    let first = read_first(&decode_twice(&line("v1 ")));
    let mut bytes = STANDARD.decode(line("v2 ")).unwrap();
    assert_eq!(Macaroon::parse(&bytes), None);
    let marks = bytes.windows(3).position(|three| three == [0; 3]).unwrap();
    bytes.remove(marks);
    let second = Macaroon::parse(&bytes).unwrap();
    assert_eq!(second.location, Some(&first.location[..]));
    assert_eq!(second.identifier, first.identifier);
    assert_eq!(second.signature, &first.signature);
    assert!(second.caveats.is_empty() && first.caveats.is_empty());
    assert_eq!(second.to_bytes(), bytes);
}
