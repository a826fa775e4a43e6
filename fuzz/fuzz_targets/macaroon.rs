//! Any bytes as a token, as a macaroon and as a caveat: what parses has one spelling, is within the bounds, and is let in
//! only if it was minted.

#![no_main]

use std::sync::{Arc, OnceLock};

use kms_capability::caveat::Caveat;
use kms_capability::{
    Ceilings, Identifier, MAX_CAVEATS, MAX_TOKEN_LEN, Macaroon, RootKeys, Verifier, VerifierConfig,
    encoding, mint,
};
use kms_core::{OsEntropy, Scopes, SecretBytes, SystemClock};
use libfuzzer_sys::fuzz_target;

fn verifier() -> &'static Verifier {
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    VERIFIER.get_or_init(|| {
        let mut key = [0; 32];
        kms_core::Entropy::fill(&OsEntropy, &mut key).unwrap();
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let roots = RootKeys::parse(&SecretBytes::copy_of(hex.as_bytes())).unwrap();
        let config = VerifierConfig {
            skew_ms: 0,
            max_rps: None,
            read_may_verify: false,
            revocations: None,
            ceilings: Ceilings::default(),
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(OsEntropy),
        };
        Verifier::new(roots, config).unwrap()
    })
}

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(verifier().admit(text, None, Scopes::NONE).is_err(), "nobody minted it");
        if let Some(bytes) = encoding::decode(text) {
            assert!(text.len() <= MAX_TOKEN_LEN);
            assert_eq!(encoding::encode(&bytes), text, "one spelling");
        }
    }
    if let Some(macaroon) = Macaroon::parse(data) {
        assert!(macaroon.caveats.len() <= MAX_CAVEATS);
        assert_eq!(macaroon.to_bytes(), data, "one spelling");
        let token = encoding::encode(data);
        assert!(verifier().admit(&token, None, Scopes::NONE).is_err(), "nobody minted it");
        if let Ok(narrower) = mint::attenuate(&token, &["rps = 1"]) {
            let bytes = encoding::decode(&narrower).unwrap();
            let narrower = Macaroon::parse(&bytes).unwrap();
            assert_eq!(narrower.caveats.len(), macaroon.caveats.len() + 1);
            assert_eq!(narrower.identifier, macaroon.identifier);
        }
    }
    if let Some(who) = Identifier::parse(data) {
        assert_eq!(who.to_string().as_bytes(), data, "one spelling");
    }
    let _ = Caveat::parse(data);
});
