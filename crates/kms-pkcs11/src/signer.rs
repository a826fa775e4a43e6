//! The token as a [`Signer`].

use std::time::Duration;

use kms_core::signer::{
    AgreeKeys, AttestKeys, DestroyKeys, FindKeys, GenerateKeys, KeyEvidence, ListKeys, SignedThen,
    Signer,
};
use kms_core::{Algorithm, KeyId, Kid, KmsError, Result, Secret, Version};

use crate::token::Token;

fn only_ed25519(alg: Algorithm) -> Result<()> {
    only(alg, &[Algorithm::Ed25519])
}

/// What a token keeps, whatever it does.
const KEPT: [Algorithm; 2] = [Algorithm::Ed25519, Algorithm::X25519];

fn only(alg: Algorithm, algs: &[Algorithm]) -> Result<()> {
    if algs.contains(&alg) {
        return Ok(());
    }
    Err(KmsError::unsupported("keys of this algorithm are not kept in a token").field("alg"))
}

impl Signer for Token {
    fn kind(&self) -> &'static str {
        "pkcs11"
    }

    fn sign(&self, kid: &Kid, alg: Algorithm, message: &[u8], within: Duration) -> Result<Vec<u8>> {
        only_ed25519(alg)?;
        Ok(Token::sign(self, kid, message, within)?.to_vec())
    }

    fn sign_then(
        &self,
        kid: &Kid,
        alg: Algorithm,
        message: &[u8],
        within: Duration,
        then: SignedThen,
    ) {
        match only_ed25519(alg) {
            Ok(()) => Token::sign_then(self, kid, message, within, move |signed| {
                then(signed.map(|it| it.to_vec()).map_err(KmsError::from));
            }),
            Err(error) => then(Err(error)),
        }
    }

    fn width(&self) -> usize {
        self.max_sessions()
    }

    fn class(&self) -> String {
        self.capabilities().identity.class()
    }

    fn outage(&self) -> Option<Duration> {
        Token::outage(self)
    }

    fn health(&self) -> Result<()> {
        Ok(Token::health(self)?)
    }

    fn generator(&self) -> Option<&dyn GenerateKeys> {
        let offers = self.capabilities();
        let any = offers.ed25519 || offers.x25519 != Some(false);
        (any && offers.writable).then_some(self)
    }

    fn finder(&self) -> Option<&dyn FindKeys> {
        Some(self)
    }

    fn lister(&self) -> Option<&dyn ListKeys> {
        Some(self)
    }

    fn destroyer(&self) -> Option<&dyn DestroyKeys> {
        self.capabilities().writable.then_some(self)
    }

    fn agreer(&self) -> Option<&dyn AgreeKeys> {
        Some(self)
    }

    fn attester(&self) -> Option<&dyn AttestKeys> {
        Some(self)
    }
}

impl GenerateKeys for Token {
    fn generate(&self, kid: &Kid, alg: Algorithm, within: Duration) -> Result<Vec<u8>> {
        Ok(match alg {
            Algorithm::X25519 => self.generate_x25519(kid, within)?.to_vec(),
            alg => {
                only_ed25519(alg)?;
                self.generate_ed25519(kid, within)?.to_vec()
            }
        })
    }
}

impl FindKeys for Token {
    fn find(
        &self,
        key: &KeyId,
        alg: Algorithm,
        within: Duration,
    ) -> Result<Vec<(Version, Vec<u8>)>> {
        only(alg, &KEPT)?;
        let found = self.find_versions(key, within)?;
        Ok(found.into_iter().map(|it| (it.version, it.public.to_vec())).collect())
    }
}

impl ListKeys for Token {
    fn list(&self, within: Duration) -> Result<Vec<Kid>> {
        Ok(self.list_versions(within)?)
    }
}

impl DestroyKeys for Token {
    fn destroy(&self, kid: &Kid, alg: Algorithm, within: Duration) -> Result<()> {
        only(alg, &KEPT)?;
        Ok(Token::destroy(self, kid, within)?)
    }
}

impl AgreeKeys for Token {
    fn agrees(&self, within: Duration) -> Result<bool> {
        Ok(self.makes_x25519(within)?)
    }

    fn agree(
        &self,
        kid: &Kid,
        alg: Algorithm,
        public: &[u8; 32],
        within: Duration,
    ) -> Result<Secret<32>> {
        only(alg, &[Algorithm::X25519])?;
        Ok(Token::agree(self, kid, public, within)?)
    }
}

impl AttestKeys for Token {
    fn attest(&self, kid: &Kid, alg: Algorithm, within: Duration) -> Result<KeyEvidence> {
        only(alg, &KEPT)?;
        Ok(self.evidence(kid, within)?.into())
    }
}
