use std::sync::Arc;

use kms_core::{Context, SecretBytes};

use super::*;
use crate::{ImportKey, SecretData};

/// RFC 8032, section 7.1, test 1.
const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn hex(text: &str) -> Vec<u8> {
    let mut out = vec![0; text.len() / 2];
    base16ct::lower::decode(text, &mut out).unwrap();
    out
}

fn importing() -> Engine {
    Engine::new(EngineConfig { allow_import: true, ..EngineConfig::default() })
}

fn import(seed: &[u8], public: &[u8]) -> ImportKey {
    ImportKey {
        key: wish("message"),
        private: Arc::new(SecretData(SecretBytes::copy_of(seed))),
        public: vec![public.to_vec()],
    }
}

#[test]
fn an_imported_key_signs_as_it_did_elsewhere() {
    let engine = importing();
    let made = engine.import(&Context::library(), &import(&hex(SEED), &hex(PUBLIC))).unwrap();
    let signature = sign(&engine, &made.kid.to_string(), b"").unwrap();
    let expected = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bac\
                    c61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
    assert_eq!(signature.to_vec(), hex(expected));
}

#[test]
fn a_service_that_does_not_import_refuses() {
    let (engine, _) = engine();
    let refused = engine.import(&Context::library(), &import(&hex(SEED), &hex(PUBLIC)));
    assert_eq!(refusal(refused).0, "NoCapability");
}

#[test]
fn a_public_key_that_is_not_the_derived_one_is_refused() {
    let engine = importing();
    let fault = ("BadRequest", Some("public_key_b64".to_owned()));
    let mut other = hex(PUBLIC);
    other[0] ^= 1;
    for public in [other, vec![0; 32], vec![], hex(SEED)] {
        let refused = engine.import(&Context::library(), &import(&hex(SEED), &public));
        assert_eq!(refusal(refused), fault);
    }
    let two =
        ImportKey { public: vec![hex(PUBLIC), hex(PUBLIC)], ..import(&hex(SEED), &hex(PUBLIC)) };
    assert_eq!(refusal(engine.import(&Context::library(), &two)), fault);
    assert!(engine.keys.page(&Context::library(), "core", None, 10).is_empty(), "nothing was made");
}

#[test]
fn a_private_key_of_another_length_is_refused() {
    let engine = importing();
    for len in [0, 31, 33, 64] {
        let refused = engine.import(&Context::library(), &import(&vec![7; len], &hex(PUBLIC)));
        assert_eq!(refusal(refused), ("BadRequest", Some("private_key_b64".to_owned())));
    }
}

#[test]
fn another_tenants_caller_imports_nothing() {
    let engine = importing();
    let stranger = Context { tenant: Some("other".into()), ..Context::library() };
    let refused = engine.import(&stranger, &import(&hex(SEED), &hex(PUBLIC)));
    assert_eq!(refusal(refused), ("NotFound", Some("tenant".to_owned())));
}
