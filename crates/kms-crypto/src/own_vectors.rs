//! Our own known answers, `test/vectors/kms/`, for who implements the formats in another language.
//!
//! `KMS_WRITE_VECTORS=1 cargo test -p kms-crypto own_vectors` writes them; every other run compares.

use kms_core::{Name, Secret};
use kms_testkit::entropy::GivenEntropy;
use kms_testkit::vectors;
use serde_json::{Value, json};
use shake::{ExtendableOutput, Shake256, Update, XofReader};

use crate::aead::Aead;
use crate::context::Context;
use crate::hpke::{Kem, PrivateKey, PublicKey};
use crate::hybrid::HybridContext;
use crate::lane::Lane;
use crate::{ed25519, kdf, ml_dsa, wrap, x_wing};

const KID: &str = "acme/payments/ed25519/0b2e7c1e-5f0a-4c3b-9d8e-7a6b5c4d3e2f#v3";
const KEM_KID: &str = "acme/kem/x25519/3c9d2a10-8e4f-4b6a-a1c2-d3e4f5061728#v1";

/// Bytes with nothing up their sleeve: SHAKE256 of a name.
fn bytes(name: &str, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    Shake256::default().chain(name).finalize_xof().read(&mut out);
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn secret<const N: usize>(bytes: &[u8]) -> Secret<N> {
    Secret::fill(|out| out.copy_from_slice(bytes))
}

/// Compares with the committed file, or writes it.
fn committed(name: &str, made: &Value) -> Value {
    let name = format!("kms/{name}");
    if std::env::var_os("KMS_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(made).expect("JSON");
        std::fs::write(vectors::path(&name), text + "\n").expect("a writable folder");
    }
    let committed = vectors::json(&name);
    assert!(committed == *made, "{name} differs: is the change of format meant?");
    committed
}

#[test]
fn derivation() {
    let cases = [
        ("sha256", "acme", "payments", "invoice-2026", 32),
        ("sha256", "Acme_2", "db.at-rest", "table::users é", 64),
        ("sha512", "acme", "payments", "invoice-2026", 32),
        ("sha512", "a", "b", "c", 130),
    ];
    let made: Vec<Value> = cases
        .iter()
        .map(|(hash, tenant, purpose, context, len)| {
            let name = |text| Name::parse(text, "tenant").expect("a name");
            let label = kdf::derive_label(&name(tenant), &name(purpose), context).expect("a label");
            let key = bytes(&format!("derive {hash} {tenant}"), 32);
            let which = if *hash == "sha256" { kdf::Hash::Sha256 } else { kdf::Hash::Sha512 };
            let okm = kdf::derive(which, b"", &key, label.as_bytes(), *len).expect("a key");
            json!({
                "hash": hash, "key": hex(&key), "tenant": tenant, "purpose": purpose,
                "context": context, "label": label, "length": len, "okm": hex(okm.expose()),
            })
        })
        .collect();
    committed("derive.json", &Value::Array(made));
}

#[test]
fn hybrid_signatures() {
    let cases = [
        (ml_dsa::Set::MlDsa65, "a message", ""),
        (ml_dsa::Set::MlDsa65, "", "a context"),
        (ml_dsa::Set::MlDsa44, "a message", "a context"),
        (ml_dsa::Set::MlDsa87, "a message", ""),
    ];
    let mut made = vec![];
    for (set, message, context) in cases {
        let name = |what: &str| format!("hybrid {} {what}", set.name());
        let (ed25519_seed, ml_dsa_seed) = (bytes(&name("ed25519"), 32), bytes(&name("ml-dsa"), 32));
        let classical =
            ed25519::SigningKey::from_seed(ed25519::SignLane::Auto, &secret(&ed25519_seed))
                .unwrap();
        let callers = Context::new(context.as_bytes()).unwrap();
        let mut signatures = vec![];
        for &lane in Lane::ALL {
            let key = ml_dsa::SigningKey::from_seed(set, lane, &secret(&ml_dsa_seed)).unwrap();
            let ed25519_public = classical.public().as_bytes();
            let bound = HybridContext::new(KID, ed25519_public, key.public(), callers);
            let signature = key.sign_deterministic(message.as_bytes(), bound.as_context()).unwrap();
            for &other in Lane::ALL {
                let message = message.as_bytes();
                let verify =
                    |context| ml_dsa::verify(other, key.public(), message, context, &signature);
                assert!(verify(bound.as_context()));
                assert!(!verify(callers));
            }
            signatures.push(json!({
                "parameter_set": set.name(), "kid": KID,
                "ed25519_seed": hex(&ed25519_seed), "ed25519_public_key": hex(ed25519_public),
                "ml_dsa_seed": hex(&ml_dsa_seed), "ml_dsa_public_key": hex(key.public().as_bytes()),
                "message": hex(message.as_bytes()), "context": hex(context.as_bytes()),
                "ml_dsa_context": hex(bound.as_bytes()),
                "ed25519_signature": hex(&classical.sign(message.as_bytes()).unwrap()),
                "ml_dsa_signature_deterministic": hex(&signature),
            }));
        }
        assert!(signatures.iter().all(|made| *made == signatures[0]));
        made.extend(signatures.into_iter().take(1));
    }
    committed("hybrid.json", &Value::Array(made));
}

#[test]
fn wrap_envelopes() {
    let mut made = vec![];
    for kem in Kem::ALL {
        for (aead, with_psk, data_key_len) in [
            (Aead::ChaCha20Poly1305, true, 32),
            (Aead::Aes256Gcm, true, 16),
            (Aead::ChaCha20Poly1305, false, 64),
        ] {
            let seed = bytes(&format!("wrap {} seed", kem.name()), kem.seed_len());
            let randomness = bytes(
                &format!("wrap {} {} {with_psk}", kem.name(), aead.name()),
                if kem == Kem::XWing { x_wing::RND_LEN } else { 32 },
            );
            let data_key = bytes("data key", data_key_len);
            let psk = wrap::psk(&seed).unwrap();
            let given = with_psk.then_some(&psk);
            let mut envelopes = vec![];
            for &lane in Lane::ALL {
                let key = PrivateKey::from_seed(kem, lane, &seed).unwrap();
                let entropy = GivenEntropy::new(&randomness);
                let public = key.public();
                let envelope =
                    wrap::seal(lane, public, aead, KEM_KID, given, &data_key, &entropy).unwrap();
                envelopes.push(json!({
                    "kem": kem.name(), "aead": aead.name(),
                    "mode": if with_psk { "psk" } else { "base" }, "kid": KEM_KID,
                    "seed": hex(&seed), "public_key": hex(&public.to_bytes()),
                    "psk": with_psk.then(|| hex(psk.expose())),
                    "data_key": hex(&data_key), "randomness": hex(&randomness),
                    "envelope": hex(&envelope),
                    "do_not_open": refused(kem, &envelope),
                }));
            }
            assert!(envelopes.iter().all(|made| *made == envelopes[0]));
            made.extend(envelopes.into_iter().take(1));
        }
    }
    for case in committed("wrap.json", &Value::Array(made)).as_array().expect("cases") {
        opens_and_does_not(case);
    }
}

/// Envelopes that differ from a good one where it matters. Only those of X25519 are written, for size; the framing is
/// the same for all.
fn refused(kem: Kem, good: &[u8]) -> Value {
    if kem != Kem::X25519 {
        return json!([]);
    }
    let kid_end = 12 + KEM_KID.len();
    let change = |at: usize, to: u8| {
        let mut envelope = good.to_vec();
        envelope[at] = to;
        envelope
    };
    let flip = |at: usize| change(at, good[at] ^ 1);
    let named: [(&str, Vec<u8>); 14] = [
        ("another magic", flip(0)),
        ("version 2", change(3, 2)),
        ("an unknown KEM", change(5, 0x21)),
        ("another KDF", change(7, 3)),
        ("another AEAD", change(9, good[9] ^ 1)),
        ("the other mode", flip(10)),
        ("an unknown mode", change(10, 2)),
        ("no kid", change(11, 0)),
        ("a kid with a space", change(kid_end - 1, b' ')),
        ("another version in the kid", flip(kid_end - 1)),
        ("another enc", flip(kid_end)),
        ("an enc of small order", {
            let mut envelope = good.to_vec();
            envelope[kid_end..kid_end + 32].fill(0);
            envelope
        }),
        ("a cut tag", good[..good.len() - 1].to_vec()),
        ("a byte too many", [good, &[0]].concat()),
    ];
    named.iter().map(|(name, bytes)| json!({ "name": name, "envelope": hex(bytes) })).collect()
}

fn opens_and_does_not(case: &Value) {
    let field = |name| vectors::hex_field(case, name);
    let kem = Kem::parse(case["kem"].as_str().expect("a KEM")).unwrap();
    let aead = Aead::parse(case["aead"].as_str().expect("an AEAD")).unwrap();
    let kid = case["kid"].as_str().expect("a kid");
    let psk = case["psk"].is_string().then(|| secret::<32>(&field("psk")));
    for &lane in Lane::ALL {
        let key = PrivateKey::from_seed(kem, lane, &field("seed")).unwrap();
        let public = PublicKey::from_bytes(kem, &field("public_key")).unwrap();
        assert_eq!(*key.public(), public);
        let open = |envelope: &[u8]| wrap::open(&key, aead, kid, psk.as_ref(), envelope);
        let opened = open(&field("envelope")).map(|key| key.expose().to_vec());
        assert_eq!(opened, Ok(field("data_key")));
        for bad in case["do_not_open"].as_array().expect("cases") {
            let opened = open(&vectors::hex_field(bad, "envelope"));
            assert!(opened.is_err(), "{}", bad["name"]);
        }
    }
}
