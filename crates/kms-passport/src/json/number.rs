//! Numbers as ECMAScript writes them (RFC 8785, section 3.2.2.3).

use std::cmp::Ordering;

use super::decimal;
use super::reader::{Fault, faults};

/// An integer of at most this many digits is written as it is read.
const EXACT_DIGITS: usize = 15;
/// ECMAScript writes no number with more digits that count: these tell any two doubles apart.
const MOST_DIGITS: usize = 17;
/// Digits that fit 64 bits, which the standard library reads fast whatever they are.
const FAST_DIGITS: usize = 19;
/// What is not below this is nearer to 2^1024 than to the largest double: 2^1024 - 2^970, which has 309 digits.
const INFINITE: &[u8; 309] = b"\
    1797693134862315807937289714053034150799341327100378269361737789804449682927647509466490179775872070963\
    3028641669288791094655554785194040263065748867150582068190890200070838367627385484581771153176447573027\
    0069855571366959622842914819860834936475292719074168444365510704342711559699508093042880177904174497792";

/// A number that fits the grammar of RFC 8259, section 6.
#[derive(Clone, Copy)]
pub(crate) struct Number<'a> {
    text: &'a str,
    /// Neither a fraction nor an exponent.
    integer: bool,
}

impl<'a> Number<'a> {
    /// `text` fits the grammar.
    pub(super) fn new(text: &'a str, integer: bool) -> Number<'a> {
        Number { text, integer }
    }

    fn is_plain(self) -> bool {
        self.integer && self.text.len() <= EXACT_DIGITS && self.text != "-0"
    }

    /// Whether it is finite and, where that is asked for, written as ECMAScript would.
    ///
    /// Texts are full of numbers that nobody wants the value of, and digits close to halfway between two doubles cost
    /// the most. So none is read as a double here unless it may be canonical.
    pub(super) fn check(self, canonical: bool) -> Result<(), Fault> {
        if self.is_plain() {
            return Ok(());
        }
        if !self.is_finite() {
            return Err(faults::OVERFLOW);
        }
        if !canonical {
            return Ok(());
        }
        let written = self.digits() <= MOST_DIGITS
            && ryu_js::Buffer::new().format_finite(self.value()?) == self.text;
        if written { Ok(()) } else { Err(faults::NOT_CANONICAL) }
    }

    /// Writes its canonical form.
    pub(super) fn write(self, out: &mut Vec<u8>) -> Result<(), Fault> {
        if self.is_plain() {
            out.extend_from_slice(self.text.as_bytes());
        } else {
            let value = self.value()?;
            out.extend_from_slice(ryu_js::Buffer::new().format_finite(value).as_bytes());
        }
        Ok(())
    }

    /// Whether it is no integer that doubles cannot tell from its neighbours.
    pub(super) fn is_exact(self) -> bool {
        const MOST: f64 = 9_007_199_254_740_992.0;
        !self.integer || self.value().is_ok_and(|value| value.abs() <= MOST)
    }

    /// A whole number from 0 to 2^53, written with digits alone.
    pub(crate) fn whole(self) -> Option<u64> {
        const MOST: u64 = 1 << 53;
        if !self.integer {
            return None;
        }
        self.text.parse().ok().filter(|whole| *whole <= MOST)
    }

    /// Whether its digits do not fit 64 bits.
    pub(super) fn is_long(self) -> bool {
        self.text.len() > FAST_DIGITS && self.digits() > FAST_DIGITS
    }

    /// The double next to it, where that is finite.
    fn value(self) -> Result<f64, Fault> {
        if !self.is_long() {
            return self.text.parse().map_err(|_| faults::SYNTAX);
        }
        let magnitude = match self.top() {
            // Below half of the least double, and nobody's billions of zeros.
            Some(top) if top < -330 => Some(0.0),
            Some(top) => decimal::nearest(self.significant(), top),
            None => Some(0.0),
        };
        let sign = if self.text.starts_with('-') { -1.0 } else { 1.0 };
        magnitude.map(|magnitude| sign * magnitude).ok_or(faults::OVERFLOW)
    }

    /// Its digits, with the zeros that say nothing, and its exponent.
    fn parts(self) -> (&'a str, &'a str, i64) {
        let (mantissa, exponent) = self.text.split_once(['e', 'E']).unwrap_or((self.text, "0"));
        let mantissa = mantissa.strip_prefix('-').unwrap_or(mantissa);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // One that has more digits than an i64 is beyond every double on its side of zero, whichever it is there.
        let beyond = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        (whole, fraction, exponent.parse().unwrap_or(beyond).clamp(i64::MIN / 2, i64::MAX / 2))
    }

    /// The digits from the first that is not 0.
    fn significant(self) -> impl Iterator<Item = u8> + Clone {
        let (whole, fraction, _) = self.parts();
        whole.bytes().chain(fraction.bytes()).skip_while(|digit| *digit == b'0')
    }

    /// How many digits count, without zeros at the end; once it is too many, not all are looked at.
    fn digits(self) -> usize {
        let mut count = 0;
        for (i, digit) in self.significant().enumerate() {
            if digit != b'0' {
                count = i + 1;
            }
            if count > FAST_DIGITS {
                break;
            }
        }
        count
    }

    /// The power of ten that it is below, and not below a tenth of; none for zero.
    fn top(self) -> Option<i64> {
        let (whole, fraction, exponent) = self.parts();
        let point = if whole == "0" {
            -(fraction.bytes().position(|digit| digit != b'0')? as i64)
        } else {
            whole.len() as i64
        };
        Some(point + exponent)
    }

    fn is_finite(self) -> bool {
        let Some(top) = self.top() else { return true };
        match top.cmp(&(INFINITE.len() as i64)) {
            Ordering::Less => true,
            Ordering::Greater => false,
            // The last digit of the bound is not 0, so this holds also where one of them is longer.
            Ordering::Equal => self.significant().cmp(INFINITE.iter().copied()).is_lt(),
        }
    }
}
