//! Signed notes (C2SP signed-note v1): a text, and signature lines by named keys.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kms_core::{KidRef, Result, Track};
use sha2::{Digest, Sha256};

use crate::error::Malformed;

/// Largest note, in bytes: room for a checkpoint with 16 signatures of ML-DSA-44 and more.
pub const MAX_NOTE: usize = 128 * 1024;
/// Most signatures of a note; verifiers must accept 16.
pub const MAX_SIGNATURES: usize = 32;

/// Signature type of Ed25519 over the note's text.
pub const ED25519: u8 = 0x01;
/// Signature type of a witness: Ed25519 over a time and the text (C2SP tlog-cosignature).
pub const COSIGNATURE_ED25519: u8 = 0x04;
/// Signature type of ML-DSA-44 over a time and the tree (C2SP tlog-cosignature): of witnesses, and of logs.
pub const ML_DSA_44: u8 = 0x06;

/// A name and a public key: who may sign notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    algorithm: u8,
    public: Vec<u8>,
}

impl NoteKey {
    /// A key of one of the three signature types that this crate knows.
    ///
    /// # Errors
    /// [`Malformed`] for a name with spaces, `+` or control characters, another signature type, or a public key
    /// of another length (32 bytes, or 1,312 for ML-DSA-44).
    pub fn new(name: &str, algorithm: u8, public: &[u8]) -> Result<NoteKey, Malformed> {
        let len = match algorithm {
            ED25519 | COSIGNATURE_ED25519 => 32,
            ML_DSA_44 => 1312,
            _ => return Err(Malformed("signature type")),
        };
        if !is_name(name) || name.len() > 255 {
            return Err(Malformed("key name"));
        }
        if public.len() != len {
            return Err(Malformed("public key"));
        }
        Ok(NoteKey { name: name.into(), algorithm, public: public.into() })
    }

    /// Parses a verifier key: `<name>+<key id in hex>+<base64 of type ‖ public key>`.
    ///
    /// # Errors
    /// [`Malformed`] for anything else, and for a key id that is not the key's.
    pub fn parse(vkey: &str) -> Result<NoteKey, Malformed> {
        // Base64 has `+` of its own: the first two end the name and the id.
        let mut parts = vkey.splitn(3, '+');
        let (name, id) = (parts.next(), parts.next());
        let (Some(name), Some(id), Some(key)) = (name, id, parts.next()) else {
            return Err(Malformed("verifier key"));
        };
        let key = STANDARD.decode(key).map_err(|_| Malformed("verifier key"))?;
        let (algorithm, public) = key.split_first().ok_or(Malformed("verifier key"))?;
        let key = NoteKey::new(name, *algorithm, public)?;
        if hex(key.id()) == id { Ok(key) } else { Err(Malformed("key id")) }
    }

    /// The name; a log's is its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The signature type: [`ED25519`], [`COSIGNATURE_ED25519`] or [`ML_DSA_44`].
    pub fn algorithm(&self) -> u8 {
        self.algorithm
    }

    /// The public key: 32 bytes, or 1,312 for ML-DSA-44.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// SHA-256(name ‖ 0x0A ‖ type ‖ public key), the first four bytes.
    pub fn id(&self) -> [u8; 4] {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', self.algorithm])
            .chain_update(&self.public)
            .finalize()
            .into();
        [hash[0], hash[1], hash[2], hash[3]]
    }
}

/// The verifier key as [`NoteKey::parse`] reads it.
impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.algorithm], &self.public[..]].concat();
        write!(f, "{}+{}+{}", self.name, hex(self.id()), STANDARD.encode(key))
    }
}

fn hex(id: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

/// Signs for the log. Called from the writer's own thread and from whoever asks for a checkpoint.
pub trait NoteSigner: Send + Sync {
    /// The public side: type [`ED25519`] or [`ML_DSA_44`], name = origin of the log.
    fn key(&self) -> &NoteKey;

    /// Signs exactly these bytes: Ed25519 (64 bytes), or ML-DSA-44 with an empty context (2,420 bytes).
    ///
    /// # Errors
    /// Any; no checkpoint is then handed out.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>>;
}

/// Checks signatures by public keys. Strict, as everywhere in this service.
pub trait NoteVerifier: Send + Sync {
    /// Ed25519 (RFC 8032).
    fn ed25519(&self, public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool;

    /// ML-DSA-44 (FIPS 204), empty context.
    fn ml_dsa_44(&self, public: &[u8; 1312], message: &[u8], signature: &[u8; 2420]) -> bool;

    /// Whether every track of the version `from`, whose public halves are `public`, signed a
    /// [statement](crate::record::Continuity::statement), and nobody else did. `None` where it knows none of the
    /// algorithms that keys of the service have, or not one of these.
    fn continuity(
        &self,
        _from: KidRef<'_>,
        _public: &[Track<'_>],
        _statement: &[u8],
        _signatures: &[Track<'_>],
    ) -> Option<bool> {
        None
    }
}

/// A parsed note; what it says counts for nothing until a signature by a known key was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The text, with its final newline.
    pub text: String,
    /// At least one signature.
    pub signatures: Vec<NoteSignature>,
}

/// A signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The key's id.
    pub id: [u8; 4],
    /// What the type of the key makes of it; never empty.
    pub signature: Vec<u8>,
}

impl Note {
    /// Parses a note. Printing it gives the same bytes again.
    ///
    /// # Errors
    /// [`Malformed`] for everything that C2SP signed-note does not allow, and over [`MAX_NOTE`] or [`MAX_SIGNATURES`].
    pub fn parse(bytes: &[u8]) -> Result<Note, Malformed> {
        if bytes.len() > MAX_NOTE {
            return Err(Malformed("note length"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| Malformed("note text"))?;
        if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(Malformed("note text"));
        }
        let blank = note.rfind("\n\n").ok_or(Malformed("note text"))?;
        let (text, lines) = (&note[..=blank], &note[blank + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(Malformed("signature line"))?;
        let signatures =
            lines.split('\n').map(NoteSignature::parse).collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(Malformed("signature line"));
        }
        Ok(Note { text: text.into(), signatures })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

impl NoteSignature {
    fn parse(line: &str) -> Result<NoteSignature, Malformed> {
        let fault = Malformed("signature line");
        let rest = line.strip_prefix("\u{2014} ").ok_or(fault)?;
        let (name, signature) = rest.split_once(' ').ok_or(fault)?;
        let bytes = STANDARD.decode(signature).map_err(|_| fault)?;
        let (id, signature) = bytes.split_first_chunk().ok_or(fault)?;
        if !is_name(name) || signature.is_empty() {
            return Err(fault);
        }
        Ok(NoteSignature { name: name.into(), id: *id, signature: signature.into() })
    }

    /// Whether the line says that it is by `key`.
    pub fn names(&self, key: &NoteKey) -> bool {
        self.id == key.id() && self.name == key.name
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id, &self.signature[..]].concat();
        write!(f, "\u{2014} {} {}", self.name, STANDARD.encode(bytes))
    }
}

/// Not empty, without Unicode spaces, `+` and control characters.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

#[cfg(test)]
#[path = "tests/note.rs"]
mod tests;
