//! Answers as they are sent.

use crate::reason::Reason;

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer's JSON.
    Answer(Vec<u8>),
    /// Nothing was decided yet: these kids are not known here, and may be elsewhere. The call is to be made again once
    /// they were looked for.
    Unknown(Vec<String>),
}

/// Writes `{"ok":true,"claims":…}` with the payload as it was signed, or `{"ok":false,"reason":…}`.
pub(crate) fn write(out: &mut Vec<u8>, verdict: Result<&[u8], Reason>) {
    match verdict {
        Ok(payload) => {
            out.extend_from_slice(br#"{"ok":true,"claims":"#);
            out.extend_from_slice(payload);
            out.push(b'}');
        }
        Err(reason) => {
            out.extend_from_slice(br#"{"ok":false,"reason":""#);
            out.extend_from_slice(reason.name().as_bytes());
            out.extend_from_slice(br#""}"#);
        }
    }
}
