//! A pull reader over text that is valid UTF-8: the caller asks for what it expects.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;

use super::canonical::MAX_VALUES;
use super::number::Number;
use super::text;

/// Why a text is not taken: a fixed sentence that repeats nothing of it.
pub(crate) type Fault = &'static str;

/// Every [`Fault`].
pub(crate) mod faults {
    use super::Fault;

    pub(crate) const SYNTAX: Fault = "is not valid JSON";
    pub(crate) const TRAILING: Fault = "has something after its JSON value";
    pub(crate) const UTF8: Fault = "is not valid UTF-8";
    pub(crate) const BOM: Fault = "begins with a byte order mark";
    pub(crate) const CONTROL: Fault = "has an unescaped control character";
    pub(crate) const SURROGATE: Fault = "has a lone surrogate";
    pub(crate) const OVERFLOW: Fault = "has a number outside of double precision";
    pub(crate) const INEXACT: Fault = "has a whole number beyond 2^53";
    pub(crate) const DUPLICATE: Fault = "has a name twice in one object";
    pub(crate) const DEPTH: Fault = "is nested too deeply";
    pub(crate) const COUNT: Fault = "has too many values";
    pub(crate) const LONG: Fault = "the payload is over the limit";
    pub(crate) const PROTO: Fault = "has a name that is not taken";
    pub(crate) const NOT_CANONICAL: Fault = "is not in canonical form";
    pub(crate) const HEADER: Fault = "has a header that is not taken";
    pub(crate) const CLAIMS: Fault = "lacks a claim, or has one of a wrong type";
}

/// The first byte of a value says what it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    Literal,
}

/// Reads one JSON text. With `CANONICAL` it is taken only in the form of RFC 8785: no white space, names ascending by
/// their UTF-16 code units (so none is there twice), strings and numbers as ECMAScript writes them.
pub(crate) struct Reader<'a, const CANONICAL: bool> {
    source: &'a str,
    at: usize,
    depth: usize,
    most_depth: usize,
    /// Values that were passed over.
    skipped: usize,
}

/// Up to so many names are compared with each other, which costs less than a table of them.
const FEW_NAMES: usize = 16;

/// Names of one object, which must differ.
pub(crate) struct Names<'a, const CANONICAL: bool> {
    /// In canonical form the last one is enough.
    last: Option<Cow<'a, str>>,
    all: Vec<Cow<'a, str>>,
}

impl<'a, const CANONICAL: bool> Names<'a, CANONICAL> {
    pub(crate) fn new() -> Self {
        Names { last: None, all: Vec::new() }
    }

    /// Takes note of a name.
    pub(crate) fn add(&mut self, name: Cow<'a, str>) -> Result<(), Fault> {
        if name == "__proto__" {
            return Err(faults::PROTO);
        }
        if !CANONICAL {
            self.all.push(name);
            return Ok(());
        }
        match self.last.as_deref().map(|last| compare_names(last, &name)) {
            Some(Ordering::Equal) => return Err(faults::DUPLICATE),
            Some(Ordering::Greater) => return Err(faults::NOT_CANONICAL),
            Some(Ordering::Less) | None => {}
        }
        self.last = Some(name);
        Ok(())
    }

    /// Whether all differed.
    pub(crate) fn finish(self) -> Result<(), Fault> {
        let all = &self.all;
        let twice = if all.len() <= FEW_NAMES {
            (1..all.len()).any(|i| all[..i].contains(&all[i]))
        } else {
            let mut known = HashSet::with_capacity(all.len());
            !all.iter().all(|name| known.insert(name))
        };
        if twice { Err(faults::DUPLICATE) } else { Ok(()) }
    }
}

/// The order of names by their UTF-16 code units (RFC 8785, section 3.2.3).
pub(crate) fn compare_names(a: &str, b: &str) -> Ordering {
    // UTF-8 orders by code point, which is the same but for U+E000 to U+FFFF: they come after surrogates, so after what
    // is beyond the BMP. The first byte of a character says which it is, and no other byte is as large.
    let place = |byte: &u8| if matches!(byte, 0xee | 0xef) { byte + 0x10 } else { *byte };
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    a[same..].first().map(place).cmp(&b[same..].first().map(place))
}

impl<'a, const CANONICAL: bool> Reader<'a, CANONICAL> {
    /// Reads `bytes`, whose values are nested at most `most_depth` deep.
    pub(crate) fn new(bytes: &'a [u8], most_depth: usize) -> Result<Self, Fault> {
        if bytes.starts_with(b"\xef\xbb\xbf") {
            return Err(faults::BOM);
        }
        let source = std::str::from_utf8(bytes).map_err(|_| faults::UTF8)?;
        Ok(Reader { source, at: 0, depth: 0, most_depth, skipped: 0 })
    }

    /// What comes next, which is not consumed.
    #[inline]
    pub(crate) fn peek(&mut self) -> Result<Kind, Fault> {
        match self.next_byte()? {
            b'{' => Ok(Kind::Object),
            b'[' => Ok(Kind::Array),
            b'"' => Ok(Kind::String),
            b'-' | b'0'..=b'9' => Ok(Kind::Number),
            b't' | b'f' | b'n' => Ok(Kind::Literal),
            _ => Err(faults::SYNTAX),
        }
    }

