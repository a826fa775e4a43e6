//! What a version of a key is made of: one algorithm, or two that work together.

use kms_core::{Algorithm, KmsError, Result};
use kms_crypto::hpke::Kem;
#[cfg(feature = "slh-dsa")]
use kms_crypto::slh_dsa;
use kms_crypto::{ed25519, ml_dsa, ml_kem};

/// The purpose whose hybrid keys wrap, and do not sign.
const KEM_PURPOSE: &str = "kem";

/// The tracks of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Suite {
    /// Signs.
    Ed25519,
    /// Signs.
    MlDsa(ml_dsa::Set),
    /// Signs, slowly.
    #[cfg(feature = "slh-dsa")]
    SlhDsa(slh_dsa::Set),
    /// Signs twice: Ed25519 and ML-DSA-65.
    Hybrid,
    /// Wraps. With X-Wing the tracks are X25519 and ML-KEM-768.
    Kem(Kem),
}

impl Suite {
    /// The suite of a new key, by the name of its algorithm.
    ///
    /// # Errors
    /// `Unsupported`, field `alg`.
    pub(crate) fn parse(alg: &str, purpose: &str) -> Result<Suite> {
        match alg {
            "hybrid" if purpose == KEM_PURPOSE => Ok(Suite::Kem(Kem::XWing)),
            "hybrid" => Ok(Suite::Hybrid),
            alg => Suite::of(Algorithm::parse(alg)?),
        }
    }

    fn of(alg: Algorithm) -> Result<Suite> {
        Ok(match alg {
            Algorithm::Ed25519 => Suite::Ed25519,
            Algorithm::MlDsa44 => Suite::MlDsa(ml_dsa::Set::MlDsa44),
            Algorithm::MlDsa65 => Suite::MlDsa(ml_dsa::Set::MlDsa65),
            Algorithm::MlDsa87 => Suite::MlDsa(ml_dsa::Set::MlDsa87),
            Algorithm::X25519 => Suite::Kem(Kem::X25519),
            Algorithm::MlKem512 => Suite::Kem(Kem::MlKem(ml_kem::Set::MlKem512)),
            Algorithm::MlKem768 => Suite::Kem(Kem::MlKem(ml_kem::Set::MlKem768)),
            Algorithm::MlKem1024 => Suite::Kem(Kem::MlKem(ml_kem::Set::MlKem1024)),
            #[cfg(feature = "slh-dsa")]
            alg => SLH_DSA
                .into_iter()
                .find_map(|(named, set)| (named == alg).then_some(Suite::SlhDsa(set)))
                .ok_or_else(not_in_this_build)?,
            #[cfg(not(feature = "slh-dsa"))]
            _ => return Err(not_in_this_build()),
        })
    }

    /// The suite of the next version. A track may be added, by the name `hybrid`; none is ever dropped.
    ///
    /// # Errors
    /// `Unsupported`, field `alg`.
    pub(crate) fn rotated(self, alg: Option<&str>) -> Result<Suite> {
        let fault = |why: &'static str| Err(KmsError::unsupported(why).field("alg"));
        match (self, alg) {
            (suite, None) => Ok(suite),
            (Suite::Ed25519 | Suite::Hybrid, Some("hybrid")) => Ok(Suite::Hybrid),
            (Suite::Kem(Kem::X25519 | Kem::XWing), Some("hybrid")) => Ok(Suite::Kem(Kem::XWing)),
            (_, Some("hybrid")) => fault("only a classical key becomes a hybrid one"),
            (suite, Some(alg)) if alg == suite.named_by().name() && !suite.is_hybrid() => Ok(suite),
            (suite, Some(_)) if suite.is_hybrid() => fault("a hybrid key keeps both of its tracks"),
            (_, Some(_)) => fault("a key keeps its algorithm, or becomes a hybrid one"),
        }
    }

