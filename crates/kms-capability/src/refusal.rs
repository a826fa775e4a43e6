//! Why a request is refused before its body is read.

/// Why a token is not admitted. Which check of the MAC or of the form failed is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no bearer token.
    Missing,
    /// It is not a capability of this service: its form, its MAC, a caveat that nobody knows, a life that is too long.
    Invalid,
    /// It, or one that it was minted with, was revoked.
    Revoked,
    /// It lacks a scope.
    Scope,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYet,
    /// It is not for this address.
    Address,
    /// It was used too often in the last second.
    Rate,
    /// The list of revoked capabilities cannot be read, so nobody knows.
    Unavailable,
}

impl Refusal {
    /// Every refusal; the position is `refusal as usize`.
    pub const ALL: [Refusal; 9] = [
        Refusal::Missing,
        Refusal::Invalid,
        Refusal::Revoked,
        Refusal::Scope,
        Refusal::Expired,
        Refusal::NotYet,
        Refusal::Address,
        Refusal::Rate,
        Refusal::Unavailable,
    ];
}

/// `Result` with [`Refusal`].
pub type Admitted<T> = std::result::Result<T, Refusal>;
