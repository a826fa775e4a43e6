//! Why a passport is not taken.

/// The reasons, in the order in which they are looked for: of two, the first is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not the form of a passport: base64url, JSON, canonical form, header, claims, or over the size limit.
    Malformed,
    /// No key of this kid is trusted.
    UnknownKid,
    /// The signature does not verify, or the kids of envelope, payload and key differ.
    VerifyFailed,
    /// Its time is over.
    Expired,
    /// Its time has not begun, or it was issued in the future.
    Nbf,
    /// It is not for this audience, or none was named where one is needed.
    BadAud,
    /// It lacks a scope that was asked for.
    ScopeDenied,
    /// It was presented before.
    Replayed,
    /// It could not be checked.
    Internal,
}

impl Reason {
    /// Every reason; the position is `reason as usize`.
    pub const ALL: [Reason; 9] = [
        Reason::Malformed,
        Reason::UnknownKid,
        Reason::VerifyFailed,
        Reason::Expired,
        Reason::Nbf,
        Reason::BadAud,
        Reason::ScopeDenied,
        Reason::Replayed,
        Reason::Internal,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Malformed => "malformed",
            Reason::UnknownKid => "unknown_kid",
            Reason::VerifyFailed => "verify_failed",
            Reason::Expired => "expired",
            Reason::Nbf => "nbf",
            Reason::BadAud => "bad_aud",
            Reason::ScopeDenied => "scope_denied",
            Reason::Replayed => "replayed",
            Reason::Internal => "internal",
        }
    }
}