    /// The algorithms of its tracks, the classical one first.
    pub(crate) fn algs(self) -> &'static [Algorithm] {
        match self {
            Suite::Ed25519 => &[Algorithm::Ed25519],
            Suite::MlDsa(ml_dsa::Set::MlDsa44) => &[Algorithm::MlDsa44],
            Suite::MlDsa(ml_dsa::Set::MlDsa65) => &[Algorithm::MlDsa65],
            Suite::MlDsa(ml_dsa::Set::MlDsa87) => &[Algorithm::MlDsa87],
            #[cfg(feature = "slh-dsa")]
            Suite::SlhDsa(set) => {
                let at = SLH_DSA.iter().position(|(_, known)| *known == set);
                at.map_or(&[], |at| &SLH_DSA_ALGS[at])
            }
            Suite::Hybrid => &[Algorithm::Ed25519, Algorithm::MlDsa65],
            Suite::Kem(Kem::X25519) => &[Algorithm::X25519],
            Suite::Kem(Kem::MlKem(ml_kem::Set::MlKem512)) => &[Algorithm::MlKem512],
            Suite::Kem(Kem::MlKem(ml_kem::Set::MlKem768)) => &[Algorithm::MlKem768],
            Suite::Kem(Kem::MlKem(ml_kem::Set::MlKem1024)) => &[Algorithm::MlKem1024],
            Suite::Kem(Kem::XWing) => &[Algorithm::X25519, Algorithm::MlKem768],
        }
    }

    /// The algorithm that the kid shows: the classical one of a hybrid key.
    pub(crate) fn named_by(self) -> Algorithm {
        self.algs()[0]
    }

    /// Whether it has two tracks.
    pub(crate) fn is_hybrid(self) -> bool {
        self.algs().len() > 1
    }

    /// Whether it wraps, and does not sign.
    pub(crate) fn wraps(self) -> bool {
        matches!(self, Suite::Kem(_))
    }

    /// Whether making a key or a signature takes longer than the event loop may wait.
    pub(crate) fn is_slow(self) -> bool {
        #[cfg(feature = "slh-dsa")]
        {
            matches!(self, Suite::SlhDsa(_))
        }
        #[cfg(not(feature = "slh-dsa"))]
        {
            let _ = self;
            false
        }
    }

    /// Length in bytes of the seed that a version is made from: that of its tracks, one after the other.
    pub(crate) fn seed_len(self) -> usize {
        match self {
            Suite::Ed25519 => ed25519::SEED_LEN,
            Suite::MlDsa(_) => ml_dsa::SEED_LEN,
            #[cfg(feature = "slh-dsa")]
            Suite::SlhDsa(set) => set.seed_len(),
            Suite::Hybrid => ed25519::SEED_LEN + ml_dsa::SEED_LEN,
            Suite::Kem(kem) => kem.seed_len(),
        }
    }

    /// The name that [`Suite::parse`] knows it by, with the key's purpose.
    pub(crate) fn name(self) -> &'static str {
        Label::name(self.label().index())
    }

    /// Names its operations in metrics.
    pub(crate) fn label(self) -> Label {
        if self.is_hybrid() { Label::HYBRID } else { Label(self.named_by().index()) }
    }
}

/// The value of `alg` in metrics: an algorithm, `hybrid`, or `none` where an operation failed before it was known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Label(usize);

impl Label {
    pub(crate) const COUNT: usize = Algorithm::ALL.len() + 2;
    const HYBRID: Label = Label(Algorithm::ALL.len());
    pub(crate) const NONE: Label = Label(Algorithm::ALL.len() + 1);

    pub(crate) fn index(self) -> usize {
        self.0
    }

    /// The name of an index.
    pub(crate) fn name(index: usize) -> &'static str {
        match Algorithm::ALL.get(index) {
            Some(alg) => alg.name(),
            None if index == Label::HYBRID.0 => "hybrid",
            None => "none",
        }
    }
}

fn not_in_this_build() -> KmsError {
    KmsError::unsupported("algorithm is not in this build").field("alg")
}

