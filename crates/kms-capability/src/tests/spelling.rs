//! The bytes of tokens.

use proptest::prelude::*;

use super::{bytes, first_party, set, token};
use crate::{MAX_CAVEATS, MAX_TOKEN_LEN, Macaroon, Refusal, encoding};

#[test]
fn rejects_a_token_cut_at_every_byte_and_one_with_more_after_it() {
    let set = set();
    let whole = bytes(&set.usual(&[]));
    for len in 0..whole.len() {
        assert_eq!(Macaroon::parse(&whole[..len]), None);
        assert_eq!(set.refusal(&token(&whole[..len])), Some(Refusal::Invalid));
    }
    let longer = [&whole[..], &[0]].concat();
    assert_eq!(set.refusal(&token(&longer)), Some(Refusal::Invalid));
    assert_eq!(set.refusal(&token(&whole)), None);
}

#[test]
fn rejects_every_single_bit_that_is_flipped() {
    let set = set();
    let whole = bytes(&set.usual(&["kid = core/audit"]));
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            assert_eq!(
                set.refusal(&token(&flipped)),
                Some(Refusal::Invalid),
                "byte {at} bit {bit}"
            );
        }
    }
}

#[test]
fn rejects_other_spellings_of_the_same_bytes() {
    let set = set();
    // A length that leaves two characters at the end, of which the last has bits to spare.
    let good = (0..3).map(|n| set.usual(&["rps = 1", "rps = 10", "rps = 100"][n..=n]));
    let good = good.into_iter().find(|token| token.len() % 4 != 0).unwrap();
    assert_eq!(set.refusal(&good), None);
    let last = good.as_bytes()[good.len() - 1];
    let next = char::from(if last == b'z' { b'0' } else { last + 1 });
    let others = [
        format!("{good}="),
        format!("{good}=="),
        format!("{good}\n"),
        format!(" {good}"),
        format!("{good} "),
        format!("{}{next}", &good[..good.len() - 1]),
        good.replace(['-', '_'], "+"),
        good.to_uppercase(),
        format!("{}\0", good),
    ];
    for other in others.iter().filter(|other| **other != good) {
        assert_eq!(set.refusal(other), Some(Refusal::Invalid), "{other}");
    }
}

#[test]
fn rejects_numbers_that_are_longer_than_they_need_to_be() {
    let set = set();
    let whole = bytes(&set.usual(&[]));
    // Version, then the field of the location: 1, 7, "ron-kms".
    assert_eq!(whole[..3], [2, 1, 7]);
    let longer = [&[2, 0x81, 0, 7], &whole[3..]].concat();
    assert_eq!(set.refusal(&token(&longer)), Some(Refusal::Invalid));
    let longer = [&[2, 1, 0x87, 0], &whole[3..]].concat();
    assert_eq!(set.refusal(&token(&longer)), Some(Refusal::Invalid));
}

#[test]
fn rejects_lengths_beyond_the_end_without_making_room_for_them() {
    for len in [&[0xff, 0xff, 0x7f][..], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0xff; 12]] {
        let bytes = [&[2, 2][..], len, b"x"].concat();
        assert_eq!(Macaroon::parse(&bytes), None);
    }
}

#[test]
fn takes_64_caveats_and_8_kib_and_no_more() {
    let set = set();
    let scope = &b"scope = kms:sign"[..];
    let exp = format!("exp = {}", super::NOW + 60);
    let of = |count: usize| {
        let mut caveats = vec![scope; count - 2];
        caveats.extend([&b"tenant = core"[..], exp.as_bytes()]);
        set.forge(&caveats)
    };
    assert_eq!(set.refusal(&of(MAX_CAVEATS)), None);
    assert_eq!(set.refusal(&of(MAX_CAVEATS + 1)), Some(Refusal::Invalid));
    let ten_thousand = of(10_000);
    assert!(ten_thousand.len() > MAX_TOKEN_LEN);
    assert_eq!(set.refusal(&ten_thousand), Some(Refusal::Invalid));
    // As many as fit the length, each with nothing in it.
    let empty = vec![&b""[..]; 1500];
    assert!(set.forge(&empty).len() < MAX_TOKEN_LEN);
    assert_eq!(set.refusal(&set.forge(&empty)), Some(Refusal::Invalid));
    let digest = "0".repeat(64);
    let long = format!("payload_b3 = {}", vec![digest.as_str(); 100].join(","));
    assert_eq!(set.refusal(&set.forge(&[long.as_bytes()])), Some(Refusal::Invalid));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        location in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        identifier in proptest::collection::vec(any::<u8>(), 0..300),
        caveats in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8),
        signature in any::<[u8; 32]>(),
    ) {
        let macaroon = Macaroon {
            location: location.as_deref(),
            identifier: &identifier,
            caveats: caveats.iter().map(|caveat| first_party(caveat)).collect(),
            signature: &signature,
        };
        let bytes = macaroon.to_bytes();
        prop_assert_eq!(Macaroon::parse(&bytes), Some(macaroon));
    }

    #[test]
    fn what_is_read_has_one_spelling(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Some(macaroon) = Macaroon::parse(&bytes) {
            prop_assert_eq!(macaroon.to_bytes(), bytes);
        }
    }

    #[test]
    fn no_text_is_more_than_refused(text in "\\PC{0,200}") {
        let _ = encoding::decode(&text).map(|bytes| Macaroon::parse(&bytes).is_some());
    }
}