    /// The next byte that is not white space, which is not consumed.
    #[inline]
    fn next_byte(&mut self) -> Result<u8, Fault> {
        if !CANONICAL {
            self.skip_space();
        }
        self.source.as_bytes().get(self.at).copied().ok_or(faults::SYNTAX)
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.source.as_bytes().get(self.at) {
            self.at += 1;
        }
    }

    #[inline]
    fn take(&mut self, byte: u8) -> Result<(), Fault> {
        if self.next_byte()? != byte {
            return Err(faults::SYNTAX);
        }
        self.at += 1;
        Ok(())
    }

    /// Begins an object or an array, of which `open` is the first byte. Whether it has a member.
    #[inline]
    fn begin(&mut self, open: u8, close: u8) -> Result<bool, Fault> {
        self.take(open)?;
        self.depth += 1;
        if self.depth > self.most_depth {
            return Err(faults::DEPTH);
        }
        let empty = self.next_byte()? == close;
        if empty {
            self.at += 1;
            self.depth -= 1;
        }
        Ok(!empty)
    }

    /// Goes past the comma or the end after a member. Whether another one follows.
    #[inline]
    fn more(&mut self, close: u8) -> Result<bool, Fault> {
        let byte = self.next_byte()?;
        self.at += 1;
        if byte == b',' {
            return Ok(true);
        }
        self.depth -= 1;
        if byte == close { Ok(false) } else { Err(faults::SYNTAX) }
    }

    /// Begins an object. Whether it has a member.
    #[inline]
    pub(crate) fn begin_object(&mut self) -> Result<bool, Fault> {
        self.begin(b'{', b'}')
    }

    /// Ends a member of an object. Whether another one follows.
    #[inline]
    pub(crate) fn more_members(&mut self) -> Result<bool, Fault> {
        self.more(b'}')
    }

    /// Begins an array. Whether it has an element.
    #[inline]
    pub(crate) fn begin_array(&mut self) -> Result<bool, Fault> {
        self.begin(b'[', b']')
    }

    /// Ends an element of an array. Whether another one follows.
    #[inline]
    pub(crate) fn more_elements(&mut self) -> Result<bool, Fault> {
        self.more(b']')
    }

    /// The name of a member, up to its value.
    #[inline]
    pub(crate) fn name(&mut self) -> Result<Cow<'a, str>, Fault> {
        let name = self.string()?;
        self.take(b':')?;
        Ok(name)
    }

    /// A string.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        self.take(b'"')?;
        let (text, next) = text::read(self.source, self.at, CANONICAL)?;
        self.at = next;
        Ok(text)
    }

    /// A number (RFC 8259, section 6), which is finite.
    pub(crate) fn number(&mut self) -> Result<Number<'a>, Fault> {
        self.next_byte()?;
        let bytes = self.source.as_bytes();
        let start = self.at;
        let digits = |at: &mut usize| {
            let first = *at;
            while bytes.get(*at).is_some_and(u8::is_ascii_digit) {
                *at += 1;
            }
            if *at > first { Ok(*at - first) } else { Err(faults::SYNTAX) }
        };
        let mut at = start;
        if bytes[at] == b'-' {
            at += 1;
        }
        let first = at;
        if digits(&mut at)? > 1 && bytes[first] == b'0' {
            return Err(faults::SYNTAX);
        }
        let mut integer = true;
        if bytes.get(at) == Some(&b'.') {
            integer = false;
            at += 1;
            digits(&mut at)?;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            integer = false;
            at += 1;
            if matches!(bytes.get(at), Some(b'+' | b'-')) {
                at += 1;
            }
            digits(&mut at)?;
        }
        self.at = at;
        let number = Number::new(&self.source[start..at], integer);
        number.check(CANONICAL)?;
        Ok(number)
    }

    /// `true`, `false` or `null`.
    pub(crate) fn literal(&mut self) -> Result<&'static str, Fault> {
        self.next_byte()?;
        let rest = &self.source.as_bytes()[self.at..];
        for word in ["true", "false", "null"] {
            if rest.starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(word);
            }
        }
        Err(faults::SYNTAX)
    }

    /// Goes past any value, having checked it.
    pub(crate) fn skip(&mut self) -> Result<(), Fault> {
        self.skipped += 1;
        if self.skipped > MAX_VALUES {
            return Err(faults::COUNT);
        }
        match self.peek()? {
            Kind::Object => {
                let mut names = Names::<CANONICAL>::new();
                let mut more = self.begin_object()?;
                while more {
                    names.add(self.name()?)?;
                    self.skip()?;
                    more = self.more_members()?;
                }
                names.finish()
            }
            Kind::Array => {
                let mut more = self.begin_array()?;
                while more {
                    self.skip()?;
                    more = self.more_elements()?;
                }
                Ok(())
            }
            Kind::String => self.string().map(drop),
            Kind::Number => self.number().map(drop),
            Kind::Literal => self.literal().map(drop),
        }
    }

    /// Ends the text.
    pub(crate) fn finish(mut self) -> Result<(), Fault> {
        if !CANONICAL {
            self.skip_space();
        }
        if self.at == self.source.len() { Ok(()) } else { Err(faults::TRAILING) }
    }
}
