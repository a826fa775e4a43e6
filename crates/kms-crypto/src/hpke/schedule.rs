//! The labelled KDF and the key schedule (RFC 9180, sections 4 and 5.1).

use hkdf::{Hkdf, HkdfExtract};
use kms_core::Secret;
use sha2::Sha256;
use zeroize::Zeroize;

use super::{KDF_ID, Kem, Setup, aead_id};
use crate::aead::{KEY_LEN, NONCE_LEN};
use crate::stack::{LIGHT, scrubbed};

const VERSION: &[u8] = b"HPKE-v1";
/// Length of a hash in bytes (`Nh`).
const HASH_LEN: usize = 32;

/// Key and nonce of the one message.
pub(super) struct Keys {
    pub(super) key: Secret<KEY_LEN>,
    pub(super) base_nonce: [u8; NONCE_LEN],
}

/// `KeySchedule` (section 5.1).
pub(super) fn keys(kem: Kem, setup: &Setup<'_>, shared: &Secret<32>) -> Keys {
    let suite_id = [
        &b"HPKE"[..],
        &kem.id().to_be_bytes(),
        &KDF_ID.to_be_bytes(),
        &aead_id(setup.aead).to_be_bytes(),
    ]
    .concat();
    let (mode, psk, psk_id) = match setup.psk {
        None => (0, &[][..], &[][..]),
        Some(psk) => (1, &psk.key.expose()[..], psk.id),
    };
    let mut context = vec![mode];
    for (label, input) in [(&b"psk_id_hash"[..], psk_id), (b"info_hash", setup.info)] {
        let (hash, _) = labeled_extract(&suite_id, b"", label, input);
        context.extend_from_slice(&hash);
    }
    scrubbed::<LIGHT, _>(|| {
        let secret = Prk::extract(&suite_id, shared.expose(), b"secret", psk);
        let key = Secret::fill(|out| secret.expand(&suite_id, b"key", &context, out));
        let mut base_nonce = [0; NONCE_LEN];
        secret.expand(&suite_id, b"base_nonce", &context, &mut base_nonce);
        Keys { key, base_nonce }
    })
}

/// `ExtractAndExpand` of DHKEM (section 4.1).
pub(super) fn dhkem_secret(kem: Kem, dh: &Secret<32>, kem_context: &[u8]) -> Secret<32> {
    let suite_id = [&b"KEM"[..], &kem.id().to_be_bytes()].concat();
    scrubbed::<LIGHT, _>(|| {
        let prk = Prk::extract(&suite_id, b"", b"eae_prk", dh.expose());
        Secret::fill(|out| prk.expand(&suite_id, b"shared_secret", kem_context, out))
    })
}

/// A pseudorandom key, ready to expand.
struct Prk(Hkdf<Sha256>);

impl Prk {
    /// `LabeledExtract` of a secret.
    fn extract(suite_id: &[u8], salt: &[u8], label: &[u8], secret: &[u8]) -> Prk {
        let (mut hash, hkdf) = labeled_extract(suite_id, salt, label, secret);
        hash.zeroize();
        Prk(hkdf)
    }

    /// `LabeledExpand`.
    ///
    /// # Panics
    /// If `out` is longer than HKDF can fill, 8,160 bytes; the longest here has 32.
    fn expand(&self, suite_id: &[u8], label: &[u8], info: &[u8], out: &mut [u8]) {
        let len = u16::try_from(out.len()).expect("at most 32 bytes").to_be_bytes();
        self.0
            .expand_multi_info(&[&len, VERSION, suite_id, label, info], out)
            .expect("at most 32 bytes");
    }
}

/// `LabeledExtract` (section 4).
fn labeled_extract(
    suite_id: &[u8],
    salt: &[u8],
    label: &[u8],
    input: &[u8],
) -> ([u8; HASH_LEN], Hkdf<Sha256>) {
    let mut extract = HkdfExtract::<Sha256>::new(Some(salt));
    for part in [VERSION, suite_id, label, input] {
        extract.input_ikm(part);
    }
    let (hash, hkdf) = extract.finalize();
    (hash.into(), hkdf)
}

#[cfg(test)]
mod tests {
    use kms_testkit::vectors;

    use super::super::Psk;
    use super::*;
    use crate::aead::Aead;

    #[test]
    fn rfc9180_shared_secrets_give_the_keys() {
        for case in vectors::json("rfc9180/a2.json").as_array().expect("cases") {
            let field = |name| vectors::hex_field(case, name);
            let secret = |name| Secret::take(&mut field(name).try_into().expect("32 bytes"));
            let psk = (case["mode"] == 1).then(|| (secret("psk"), field("psk_id")));
            let psk = psk.as_ref().map(|(key, id)| Psk { key, id });
            let info = field("info");
            let setup = Setup { aead: Aead::ChaCha20Poly1305, psk, info: &info };
            let keys = keys(Kem::X25519, &setup, &secret("shared_secret"));
            assert_eq!(keys.key.expose()[..], field("key"));
            assert_eq!(keys.base_nonce[..], field("base_nonce"));
        }
    }
}
