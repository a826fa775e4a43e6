//! Checkpoints (C2SP tlog-checkpoint v1) and their signatures, cosignatures of witnesses (C2SP tlog-cosignature)
//! among them.
//!
//! C2SP says which bytes are signed, so they cannot begin with our prefix and a NUL like the service's other
//! statements. Every sign API refuses messages that begin with `ron-kms/`, so an [`Origin`] begins with it: the text of
//! a checkpoint is then nothing that a holder of `kms:sign` could have signed, whichever key signs the log.
//! (The message of an ML-DSA-44 signature begins with `subtree/v1`: there, that no API signs with the
//! audit key is what holds.)

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::Malformed;
use crate::merkle::Hash;
use crate::note::{
    COSIGNATURE_ED25519, ED25519, ML_DSA_44, Note, NoteKey, NoteSignature, NoteSigner, NoteVerifier,
};

/// What every origin of ours begins with.
pub const ORIGIN_PREFIX: &str = "ron-kms/";
/// Longest origin, in bytes: a length of one byte goes into the message of ML-DSA-44.
const MAX_ORIGIN: usize = 255;

/// The name of one log: `ron-kms/` and `[A-Za-z0-9._/-]`, for example `ron-kms/eu-1` or `ron-kms/svc-passport/eu-1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(Box<str>);

impl Origin {
    /// Parses an origin.
    ///
    /// # Errors
    /// [`Malformed`] without the prefix, without an instance, over 255 bytes, or with other characters.
    pub fn parse(text: &str) -> Result<Origin, Malformed> {
        let instance = text.strip_prefix(ORIGIN_PREFIX).ok_or(Malformed("origin"))?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let parts_ok = instance.split('/').all(|part| !part.is_empty() && part.bytes().all(plain));
        if parts_ok && text.len() <= MAX_ORIGIN {
            Ok(Origin(text.into()))
        } else {
            Err(Malformed("origin"))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the name of a device's key has after the origin. No origin has such a name, so neither stands for the other.
const DEVICE_SUFFIX: &str = "#device";

/// The name that the device of a log signs under.
pub fn device_name(origin: &str) -> String {
    format!("{origin}{DEVICE_SUFFIX}")
}

/// Whether a key of this name is a device's.
pub fn is_device(key: &NoteKey) -> bool {
    key.name().ends_with(DEVICE_SUFFIX)
}

/// The head of a tree at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log; of others' logs any line that is not empty.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// RFC 9162 root.
    pub root: Hash,
}

impl Checkpoint {
    /// Parses a note's text. Extension lines, which C2SP advises against and which witnesses do not sign, are refused.
    ///
    /// # Errors
    /// [`Malformed`] for everything but the one spelling of a checkpoint.
    pub fn parse(text: &str) -> Result<Checkpoint, Malformed> {
        let mut lines = text.strip_suffix('\n').ok_or(Malformed("checkpoint"))?.split('\n');
        let origin = lines.next().filter(|line| !line.is_empty()).ok_or(Malformed("origin"))?;
        let size = lines.next().and_then(parse_size).ok_or(Malformed("tree size"))?;
        let root = lines.next().and_then(parse_root).ok_or(Malformed("root hash"))?;
        if lines.next().is_some() {
            return Err(Malformed("extension line"));
        }
        Ok(Checkpoint { origin: origin.into(), size, root })
    }

    /// Why `later` cannot come after this checkpoint, where sizes and roots alone tell.
    pub fn contradicts(&self, later: &Checkpoint) -> Option<&'static str> {
        if later.origin != self.origin {
            Some("a checkpoint of another log")
        } else if later.size < self.size {
            Some("a smaller checkpoint after a larger one")
        } else if later.size == self.size && later.root != self.root {
            Some("two checkpoints of one size with different roots")
        } else {
            None
        }
    }

    /// Signs the checkpoint with every signer, in their order. `unix_s` goes into signatures that have a time.
    ///
    /// # Errors
    /// Those of the signers.
    pub fn sign(&self, signers: &[&dyn NoteSigner], unix_s: u64) -> kms_core::Result<Note> {
        let mut note = Note { text: self.to_string(), signatures: Vec::new() };
        for signer in signers {
            let line = self.line(*signer, &note.text, unix_s)?;
            note.signatures.push(line);
        }
        Ok(note)
    }

    /// The line of one signer under the text of this checkpoint.
    ///
    /// # Errors
    /// Those of the signer.
    pub(crate) fn line(
        &self,
        signer: &dyn NoteSigner,
        text: &str,
        unix_s: u64,
    ) -> kms_core::Result<NoteSignature> {
        let key = signer.key();
        let mut signature = signer.sign(&self.message(key, text, unix_s))?;
        if is_timed(key.algorithm()) {
            signature.splice(0..0, unix_s.to_be_bytes());
        }
        Ok(NoteSignature { name: key.name().into(), id: key.id(), signature })
    }

    /// What a key of this type signs.
    fn message(&self, key: &NoteKey, text: &str, unix_s: u64) -> Vec<u8> {
        match key.algorithm() {
            COSIGNATURE_ED25519 => format!("cosignature/v1\ntime {unix_s}\n{text}").into_bytes(),
            ML_DSA_44 => self.cosigned_message(key.name(), unix_s),
            _ => text.as_bytes().to_vec(),
        }
    }

    /// `cosigned_message` of tlog-cosignature for a whole tree. Names and origins are at most 255 bytes here.
    fn cosigned_message(&self, name: &str, unix_s: u64) -> Vec<u8> {
        let mut message = b"subtree/v1\n\0".to_vec();
        message.push(name.len() as u8);
        message.extend_from_slice(name.as_bytes());
        message.extend_from_slice(&unix_s.to_be_bytes());
        message.push(self.origin.len() as u8);
        message.extend_from_slice(self.origin.as_bytes());
        message.extend_from_slice(&0_u64.to_be_bytes());
        message.extend_from_slice(&self.size.to_be_bytes());
        message.extend_from_slice(&self.root);
        message
    }
}

/// The note's text as [`Checkpoint::parse`] reads it.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checkpoint { origin, size, root } = self;
        write!(f, "{origin}\n{size}\n{}\n", STANDARD.encode(root))
    }
}

