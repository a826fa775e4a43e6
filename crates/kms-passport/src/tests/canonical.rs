//! RFC 8785.

use kms_testkit::vectors;
use proptest::prelude::*;

use crate::fuzzing::is_canonical;
use crate::json::compare_names;
use crate::{MAX_DEPTH, MAX_VALUES, canonical};

fn text(json: &str) -> String {
    String::from_utf8(canonical(json.as_bytes()).expect("canonical")).expect("UTF-8")
}

fn refusal(json: impl AsRef<[u8]>) -> String {
    canonical(json.as_ref()).expect_err("refused").message.into_owned()
}

#[test]
fn gives_the_output_of_every_file_of_the_rfcs_author() {
    for name in ["arrays", "french", "structures", "unicode", "values", "weird"] {
        let input = vectors::text(&format!("jcs/input/{name}.json"));
        let output = vectors::text(&format!("jcs/output/{name}.json"));
        let canonical = canonical(input.as_bytes()).expect(name);
        assert_eq!(canonical, output.as_bytes(), "{name}");
        assert!(is_canonical(&canonical), "{name}");
    }
}

#[test]
fn writes_numbers_as_ecmascript_does() {
    // RFC 8785, appendix B, as far as JSON can say it.
    let cases = [
        ("0", "0"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("5e-324", "5e-324"),
        ("-5e-324", "-5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("9007199254740992", "9007199254740992"),
        ("-9007199254740992", "-9007199254740992"),
        ("295147905179352830000", "295147905179352830000"),
        ("9.999999999999997e22", "9.999999999999997e+22"),
        ("1e23", "1e+23"),
        ("1.0000000000000001e23", "1.0000000000000001e+23"),
        ("999999999999999700000", "999999999999999700000"),
        ("999999999999999900000", "999999999999999900000"),
        ("1e21", "1e+21"),
        ("0.000001", "0.000001"),
        ("9.999999999999997e-7", "9.999999999999997e-7"),
        ("333333333.3333332", "333333333.3333332"),
        ("333333333.33333325", "333333333.33333325"),
        ("0.3333333333333333", "0.3333333333333333"),
        ("1424953923781206.25", "1424953923781206.2"),
        ("4.50", "4.5"),
        ("2e-3", "0.002"),
        ("1E2", "100"),
        ("1e-400", "0"),
        ("12345678901234567890", "12345678901234567000"),
    ];
    for (given, expected) in cases {
        assert_eq!(text(given), expected, "{given}");
        assert_eq!(is_canonical(given.as_bytes()), given == expected, "{given}");
    }
}

/// The sum of two numbers in decimal, of as many digits after the point.
fn sum(a: &str, b: &str) -> String {
    let width = a.len().max(b.len());
    let (a, b) = (format!("{a:0>width$}"), format!("{b:0>width$}"));
    let mut carry = 0;
    let mut digits: Vec<u8> = Vec::new();
    for (a, b) in a.bytes().zip(b.bytes()).rev().filter(|(a, _)| *a != b'.') {
        let digit = a - b'0' + b - b'0' + carry;
        carry = digit / 10;
        digits.push(b'0' + digit % 10);
    }
    digits.push(b'0' + carry);
    digits.reverse();
    String::from_utf8(digits).expect("ASCII")
}

/// A number that is halfway between two doubles, or a little to one of its sides.
fn close_to_halfway() -> impl Strategy<Value = String> {
    let more = prop_oneof!["0{0,30}", "[0-9]{0,30}", "0{300,800}1"];
    let bits = (1..2046_u64, 0..1_u64 << 52).prop_map(|(field, fraction)| field << 52 | fraction);
    (bits, more, 1..2000_usize).prop_map(|(bits, more, cut)| {
        let double = f64::from_bits(bits);
        let step = f64::from_bits(bits + 1) - double;
        let half = step / 2.0;
        // All digits of both, which a subnormal half does not have: then it is next to nothing of use here.
        let exact = sum(&format!("{double:.1080}"), &format!("{half:.1080}"));
        let digits = exact.trim_matches('0');
        let zeros = exact.len() - exact.trim_start_matches('0').len();
        let exponent = (exact.len() - 1080) as i64 - zeros as i64;
        let digits = &digits[..digits.len().min(cut + 18)];
        format!("0.{digits}{more}e{exponent}")
    })
}

proptest! {
    #[test]
    fn reads_numbers_as_the_double_next_to_them(number in close_to_halfway()) {
        let double: f64 = number.parse().expect("a number");
        let mut buffer = ryu_js::Buffer::new();
        match canonical(number.as_bytes()) {
            Ok(written) => {
                prop_assert_eq!(written, buffer.format_finite(double).as_bytes(), "{}", number);
            }
            Err(_) => prop_assert!(double.is_infinite(), "{}", number),
        }
    }

    #[test]
    fn orders_names_as_their_utf16_code_units(a in "[a\u{7ff}\u{d7ff}-\u{e001}\u{ffff}\u{10000}\u{10ffff}]{0,4}",
                                              b in "[a\u{7ff}\u{d7ff}-\u{e001}\u{ffff}\u{10000}\u{10ffff}]{0,4}") {
        prop_assert_eq!(compare_names(&a, &b), a.encode_utf16().cmp(b.encode_utf16()));
    }
}

#[test]
fn numbers_close_to_halfway_cost_about_what_others_do() {
    let times = |number: &str| {
        let text = format!("[{}]", vec![number; 10_000].join(","));
        let time = || {
            let since = std::time::Instant::now();
            assert!(canonical(text.as_bytes()).is_ok());
            since.elapsed()
        };
        (0..5).map(|_| time()).min().expect("five")
    };
    // The standard library takes some hundred times as long for these.
    let usual = times("1.2345678901234567e-300");
    for number in ["2.4703282292062327208299e-324", "1.7976931348623158079372e308"] {
        assert!(times(number) < usual * 50, "{number}");
    }
}

#[test]
fn tells_infinity_from_the_largest_number_by_every_digit() {
    let bound = concat!(
        "179769313486231580793728971405303415079934132710037826936173778980444968292764",
        "750946649017977587207096330286416692887910946555547851940402630657488671505820",
        "681908902000708383676273854845817711531764475730270069855571366959622842914819",
        "860834936475292719074168444365510704342711559699508093042880177904174497792",
    );
    let below = format!("{}1", bound.strip_suffix('2').expect("its last digit"));
    for (whole, exponent) in [(&*below, 0), (&bound[..308], 1), (&bound[..20], 289)] {
        let cut = format!("0.000{whole}e312");
        for number in [format!("{whole}e{exponent}"), format!("-{whole}.0e{exponent}"), cut] {
            let largest = text(&number).trim_start_matches('-').to_owned();
            assert_eq!(largest, "1.7976931348623157e+308", "{number}");
        }
    }
    for number in [
        bound.to_owned(),
        format!("{bound}.0"),
        format!("0.0{bound}1e310"),
        format!("-{bound}0e-1"),
    ] {
        assert_eq!(refusal(&number), "has a number outside of double precision", "{number}");
    }
    for zero in ["0e999999999999999999999", "-0.000E+400", "1e-999999999999999999999"] {
        assert_eq!(text(zero), "0", "{zero}");
    }
    assert_eq!(refusal("1e999999999999999999999"), "has a number outside of double precision");
}

#[test]
fn orders_names_by_utf16() {
    let json = "{\"\u{fb33}\":3,\"\u{1f602}\":2,\"\u{20ac}\":1,\"a\":0,\"\":9}";
    assert_eq!(text(json), "{\"\":9,\"a\":0,\"\u{20ac}\":1,\"\u{1f602}\":2,\"\u{fb33}\":3}");
}

#[test]
fn refuses_a_name_twice_however_it_is_spelled() {
    for json in [r#"{"a":1,"a":2}"#, r#"{"a":1,"b":2,"\u0061":3}"#, r#"[{"x":{"é":1,"\u00e9":1}}]"#]
    {
        assert_eq!(refusal(json), "has a name twice in one object", "{json}");
    }
}

#[test]
fn refuses_what_is_not_json() {
    let cases = [
        "",
        " ",
        "{",
        "[1,]",
        "[1 2]",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "nul",
        "NaN",
        "Infinity",
        "-",
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "0x1",
        "[1]]",
        "1 2",
        "\"a",
        "\"\\x\"",
        "\"\\u12g4\"",
        "/**/1",
        "[,1]",
        "\"\u{7}\"",
        "\u{b}1",
    ];
    for json in cases {
        assert!(canonical(json.as_bytes()).is_err(), "{json}");
        assert!(!is_canonical(json.as_bytes()), "{json}");
    }
}

#[test]
fn refuses_numbers_beyond_doubles() {
    for json in ["1e400", "-1e400", "[1.8e308]", &format!("1{}", "0".repeat(400))] {
        assert_eq!(refusal(json), "has a number outside of double precision");
    }
}

#[test]
fn refuses_lone_surrogates_and_bad_utf8() {
    for json in
        [r#""\ud800""#, r#""\udc00""#, r#""\ud800\u0041""#, r#""\ud800\ud800""#, r#"{"\udfff":1}"#]
    {
        assert_eq!(refusal(json), "has a lone surrogate", "{json}");
    }
    assert_eq!(text(r#""\ud83d\ude02""#), "\"\u{1f602}\"");
    assert_eq!(refusal(b"\"\xff\""), "is not valid UTF-8");
    assert_eq!(refusal(b"\"\xed\xa0\x80\""), "is not valid UTF-8");
    assert_eq!(refusal(b"\xef\xbb\xbf1"), "begins with a byte order mark");
}

#[test]
fn bounds_nesting_and_number_of_values() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(text(&nested(MAX_DEPTH)), nested(MAX_DEPTH));
    assert_eq!(refusal(nested(MAX_DEPTH + 1)), "is nested too deeply");
    assert_eq!(refusal("[".repeat(100_000)), "is nested too deeply");
    assert_eq!(refusal(format!("[{}1]", "1,".repeat(MAX_VALUES))), "has too many values");
    assert_eq!(canonical(&vec![b' '; 2 << 20]).expect_err("too long").code.name(), "TooLarge");
}

#[test]
fn takes_canonical_text_only_as_it_is_written() {
    for json in [r#"{"a":1,"b":[true,false,null,"\u0001\b\t\n\f\r\"\\/é"]}"#, "{}", "[]", "-1.5"] {
        assert_eq!(text(json), json);
        assert!(is_canonical(json.as_bytes()), "{json}");
    }
    let variants = [
        " 1",
        "1 ",
        "[1, 2]",
        r#"{"b":1,"a":2}"#,
        r#""\u00e9""#,
        r#""\/""#,
        r#""\u000A""#,
        r#""\u0008""#,
        r#""\u001F""#,
        "1.0",
        "1e2",
        "-0",
        "1E400",
        r#"{"a" :1}"#,
        r#""\u0041""#,
    ];
    for json in variants {
        assert!(!is_canonical(json.as_bytes()), "{json}");
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(serde_json::Value::from),
            prop::collection::btree_map("\\PC{0,4}", inner, 0..8)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_form_is_its_own_and_only_that_is_taken(value in json()) {
        let given = value.to_string();
        let once = canonical(given.as_bytes()).expect("canonical");
        prop_assert_eq!(&canonical(&once).expect("canonical"), &once);
        prop_assert!(is_canonical(&once));
        prop_assert_eq!(is_canonical(given.as_bytes()), given.as_bytes() == &*once);
    }

    #[test]
    fn any_bytes_are_taken_as_canonical_only_if_they_are(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let same = canonical(&bytes).is_ok_and(|form| form == bytes);
        prop_assert_eq!(is_canonical(&bytes), same);
    }
}