#[cfg(feature = "slh-dsa")]
const SLH_DSA: [(Algorithm, slh_dsa::Set); 12] = [
    (Algorithm::SlhDsaSha2_128s, slh_dsa::Set::Sha2_128s),
    (Algorithm::SlhDsaSha2_128f, slh_dsa::Set::Sha2_128f),
    (Algorithm::SlhDsaSha2_192s, slh_dsa::Set::Sha2_192s),
    (Algorithm::SlhDsaSha2_192f, slh_dsa::Set::Sha2_192f),
    (Algorithm::SlhDsaSha2_256s, slh_dsa::Set::Sha2_256s),
    (Algorithm::SlhDsaSha2_256f, slh_dsa::Set::Sha2_256f),
    (Algorithm::SlhDsaShake128s, slh_dsa::Set::Shake128s),
    (Algorithm::SlhDsaShake128f, slh_dsa::Set::Shake128f),
    (Algorithm::SlhDsaShake192s, slh_dsa::Set::Shake192s),
    (Algorithm::SlhDsaShake192f, slh_dsa::Set::Shake192f),
    (Algorithm::SlhDsaShake256s, slh_dsa::Set::Shake256s),
    (Algorithm::SlhDsaShake256f, slh_dsa::Set::Shake256f),
];

/// The first column, each in a list of its own.
#[cfg(feature = "slh-dsa")]
const SLH_DSA_ALGS: [[Algorithm; 1]; 12] = {
    let mut algs = [[Algorithm::SlhDsaSha2_128s]; 12];
    let mut i = 0;
    while i < 12 {
        algs[i] = [SLH_DSA[i].0];
        i += 1;
    }
    algs
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_is_the_one_track_of_a_suite() {
        for alg in Algorithm::ALL {
            let suite = Suite::parse(alg.name(), "p").unwrap();
            assert_eq!(suite.algs(), [alg]);
            assert_eq!(suite.wraps(), alg.wraps());
            assert_eq!(Label::name(suite.label().index()), alg.name());
            assert_eq!(suite.rotated(Some(alg.name())).unwrap(), suite);
        }
    }

    #[test]
    fn hybrid_means_two_tracks_by_purpose() {
        let signs = Suite::parse("hybrid", "audit").unwrap();
        assert_eq!(signs.algs(), [Algorithm::Ed25519, Algorithm::MlDsa65]);
        let wraps = Suite::parse("hybrid", "kem").unwrap();
        assert_eq!(wraps.algs(), [Algorithm::X25519, Algorithm::MlKem768]);
        assert_eq!(Label::name(wraps.label().index()), "hybrid");
        assert!(Suite::parse("rsa", "audit").is_err());
    }

    #[test]
    fn a_rotation_adds_a_track_and_drops_none() {
        let suite = |alg: &str| Suite::parse(alg, "kem").unwrap();
        assert_eq!(suite("ed25519").rotated(Some("hybrid")).unwrap(), Suite::Hybrid);
        assert_eq!(suite("x25519").rotated(Some("hybrid")).unwrap(), Suite::Kem(Kem::XWing));
        for (from, to) in [
            (Suite::Hybrid, "ed25519"),
            (Suite::Hybrid, "ml-dsa"),
            (Suite::Kem(Kem::XWing), "x25519"),
            (suite("ml-dsa"), "hybrid"),
            (suite("ml-kem"), "hybrid"),
            (suite("ed25519"), "ml-dsa"),
            (suite("ml-dsa"), "ml-dsa-87"),
        ] {
            let error = from.rotated(Some(to)).unwrap_err();
            assert_eq!(error.field.as_deref(), Some("alg"), "{from:?} to {to}");
        }
        assert_eq!(Suite::Hybrid.rotated(None).unwrap(), Suite::Hybrid);
        assert_eq!(Suite::Hybrid.rotated(Some("hybrid")).unwrap(), Suite::Hybrid);
    }
}
