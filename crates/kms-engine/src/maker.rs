//! Which backend made a version, and so where its private halves are.

use kms_core::{Algorithm, KmsError, Result};

use crate::suite::Suite;

/// Who made a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// This process: its private halves are here, and sealed in the store.
    Software,
    /// A service with a token: an Ed25519 half is in the token, and what else it has is sealed in the store.
    Token,
}

/// What stands between the name of a suite and that of the backend, in the store.
const BY: char = '@';
/// The backend whose keys are in a token.
const TOKEN: &str = "pkcs11";

impl Maker {
    /// The name under which a store keeps a version's suite and maker. A build that knows no tokens refuses it.
    pub(crate) fn stored_name(self, suite: Suite) -> Box<str> {
        match self {
            Maker::Software => suite.name().into(),
            Maker::Token => format!("{}{BY}{TOKEN}", suite.name()).into(),
        }
    }

    /// Suite and maker of such a name.
    ///
    /// # Errors
    /// `Unsupported` for a suite, and `Internal` for a backend, that this build does not have.
    pub(crate) fn parse(name: &str, purpose: &str) -> Result<(Suite, Maker)> {
        match name.split_once(BY) {
            None => Ok((Suite::parse(name, purpose)?, Maker::Software)),
            Some((suite, TOKEN)) => Ok((Suite::parse(suite, purpose)?, Maker::Token)),
            Some(_) => Err(KmsError::internal("a stored version is of a backend of another build")),
        }
    }

    /// Whether the private half of the Ed25519 track is in a token.
    pub(crate) fn is_remote(self, suite: Suite) -> bool {
        self == Maker::Token && suite.named_by() == Algorithm::Ed25519
    }

    /// What is sealed in the store: the suite of the private halves that are not in a token.
    pub(crate) fn sealed(self, suite: Suite) -> Option<Suite> {
        match suite {
            suite if !self.is_remote(suite) => Some(suite),
            Suite::Hybrid => Suite::parse(Algorithm::MlDsa65.name(), "").ok(),
            _ => None,
        }
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
        assert!(Maker::parse("ed25519@elsewhere", "audit").is_err());
    }

    #[test]
    fn a_token_holds_ed25519_halves_and_no_other() {
        let suite = |alg: &str| Suite::parse(alg, "audit").unwrap();
        assert!(
            Maker::Token.is_remote(suite("ed25519")) && Maker::Token.is_remote(suite("hybrid"))
        );
        assert!(!Maker::Token.is_remote(suite("ml-dsa")));
        assert!(!Maker::Software.is_remote(suite("ed25519")));
        assert_eq!(Maker::Token.sealed(suite("ed25519")), None);
        assert_eq!(Maker::Token.sealed(suite("hybrid")), Some(suite("ml-dsa")));
        assert_eq!(Maker::Software.sealed(suite("hybrid")), Some(suite("hybrid")));
    }
}
