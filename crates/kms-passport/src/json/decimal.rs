//! The double next to a number of many digits, in a time that its digits cannot drive up.
//!
//! The standard library is exact, too, but takes 16 microseconds where the digits are close to halfway between two
//! doubles, and a text may be full of them. Its fast path is used for the first 19 digits, here and above; where the two
//! answers differ, the number is compared with the middle between them.

use std::cmp::Ordering;

/// Digits that fit 64 bits.
const FIRST: usize = 19;
/// More digits than any middle between two doubles has (768), so that what comes after them only says that there is more.
const MOST: usize = 800;

/// The double next to `0.digits * 10^top`, to even from halfway; `digits` are ASCII, of which the first is not 0. `None`
/// where it is infinite.
pub(super) fn nearest(digits: impl Iterator<Item = u8> + Clone, top: i64) -> Option<f64> {
    let first: u64 = integer(digits.clone().take(FIRST));
    let scale = |integer: u64| format!("{integer}e{}", top - FIRST as i64).parse::<f64>().ok();
    let (low, high) = (scale(first)?, scale(first + 1)?);
    if low == high || high.is_infinite() {
        // Where only the one above is infinite, it is for the caller to know that the number is below all that are.
        return low.is_finite().then_some(low);
    }
    // low is mantissa * 2^exponent, and the middle is half a step above.
    let bits = low.to_bits();
    let (field, fraction) = ((bits >> 52) as i64, bits & ((1 << 52) - 1));
    let (mantissa, exponent) =
        if field == 0 { (fraction, -1074) } else { (fraction | 1 << 52, field - 1075) };
    Some(match compare(digits, top, 2 * mantissa + 1, exponent - 1) {
        Ordering::Less => low,
        Ordering::Greater => high,
        Ordering::Equal if mantissa % 2 == 0 => low,
        Ordering::Equal => high,
    })
}

/// `0.digits * 10^top` beside `odd * 2^exponent`.
fn compare(
    digits: impl Iterator<Item = u8> + Clone,
    top: i64,
    odd: u64,
    exponent: i64,
) -> Ordering {
    let (mut left, mut right) = (Big::default(), Big(vec![odd]));
    let mut count = 0;
    let mut some = digits.clone().take(MOST);
    loop {
        let mut taken = 0;
        let part = integer(some.by_ref().take(FIRST).inspect(|_| taken += 1));
        if taken == 0 {
            break;
        }
        left.times(10_u64.pow(taken), part);
        count += i64::from(taken);
    }
    let ten = top - count;
    // 10^ten is 5^ten * 2^ten; each power goes to the side where it is a whole number.
    if ten > 0 {
        left.times_five(ten)
    } else {
        right.times_five(-ten)
    }
    let two = ten - exponent;
    if two > 0 {
        left.shift(two)
    } else {
        right.shift(-two)
    }
    let rest = || {
        if digits.skip(MOST).any(|digit| digit != b'0') {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    };
    left.cmp(&right).then_with(rest)
}

fn integer(digits: impl Iterator<Item = u8>) -> u64 {
    digits.fold(0, |value, digit| value * 10 + u64::from(digit - b'0'))
}

/// A whole number: words of 64 bits, the lowest first, and the highest not 0.
#[derive(Default)]
struct Big(Vec<u64>);

impl Big {
    /// Becomes `self * factor + more`.
    fn times(&mut self, factor: u64, more: u64) {
        let mut carry = u128::from(more);
        for word in &mut self.0 {
            let product = u128::from(*word) * u128::from(factor) + carry;
            *word = product as u64;
            carry = product >> 64;
        }
        if carry > 0 {
            self.0.push(carry as u64);
        }
    }

    fn times_five(&mut self, mut power: i64) {
        /// The highest power of 5 in 64 bits.
        const MOST: i64 = 27;
        while power > 0 {
            self.times(5_u64.pow(power.min(MOST) as u32), 0);
            power -= MOST;
        }
    }

    fn shift(&mut self, bits: i64) {
        self.times(1 << (bits % 64), 0);
        self.0.splice(..0, std::iter::repeat_n(0, (bits / 64) as usize));
    }

    fn cmp(&self, other: &Big) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}
