//! Which body, of all that the default limits let through, costs most in one native call?
//!
//! `cargo run --release -p kms-passport --example worst_bodies` prints the slowest of each entrance.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kms_core::OsEntropy;
use kms_passport::{IssuePolicy, Now, Policy, Verifier, canonical, issue};

/// `limits.max_body_bytes` of svc-passport.
const BATCH: usize = 4 << 20;
/// What it takes where one passport is asked for, and where one is issued.
const ONE: usize = 2 * 4096 + (64 << 10);
/// `limits.max_msg_bytes`.
const PAYLOAD: usize = 4096;
const KID: &str = "t/p/ed25519/0b2e7c1e-0000-4000-8000-000000000001#v";
const SHOWN: usize = 6;

/// Text of about so many bytes.
type Shape = fn(usize) -> String;

/// Values that cost more to read than they look like.
const SHAPES: &[(&str, Shape)] = &[
    ("many values", |size| array(size, |_| "1".into())),
    ("many empty objects", |size| array(size, |_| "{}".into())),
    ("objects of one name", |size| array(size, |_| r#"{"a":1}"#.into())),
    ("many names", |size| object(size, |i| format!("{i:x}"))),
    ("names that begin alike", |size| object(size, |i| format!("{}{i:06x}", "p".repeat(58)))),
    ("long names that begin alike", |size| {
        object(size, |i| format!("{}{i:06x}", "p".repeat(4000)))
    }),
    ("names beyond the BMP", |size| {
        object(size, |i| format!("{}{i:06x}", "\u{10ffff}".repeat(14)))
    }),
    ("names below and above surrogates", |size| {
        object(size, |i| format!("{}{i:06x}", "\u{ffff}\u{1f600}".repeat(8)))
    }),
    ("names by descending order", |size| object(size, |i| format!("{:08x}", u32::MAX - i as u32))),
    ("names as escapes", |size| {
        object(size, |i| format!("\\u{:04x}\\u{:04x}", i >> 15 | 1, i & 0x7fff | 1))
    }),
    ("escapes", |size| format!("\"{}\"", "\\u0041".repeat(size / 6))),
    ("short escapes", |size| format!("\"{}\"", "\\n".repeat(size / 2))),
    ("surrogates", |size| format!("\"{}\"", "\\ud83d\\ude00".repeat(size / 12))),
    ("control characters", |size| array(size, |_| "\"\\u0001\\u0002\\u0003\"".into())),
    ("one long string", |size| format!("\"{}\"", "a".repeat(size))),
    ("one long number", |size| "7".repeat(size.min(1 << 22))),
    ("one long fraction", |size| format!("0.{}", "3".repeat(size))),
    ("long numbers", |size| array(size, |_| format!("1{}e-300", "0".repeat(700)))),
    ("numbers of 17 digits", |size| array(size, |_| "1.2345678901234567e-300".into())),
    // Halfway between two doubles, so that every digit counts.
    ("halfway", |size| array(size, |i| format!("{}9007199254740993{:04}e0", "", i % 10_000))),
    ("halfway and tiny", |size| array(size, |_| "2.4703282292062327208299e-324".into())),
    ("halfway by 30 digits", |size| array(size, |_| HALFWAY[..32].to_owned() + "e-290")),
    ("halfway by 760 digits", |size| array(size, |_| format!("{HALFWAY}e-308"))),
    ("numbers near overflow", |size| array(size, |_| "1.7976931348623158079372e308".into())),
    ("deep", |size| deep(size, 15, "[", "]")),
    ("deep objects", |size| deep(size, 15, r#"{"b":"#, r#","a":0}"#)),
    ("very deep objects", |size| deep(size, 98, r#"{"b":"#, r#","a":0}"#)),
    ("deep, around one big string", |size| around(size, 98, 0)),
    ("deep, around one big array", |size| around(size, 97, 1)),
    ("white space", |size| format!("{}1", " ".repeat(size))),
];

/// Digits halfway between 2^-1022 and its neighbour, by a power of ten.
const HALFWAY: &str = concat!(
    "2.225073858507201383090232717332404064219215980462331830553327416887204434813918195854283159012511020564067339731",
    "035811005152434161553460108856012385377718821130777993532002330479610147442583636071921565046942503734208375250806",
    "650616658158948720491179968591639648500635908770118304874799780887753749949451580451605050915399856582470818645113",
    "537935804992115981085766051992433352114352390148795699609591288891602992641511063466313393663477586513029371762047",
    "325631781485664350872122828637642044846811407613911477062801689853244110024161447421618567166150540154285084716752",
    "901903161322778896729707373123334086988983175067838846926092773977972858659654941091369095406136467568702398678315",
    "290680984617210924625396728515625"
);

fn array(size: usize, element: fn(usize) -> String) -> String {
    let mut text = String::from("[");
    for i in 0.. {
        let element = element(i);
        if text.len() + element.len() + 2 > size {
            break;
        }
        if i > 0 {
            text.push(',');
        }
        text.push_str(&element);
    }
    text + "]"
}

fn object(size: usize, name: fn(usize) -> String) -> String {
    let mut text = String::from("{");
    for i in 0.. {
        let name = name(i);
        if text.len() + name.len() + 6 > size {
            break;
        }
        if i > 0 {
            text.push(',');
        }
        write!(text, "\"{name}\":1").unwrap();
    }
    text + "}"
}

fn deep(size: usize, depth: usize, open: &str, close: &str) -> String {
    let one = format!("{}0{}", open.repeat(depth), close.repeat(depth));
    let mut text = String::from("[");
    while text.len() + one.len() + 2 < size {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&one);
    }
    text + "]"
}

/// Names that are out of order around everything else, level by level.
fn around(size: usize, depth: usize, kind: usize) -> String {
    let left = size.saturating_sub(depth * 12).max(8);
    let inner =
        if kind == 0 { format!("\"{}\"", "a".repeat(left)) } else { array(left, |_| "1".into()) };
    format!("{}{inner}{}", r#"{"b":"#.repeat(depth), r#","a":0}"#.repeat(depth))
}

fn verifier() -> Verifier {
    let policy = Policy {
        clock_skew_s: 120,
        max_msg_bytes: PAYLOAD,
        max_batch: 512,
        require_aud: true,
        own_key: KID.into(),
    };
    Verifier::new(policy, None)
}

/// An envelope with this payload, whose signature is well-formed.
fn envelope(kid: &str, payload: &[u8]) -> String {
    let sig = URL_SAFE_NO_PAD.encode([1; 64]);
    format!(
        r#"{{"alg":"Ed25519","kid":"{kid}","msg":"{}","sig":"{sig}"}}"#,
        URL_SAFE_NO_PAD.encode(payload)
    )
}

fn token(payload: &[u8]) -> String {
    let header = format!(r#"{{"alg":"EdDSA","kid":"{KID}1"}}"#);
    let parts = [header.as_bytes(), payload, &[1; 64]].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!(r#"{{"token":"{}"}}"#, parts.join("."))
}

fn claims(kid: &str, ctx: &str) -> String {
    format!(
        r#"{{"aud":["a"],"ctx":{{"x":{ctx}}},"exp":9999999999,"iat":1,"iss":"i","jti":"j","kid":"{kid}","scopes":[],"sub":"s"}}"#
    )
}

/// As many of one item as fit.
fn batch(item: impl Fn(usize) -> String) -> String {
    let mut text = String::from("[");
    for i in 0..512 {
        let item = item(i);
        if text.len() + item.len() + 2 > BATCH {
            break;
        }
        if i > 0 {
            text.push(',');
        }
        text.push_str(&item);
    }
    text + "]"
}

fn main() {
    let verifier = verifier();
    verifier.trust(&format!("{KID}1"), &key()).unwrap();
    let now = Now::at(1_000_000_000);
    let mut rows: Vec<(&str, String, Duration)> = Vec::new();
    let mut row = |entrance: &'static str, name: &str, call: &dyn Fn()| {
        let best = (0..5).map(|_| {
            let since = Instant::now();
            call();
            since.elapsed()
        });
        rows.push((entrance, name.to_owned(), best.min().unwrap()));
    };
    for (name, shape) in SHAPES {
        let bare = shape(BATCH - 64);
        row("batch: the body itself", name, &|| {
            drop(verifier.verify_batch(bare.as_bytes(), now, true))
        });
        let field = format!(r#"[{{"x":{}}}]"#, shape(BATCH - 64));
        row("batch: an unknown field", name, &|| {
            drop(verifier.verify_batch(field.as_bytes(), now, true))
        });
        let room = PAYLOAD - claims(KID, "").len() - 8;
        let ctx = claims(&format!("{KID}1"), &shape(room));
        let each = batch(|_| envelope(&format!("{KID}1"), ctx.as_bytes()));
        row("batch: in each payload", name, &|| {
            drop(verifier.verify_batch(each.as_bytes(), now, true))
        });
        let each = batch(|_| token(ctx.as_bytes()));
        row("batch: in each token", name, &|| {
            drop(verifier.verify_batch(each.as_bytes(), now, true))
        });
        let one = format!(r#"{{"x":{}}}"#, shape(ONE - 64));
        row("one: an unknown field", name, &|| {
            drop(verifier.verify_one(one.as_bytes(), now, true))
        });
        let many = vec![one.as_bytes(); 64];
        row("64 together: an unknown field", name, &|| {
            drop(verifier.verify_each(&many, now, true))
        });
        let wish =
            format!(r#"{{"sub":"s","aud":"a","scopes":[],"ctx":{{"x":{}}}}}"#, shape(ONE - 64));
        row("issue: ctx", name, &|| drop(issue(&issuer(), wish.as_bytes(), KID, 1, &OsEntropy)));
        let text = shape((1 << 20) - 8);
        row("canonical", name, &|| drop(canonical(text.as_bytes())));
    }
    let unknown = batch(|i| {
        let kid = format!("{KID}{}", i + 2);
        envelope(&kid, claims(&kid, "0").as_bytes())
    });
    row("batch: unknown kids", "each another", &|| {
        drop(verifier.verify_batch(unknown.as_bytes(), now, true))
    });
    let long =
        batch(|i| envelope(&format!("{KID}{i}{}", "9".repeat(6000)), claims(KID, "0").as_bytes()));
    row("batch: unknown kids", "long ones", &|| {
        drop(verifier.verify_batch(long.as_bytes(), now, true))
    });
    let scopes = array(7000, |i| format!("\"{i:050}\""));
    let asked = batch(|_| {
        envelope(&format!("{KID}1"), claims(&format!("{KID}1"), "0").as_bytes())
            .replace('}', &format!(r#","scopes":{scopes}}}"#))
    });
    row("batch: scopes", "many and long", &|| {
        drop(verifier.verify_batch(asked.as_bytes(), now, true))
    });
    let tiny = batch(|_| token(b"{}"));
    row("batch: tiny", "tokens", &|| drop(verifier.verify_batch(tiny.as_bytes(), now, true)));

    rows.sort_by(|a, b| a.0.cmp(b.0).then(b.2.cmp(&a.2)));
    for same in rows.chunk_by(|a, b| a.0 == b.0) {
        println!("{}", same[0].0);
        for (_, name, time) in same.iter().take(SHOWN) {
            println!("  {:8.2} ms  {name}", time.as_secs_f64() * 1000.0);
        }
    }
}

fn issuer() -> IssuePolicy {
    IssuePolicy { issuer: "i".into(), default_ttl_s: 60, max_ttl_s: 60, max_msg_bytes: PAYLOAD }
}

/// A public key: the base point.
fn key() -> [u8; 32] {
    let mut key = [0x66; 32];
    key[0] = 0x58;
    key
}