fn parse_size(line: &str) -> Option<u64> {
    let canonical = line == "0" || !line.starts_with('0');
    let digits = line.bytes().all(|byte| byte.is_ascii_digit());
    if canonical && digits { line.parse().ok() } else { None }
}

fn parse_root(line: &str) -> Option<Hash> {
    STANDARD.decode(line).ok()?.try_into().ok()
}

fn is_timed(algorithm: u8) -> bool {
    algorithm != ED25519
}

/// What a note's signature by one key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// No line by this key.
    No,
    /// A line by this key that does not verify: the note is to be refused.
    Invalid,
    /// Verified; the time in seconds since the Unix epoch, where the type has one.
    Yes(Option<u64>),
}

/// Looks for a signature by `key` and verifies it. Lines by other keys are ignored; of several lines by
/// this key all must hold, and the first time counts.
pub fn signed_by(note: &Note, key: &NoteKey, verifier: &dyn NoteVerifier) -> Signed {
    let mut found = Signed::No;
    for line in note.signatures.iter().filter(|line| line.names(key)) {
        match (verify_line(note, line, key, verifier), found) {
            (Some(time), Signed::No) => found = Signed::Yes(time),
            (Some(_), _) => {}
            (None, _) => return Signed::Invalid,
        }
    }
    found
}

/// The time, where the line's signature holds.
fn verify_line(
    note: &Note,
    line: &NoteSignature,
    key: &NoteKey,
    verifier: &dyn NoteVerifier,
) -> Option<Option<u64>> {
    let (time, signature) = if is_timed(key.algorithm()) {
        let (time, signature) = line.signature.split_first_chunk()?;
        let time = u64::from_be_bytes(*time);
        // "MUST NOT exceed 2^63 - 1"
        (Some(i64::try_from(time).is_ok().then_some(time)?), signature)
    } else {
        (None, &line.signature[..])
    };
    let checkpoint = Checkpoint::parse(&note.text).ok();
    let message = match (key.algorithm(), checkpoint) {
        // A note signed with the plain type need not be a checkpoint.
        (ED25519, _) => note.text.as_bytes().to_vec(),
        (_, Some(checkpoint)) if checkpoint.origin.len() <= MAX_ORIGIN => {
            checkpoint.message(key, &note.text, time.unwrap_or_default())
        }
        _ => return None,
    };
    verify_raw(key, &message, signature, verifier).then_some(time)
}

/// Whether `signature` is one of exactly `message` by `key`.
pub fn verify_raw(
    key: &NoteKey,
    message: &[u8],
    signature: &[u8],
    verifier: &dyn NoteVerifier,
) -> bool {
    if key.algorithm() == ML_DSA_44 {
        match (key.public().try_into(), signature.try_into()) {
            (Ok(public), Ok(signature)) => verifier.ml_dsa_44(public, message, signature),
            _ => false,
        }
    } else {
        match (key.public().try_into(), signature.try_into()) {
            (Ok(public), Ok(signature)) => verifier.ed25519(public, message, signature),
            _ => false,
        }
    }
}

#[cfg(test)]
#[path = "tests/checkpoint.rs"]
mod tests;
