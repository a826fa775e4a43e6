//! Which backend made a version, and so where its private halves are.

use kms_core::{Algorithm, KmsError, Result};
use kms_crypto::hpke::Kem;
use kms_crypto::{ml_dsa, ml_kem};

use crate::suite::Suite;

/// Who made a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// This process: its private halves are here, and sealed in the store.
    Software,
    /// A service with a token: an Ed25519 half is in the token, and what else it has is sealed in the store.
    Token,
    /// A service with a token that agrees on secrets: an X25519 half is in the token, and what else it has is sealed.
    TokenAgrees,
}

/// What is sealed in a store of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sealed {
    /// The private halves of this suite.
    Halves(Suite),
    /// The seed of the pre-shared key of envelopes: what else there is of the version is in a token.
    Psk,
}

/// What stands between the name of a suite and that of the backend, in the store.
const BY: char = '@';
/// The backend whose keys are in a token.
const TOKEN: &str = "pkcs11";
/// The same where an X25519 half is in the token too. Before, it was sealed in the store, under the name above.
const TOKEN_AGREES: &str = "pkcs11-x25519";

impl Maker {
    /// The name under which a store keeps a version's suite and maker. A build that knows no tokens refuses it.
    pub(crate) fn stored_name(self, suite: Suite) -> Box<str> {
        let by = match self {
            Maker::Software => return suite.name().into(),
            Maker::Token => TOKEN,
            Maker::TokenAgrees => TOKEN_AGREES,
        };
        format!("{}{BY}{by}", suite.name()).into()
    }

    /// Suite and maker of such a name.
    ///
    /// # Errors
    /// `Unsupported` for a suite, and `Internal` for a backend, that this build does not have.
    pub(crate) fn parse(name: &str, purpose: &str) -> Result<(Suite, Maker)> {
        match name.split_once(BY) {
            None => Ok((Suite::parse(name, purpose)?, Maker::Software)),
            Some((suite, TOKEN)) => Ok((Suite::parse(suite, purpose)?, Maker::Token)),
            Some((suite, TOKEN_AGREES)) => match Suite::parse(suite, purpose)? {
                suite if Maker::TokenAgrees.is_remote(suite) => Ok((suite, Maker::TokenAgrees)),
                _ => {
                    Err(KmsError::internal("a stored version has no X25519 half to be in a token"))
                }
            },
            Some(_) => Err(KmsError::internal("a stored version is of a backend of another build")),
        }
    }

    /// Whether it was a service with a token.
    pub(crate) fn has_token(self) -> bool {
        self != Maker::Software
    }

    /// Whether the private half of the classical track is in a token.
    pub(crate) fn is_remote(self, suite: Suite) -> bool {
        match self {
            Maker::Software => false,
            Maker::Token => suite.named_by() == Algorithm::Ed25519,
            Maker::TokenAgrees => suite.named_by() == Algorithm::X25519,
        }
    }

    /// What is sealed in the store: what is not in a token.
    pub(crate) fn sealed(self, suite: Suite) -> Option<Sealed> {
        Some(Sealed::Halves(match suite {
            suite if !self.is_remote(suite) => suite,
            Suite::Hybrid => Suite::MlDsa(ml_dsa::Set::MlDsa65),
            Suite::Kem(Kem::XWing) => Suite::Kem(Kem::MlKem(ml_kem::Set::MlKem768)),
            Suite::Kem(_) => return Some(Sealed::Psk),
            _ => return None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_names_give_suite_and_maker_back() {
        for (alg, purpose) in
            [("ed25519", "audit"), ("hybrid", "audit"), ("ml-dsa", "audit"), ("hybrid", "kem")]
        {
            let suite = Suite::parse(alg, purpose).unwrap();
            for maker in [Maker::Software, Maker::Token] {
                let name = maker.stored_name(suite);
                assert_eq!(Maker::parse(&name, purpose).unwrap(), (suite, maker));
            }
        }
        assert_eq!(&*Maker::Token.stored_name(Suite::Ed25519), "ed25519@pkcs11");
        let kem = Suite::parse("x25519", "kem").unwrap();
        for (maker, name) in
            [(Maker::Token, "x25519@pkcs11"), (Maker::TokenAgrees, "x25519@pkcs11-x25519")]
        {
            assert_eq!(&*maker.stored_name(kem), name);
            assert_eq!(Maker::parse(name, "kem").unwrap(), (kem, maker));
        }
        assert!(Maker::parse("ed25519@pkcs11-x25519", "audit").is_err());
        assert!(Maker::parse("ed25519@elsewhere", "audit").is_err());
    }

    #[test]
    fn a_token_holds_ed25519_halves_and_x25519_halves_where_it_agrees() {
        let suite = |alg: &str| Suite::parse(alg, "audit").unwrap();
        assert!(
            Maker::Token.is_remote(suite("ed25519")) && Maker::Token.is_remote(suite("hybrid"))
        );
        assert!(!Maker::Token.is_remote(suite("ml-dsa")));
        assert!(!Maker::Software.is_remote(suite("ed25519")));
        let halves = |alg| Some(Sealed::Halves(suite(alg)));
        assert_eq!(Maker::Token.sealed(suite("ed25519")), None);
        assert_eq!(Maker::Token.sealed(suite("hybrid")), halves("ml-dsa"));
        assert_eq!(Maker::Software.sealed(suite("hybrid")), halves("hybrid"));
        let x_wing = Suite::parse("hybrid", "kem").unwrap();
        assert!(Maker::TokenAgrees.is_remote(suite("x25519")) && !Maker::Token.is_remote(x_wing));
        assert!(!Maker::TokenAgrees.is_remote(suite("ed25519")));
        assert_eq!(Maker::Token.sealed(suite("x25519")), halves("x25519"));
        assert_eq!(Maker::TokenAgrees.sealed(suite("x25519")), Some(Sealed::Psk));
        assert_eq!(Maker::TokenAgrees.sealed(x_wing), halves("ml-kem"));
    }
}
