//! Ed25519 (RFC 8032, section 5.1), pure mode, with the arithmetic of s2n-bignum.

use crate::init;

/// The public half of a seed, and the private key in the form that [`sign`] takes, written into place:
/// seed ‖ public key.
pub fn expand(seed: &[u8; 32], private_key: &mut [u8; 64]) -> [u8; 32] {
    init();
    let mut public_key = [0; 32];
    // SAFETY: the three pointers are to arrays of the lengths that the function reads and writes: 32, 64, 32.
    unsafe {
        aws_lc_sys::ED25519_keypair_from_seed(
            public_key.as_mut_ptr(),
            private_key.as_mut_ptr(),
            seed.as_ptr(),
        );
    }
    public_key
}

/// Signs (section 5.1.6) in time that does not depend on the key. `private_key` is seed ‖ public key, and the
/// public key must be the seed's: signing under another one reveals the key.
///
/// Hashes the seed anew for each signature, which is 4 % of its time. `message` is read twice, so it must not
/// change meanwhile.
///
/// `None` if AWS-LC refuses, which its present version never does.
pub fn sign(private_key: &[u8; 64], message: &[u8]) -> Option<[u8; 64]> {
    init();
    let mut signature = [0; 64];
    // SAFETY: 64 bytes are written, `message.len()` and 64 are read, from memory that lives through the call.
    let done = unsafe {
        aws_lc_sys::ED25519_sign(
            signature.as_mut_ptr(),
            message.as_ptr(),
            message.len(),
            private_key.as_ptr(),
        )
    };
    (done == 1).then_some(signature)
}

/// Whether `[S]B - [k]A`, encoded, is R. Of the rules of strict verification this checks S < L and that A decodes;
/// canonical encodings and large orders are the caller's to check.
pub fn equation_holds(public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    init();
    // SAFETY: `message.len()`, 64 and 32 bytes are read, from memory that lives through the call.
    let verdict = unsafe {
        aws_lc_sys::ED25519_verify(
            message.as_ptr(),
            message.len(),
            signature.as_ptr(),
            public_key.as_ptr(),
        )
    };
    verdict == 1
}

#[cfg(test)]
mod tests {
    use kms_testkit::vectors;

    use super::*;

    #[test]
    fn rfc8032_section_7_1() {
        for case in vectors::json("rfc8032/ed25519.json").as_array().expect("cases") {
            let field = |name| vectors::hex_field(case, name);
            let seed: [u8; 32] = field("secretKey").try_into().expect("32 bytes");
            let mut private_key = [0; 64];
            let public_key = expand(&seed, &mut private_key);
            assert_eq!(public_key.as_slice(), field("publicKey"));
            let signature = sign(&private_key, &field("message")).expect("a signature");
            assert_eq!(signature.as_slice(), field("signature"));
            assert!(equation_holds(&public_key, &field("message"), &signature));
            assert!(!equation_holds(&public_key, b"another message", &signature));
        }
    }
}
