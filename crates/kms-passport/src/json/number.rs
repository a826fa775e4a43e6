//! Numbers as ECMAScript writes them (RFC 8785, section 3.2.2.3).

use super::reader::{Fault, faults};

/// An integer of at most this many digits is written as it is read.
const EXACT_DIGITS: usize = 15;

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

    fn value(self) -> Result<f64, Fault> {
        let value: f64 = self.text.parse().map_err(|_| faults::SYNTAX)?;
        if value.is_finite() { Ok(value) } else { Err(faults::OVERFLOW) }
    }

    /// Whether it is finite and, where that is asked for, written as ECMAScript would.
    pub(super) fn check(self, canonical: bool) -> Result<(), Fault> {
        if self.is_plain() {
            return Ok(());
        }
        let value = self.value()?;
        if canonical && ryu_js::Buffer::new().format_finite(value) != self.text {
            return Err(faults::NOT_CANONICAL);
        }
        Ok(())
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
}
