//! What vouches for keys: an old version for the new one, old audit keys for new ones. Each has a statement that is signed.

use kms_core::{KidRef, Track, Version};

use super::{put_kid, take_kid};
use crate::codec::{Reader, Writer};
use crate::error::Malformed;

/// Most tracks of a key, and most keys or signatures of a transition.
pub(super) const MAX_TRACKS: u8 = 4;

/// An old head vouches for the version after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuity<'a> {
    /// Who rotated the key.
    pub actor: &'a str,
    /// The kid that signed, with its version.
    pub from: KidRef<'a>,
    /// The version after it, of the same key.
    pub to: Version,
    /// Public halves of the old version, so that every proof can be checked alone.
    pub from_public: Vec<Track<'a>>,
    /// Public halves of the new version.
    pub public: Vec<Track<'a>>,
    /// By the old version, over [`Continuity::statement`].
    pub signatures: Vec<Track<'a>>,
}

impl Continuity<'_> {
    /// What the old head signs: `ron-kms/continuity/v1` ‖ 0x00 ‖ old kid ‖ 0x00 ‖ new kid ‖ 0x00 ‖ public halves of the old
    /// version ‖ those of the new one. Halves are written as in the record, with the lengths of all parts.
    ///
    /// Every track signs these very bytes, also one of a key whose signatures otherwise cover a digest: a caller may
    /// have any 32 bytes signed by such a key, and no statement has 32. ML-DSA and SLH-DSA sign under an empty context, and
    /// the ML-DSA half of a hybrid version under the one that ties it to `from` (`kms_crypto::hybrid`).
    ///
    /// # Errors
    /// [`Malformed`] where the proof could not be recorded either.
    pub fn statement(
        from: KidRef<'_>,
        to: Version,
        from_public: &[Track<'_>],
        public: &[Track<'_>],
    ) -> Result<Vec<u8>, Malformed> {
        check_versions(from, to)?;
        let new = KidRef { version: Some(to), ..from };
        let mut statement = format!("ron-kms/continuity/v1\0{from}\0{new}\0").into_bytes();
        let mut out = Writer(&mut statement);
        put_tracks(&mut out, "from_public", from_public)?;
        put_tracks(&mut out, "public", public)?;
        Ok(statement)
    }
}

impl<'a> Continuity<'a> {
    pub(super) fn encode(&self, out: &mut Writer<'_>) -> Result<(), Malformed> {
        out.text("actor", self.actor)?;
        put_kid(out, self.from)?;
        out.u32(self.to.get());
        put_tracks(out, "from_public", &self.from_public)?;
        put_tracks(out, "public", &self.public)?;
        put_tracks(out, "signatures", &self.signatures)?;
        check_versions(self.from, self.to)
    }

    pub(super) fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let it = Continuity {
            actor: input.text("actor")?,
            from: take_kid(input)?,
            to: Version::new(input.u32("to")?).ok_or(Malformed("to"))?,
            from_public: take_tracks(input, "from_public")?,
            public: take_tracks(input, "public")?,
            signatures: take_tracks(input, "signatures")?,
        };
        check_versions(it.from, it.to)?;
        Ok(it)
    }
}

/// The next version follows one that is named.
fn check_versions(from: KidRef<'_>, to: Version) -> Result<(), Malformed> {
    match from.version {
        Some(from) if from < to => Ok(()),
        _ => Err(Malformed("to")),
    }
}

/// A key that signs checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditKey<'a> {
    /// The signature type of C2SP signed-note.
    pub algorithm: u8,
    /// The public key.
    pub public: &'a [u8],
}

/// Which keys sign checkpoints from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditKeys<'a> {
    /// Origin of the log, which is the name of its keys.
    pub origin: &'a str,
    /// The keys that sign from here on.
    pub keys: Vec<AuditKey<'a>>,
    /// By each of the keys before, in their order, over [`AuditKeys::statement`]. Empty in the first record of a
    /// log, and where an operator overrode.
    pub signatures: Vec<&'a [u8]>,
}

impl AuditKeys<'_> {
    /// What the keys before sign: `ron-kms/audit-key/v1` ‖ 0x00 ‖ origin ‖ keys.
    ///
    /// # Errors
    /// [`Malformed`] where the transition could not be recorded either.
    pub fn statement(origin: &str, keys: &[AuditKey<'_>]) -> Result<Vec<u8>, Malformed> {
        let mut statement = b"ron-kms/audit-key/v1\0".to_vec();
        let mut out = Writer(&mut statement);
        out.text("origin", origin)?;
        put_keys(&mut out, keys)?;
        Ok(statement)
    }
}

impl<'a> AuditKeys<'a> {
    pub(super) fn encode(&self, out: &mut Writer<'_>) -> Result<(), Malformed> {
        out.text("origin", self.origin)?;
        put_keys(out, &self.keys)?;
        if self.signatures.is_empty() {
            out.u8(0);
            return Ok(());
        }
        out.count("signatures", self.signatures.len(), MAX_TRACKS)?;
        self.signatures.iter().try_for_each(|signature| out.bytes("signatures", signature))
    }

    pub(super) fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let origin = input.text("origin")?;
        let len = input.count("keys", MAX_TRACKS)?;
        let keys = (0..len)
            .map(|_| Ok(AuditKey { algorithm: input.u8("keys")?, public: input.bytes("keys")? }))
            .collect::<Result<_, Malformed>>()?;
        let len = input.u8("signatures")?;
        if len > MAX_TRACKS {
            return Err(Malformed("signatures"));
        }
        let signatures = (0..len).map(|_| input.bytes("signatures")).collect::<Result<_, _>>()?;
        Ok(AuditKeys { origin, keys, signatures })
    }
}

fn put_keys(out: &mut Writer<'_>, keys: &[AuditKey<'_>]) -> Result<(), Malformed> {
    out.count("keys", keys.len(), MAX_TRACKS)?;
    keys.iter().try_for_each(|key| {
        out.u8(key.algorithm);
        out.bytes("keys", key.public)
    })
}

fn put_tracks(
    out: &mut Writer<'_>,
    field: &'static str,
    tracks: &[Track<'_>],
) -> Result<(), Malformed> {
    out.count(field, tracks.len(), MAX_TRACKS)?;
    tracks.iter().try_for_each(|track| {
        out.text(field, track.alg)?;
        out.bytes(field, track.bytes)
    })
}

fn take_tracks<'a>(
    input: &mut Reader<'a>,
    field: &'static str,
) -> Result<Vec<Track<'a>>, Malformed> {
    let len = input.count(field, MAX_TRACKS)?;
    (0..len).map(|_| Ok(Track { alg: input.text(field)?, bytes: input.bytes(field)? })).collect()
}
