//! Ed25519 (RFC 8032, section 5.1), pure mode, with the arithmetic of s2n-bignum.

use std::ffi::c_int;

use aws_lc_sys::{SHA512, SHA512_Final, SHA512_Init, SHA512_Update};
use zeroize::Zeroize;

use crate::init;

// AWS-LC's own `ED25519_sign` takes the seed and hashes it anew for each signature. This is the rest of it, for
// keys that are expanded already.
unsafe extern "C" {
    /// Writes R ‖ S: R = [r]B, k = SHA-512(dom2 ‖ R ‖ A ‖ M), S = r + k·s mod L. `r` has 64 bytes and is reduced
    /// first; `s` and `a` have 32.
    #[cfg_attr(assembly, link_name = symbol!("ed25519_sign_s2n_bignum"))]
    #[cfg_attr(not(assembly), link_name = symbol!("ed25519_sign_nohw"))]
    fn sign_expanded(
        signature: *mut u8,
        r: *mut u8,
        s: *const u8,
        a: *const u8,
        message: *const u8,
        message_len: usize,
        dom2: *const u8,
        dom2_len: usize,
    );
}

/// Expands a seed (section 5.1.5, steps 1 to 4) into `expanded`, as scalar ‖ prefix, and gives its public key.
pub fn expand(seed: &[u8; 32], expanded: &mut [u8; 64]) -> [u8; 32] {
    init();
    let (mut public_key, mut private_key) = ([0; 32], [0; 64]);
    // SAFETY: all pointers are to arrays of the lengths that are read and written: 32, 64 and 32; 32 and 64.
    unsafe {
        aws_lc_sys::ED25519_keypair_from_seed(
            public_key.as_mut_ptr(),
            private_key.as_mut_ptr(),
            seed.as_ptr(),
        );
        SHA512(seed.as_ptr(), seed.len(), expanded.as_mut_ptr());
    }
    private_key.zeroize();
    expanded[0] &= 0b1111_1000;
    expanded[31] &= 0b0111_1111;
    expanded[31] |= 0b0100_0000;
    public_key
}

/// Signs (section 5.1.6) in time that does not depend on the key. `public_key` must be the one that [`expand`] gave
/// for `expanded`: signing under another one reveals the key.
///
/// `message` is read twice, so it must not change meanwhile. `None` if AWS-LC refuses to hash, which its present
/// version never does.
pub fn sign(expanded: &[u8; 64], public_key: &[u8; 32], message: &[u8]) -> Option<[u8; 64]> {
    init();
    let (scalar, prefix) = expanded.split_at(32);
    let mut r = [0; 64];
    let hashed = hash(&mut r, prefix, message);
    let mut signature = [0; 64];
    // SAFETY: 64 bytes are written to `signature`; 64 of `r`, 32 of the scalar and of the public key, and
    // `message.len()` are read, all from memory that lives through the call. An empty dom2 is not read.
    unsafe {
        sign_expanded(
            signature.as_mut_ptr(),
            r.as_mut_ptr(),
            scalar.as_ptr(),
            public_key.as_ptr(),
            message.as_ptr(),
            message.len(),
            std::ptr::null(),
            0,
        );
    }
    r.zeroize();
    hashed.then_some(signature)
}

/// SHA-512(prefix ‖ message), leaving nothing of the prefix behind.
fn hash(out: &mut [u8; 64], prefix: &[u8], message: &[u8]) -> bool {
    const DONE: c_int = 1;
    let mut state =
        aws_lc_sys::SHA512_CTX { h: [0; 8], Nl: 0, Nh: 0, p: [0; 128], num: 0, md_len: 0 };
    // SAFETY: the state lives through the calls and is initialised by the first; the others read the lengths that
    // they are given, and the last writes 64 bytes.
    let done = unsafe {
        SHA512_Init(&raw mut state) == DONE
            && SHA512_Update(&raw mut state, prefix.as_ptr().cast(), prefix.len()) == DONE
            && SHA512_Update(&raw mut state, message.as_ptr().cast(), message.len()) == DONE
            && SHA512_Final(out.as_mut_ptr(), &raw mut state) == DONE
    };
    state.h.zeroize();
    state.p.zeroize();
    done
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
            let mut expanded = [0; 64];
            let public_key = expand(&seed, &mut expanded);
            assert_eq!(public_key.as_slice(), field("publicKey"));
            let signature = sign(&expanded, &public_key, &field("message")).expect("a signature");
            assert_eq!(signature.as_slice(), field("signature"));
            assert!(equation_holds(&public_key, &field("message"), &signature));
            assert!(!equation_holds(&public_key, b"another message", &signature));
        }
    }

    /// Messages of every length around the blocks of the hash, against AWS-LC's own entrance.
    #[test]
    fn agrees_with_signing_from_the_seed() {
        let mut expanded = [0; 64];
        let public_key = expand(&[7; 32], &mut expanded);
        let mut private_key = [7; 64];
        private_key[32..].copy_from_slice(&public_key);
        let bytes: Vec<u8> = (0..600u16).map(|i| i.to_le_bytes()[0]).collect();
        for len in 0..bytes.len() {
            let mut from_seed = [0; 64];
            // SAFETY: 64 bytes are written, `len` and 64 are read.
            let done = unsafe {
                aws_lc_sys::ED25519_sign(
                    from_seed.as_mut_ptr(),
                    bytes.as_ptr(),
                    len,
                    private_key.as_ptr(),
                )
            };
            assert_eq!(done, 1);
            assert_eq!(sign(&expanded, &public_key, &bytes[..len]), Some(from_seed));
        }
    }
}
