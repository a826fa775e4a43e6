//! The canonical form of any JSON text (RFC 8785).

use std::borrow::Cow;

use kms_core::{ErrorCode, KmsError, Result};

use super::reader::{Fault, Kind, Reader, compare_names, faults};
use super::text;

/// Longest text in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting of objects and arrays.
pub const MAX_DEPTH: usize = 100;
/// Most values, names included; a number of more than 19 digits counts as four, since it costs as much.
pub const MAX_VALUES: usize = 65_536;
/// What such a number counts as.
const LONG: usize = 4;

/// The canonical form of a JSON text: names sorted by their UTF-16 code units, strings and numbers as ECMAScript
/// writes them, no white space.
///
/// Takes the I-JSON of RFC 7493 with any finite double, so `1e400` is refused and `12345678901234567890` rounds.
///
/// # Errors
/// `TooLarge` over [`MAX_BYTES`]. `BadRequest`, field `json`, for what is not JSON, UTF-8 or well-formed Unicode, begins
/// with a byte order mark, has a name twice in an object, is nested deeper than [`MAX_DEPTH`], or has more than
/// [`MAX_VALUES`] values.
pub fn canonical(bytes: &[u8]) -> Result<Vec<u8>> {
    if bytes.len() > MAX_BYTES {
        let error = KmsError::new(ErrorCode::TooLarge, "is longer than 1 MiB");
        return Err(error.field("json"));
    }
    let write = || -> Result<Vec<u8>, Fault> {
        let mut reader = Reader::<false>::new(bytes, MAX_DEPTH)?;
        let mut writer = Writer::new(bytes.len());
        writer.value(&mut reader)?;
        reader.finish()?;
        Ok(writer.out)
    };
    write().map_err(|fault| KmsError::bad_request(fault).field("json"))
}

/// Copies values from a reader in canonical form. Members are put in order where they were written: no tree.
pub(crate) struct Writer {
    pub(crate) out: Vec<u8>,
    values: usize,
    claims: bool,
    /// Where more is not worth writing.
    most: usize,
}

/// A member of an object: its name, and where its text ends.
struct Member<'a> {
    name: Cow<'a, str>,
    start: usize,
    end: usize,
}

impl Writer {
    pub(crate) fn new(capacity: usize) -> Writer {
        Writer { out: Vec::with_capacity(capacity), values: 0, claims: false, most: usize::MAX }
    }

    /// A writer of what verifiers will take: no name that means something to JavaScript, no number that others would
    /// read as another one, and not much more than `most` bytes.
    pub(crate) fn for_claims(most: usize) -> Writer {
        Writer { claims: true, most, ..Writer::new(0) }
    }

    /// Copies the next value.
    pub(crate) fn value(&mut self, reader: &mut Reader<'_, false>) -> Result<(), Fault> {
        self.count(1)?;
        match reader.peek()? {
            Kind::Object => self.object(reader),
            Kind::Array => {
                self.out.push(b'[');
                let mut more = reader.begin_array()?;
                while more {
                    self.value(reader)?;
                    more = reader.more_elements()?;
                    if more {
                        self.out.push(b',');
                    }
                }
                self.out.push(b']');
                Ok(())
            }
            Kind::String => {
                self.string(&reader.string()?);
                Ok(())
            }
            Kind::Number => {
                let number = reader.number()?;
                if number.is_long() {
                    self.count(LONG - 1)?;
                }
                if self.claims && !number.is_exact() {
                    return Err(faults::INEXACT);
                }
                number.write(&mut self.out)
            }
            Kind::Literal => {
                self.out.extend_from_slice(reader.literal()?.as_bytes());
                Ok(())
            }
        }
    }

    fn count(&mut self, values: usize) -> Result<(), Fault> {
        self.values += values;
        if self.out.len() > self.most {
            return Err(faults::LONG);
        }
        if self.values > MAX_VALUES { Err(faults::COUNT) } else { Ok(()) }
    }

    /// Writes a string.
    pub(crate) fn string(&mut self, text: &str) {
        text::write(text, &mut self.out);
    }

    fn object(&mut self, reader: &mut Reader<'_, false>) -> Result<(), Fault> {
        self.out.push(b'{');
        let first = self.out.len();
        let mut members = Vec::new();
        let mut more = reader.begin_object()?;
        while more {
            self.count(1)?;
            let name = reader.name()?;
            if self.claims && name == "__proto__" {
                return Err(faults::PROTO);
            }
            let start = self.out.len();
            self.string(&name);
            self.out.push(b':');
            self.value(reader)?;
            // Also after the last one, so that members can change places; it is taken back below.
            self.out.push(b',');
            members.push(Member { name, start, end: self.out.len() });
            more = reader.more_members()?;
        }
        self.put_in_order(first, &mut members)?;
        if !members.is_empty() {
            self.out.pop();
        }
        self.out.push(b'}');
        Ok(())
    }

    fn put_in_order(&mut self, first: usize, members: &mut [Member<'_>]) -> Result<(), Fault> {
        let ascends = |a: &Member<'_>, b: &Member<'_>| compare_names(&a.name, &b.name).is_lt();
        if members.is_sorted_by(ascends) {
            return Ok(());
        }
        members.sort_unstable_by(|a, b| compare_names(&a.name, &b.name));
        if members.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return Err(faults::DUPLICATE);
        }
        let written = self.out.split_off(first);
        for member in members {
            self.out.extend_from_slice(&written[member.start - first..member.end - first]);
        }
        Ok(())
    }
}
