//! X25519 (RFC 7748, section 5), with the arithmetic of s2n-bignum.

use crate::init;

/// The public half of a private key: its product with the base point, u = 9.
pub fn public_key(private_key: &[u8; 32]) -> [u8; 32] {
    init();
    let mut public_key = [0; 32];
    // SAFETY: 32 bytes are written and 32 are read.
    unsafe {
        aws_lc_sys::X25519_public_from_private(public_key.as_mut_ptr(), private_key.as_ptr());
    }
    public_key
}

/// X25519(`private_key`, `peer`), written into place.
///
/// `false` if it is all zero, which is so for the points of small order and no others (section 6.1).
#[must_use]
pub fn diffie_hellman(private_key: &[u8; 32], peer: &[u8; 32], shared: &mut [u8; 32]) -> bool {
    init();
    // SAFETY: 32 bytes are written, and twice 32 are read.
    let contributory =
        unsafe { aws_lc_sys::X25519(shared.as_mut_ptr(), private_key.as_ptr(), peer.as_ptr()) };
    contributory == 1
}

#[cfg(test)]
mod tests {
    use kms_testkit::vectors;

    use super::*;

    fn array(bytes: Vec<u8>) -> [u8; 32] {
        bytes.try_into().expect("32 bytes")
    }

    #[test]
    fn wycheproof() {
        let file = vectors::json("wycheproof/x25519_test.json.gz");
        for case in vectors::cases(&file) {
            let field = |name| array(vectors::hex_field(case, name));
            let (expected, mut shared) = (field("shared"), [0; 32]);
            let contributory = diffie_hellman(&field("private"), &field("public"), &mut shared);
            assert_eq!((shared, contributory), (expected, expected != [0; 32]), "{}", case["tcId"]);
        }
    }

    #[test]
    fn the_public_key_is_the_product_with_nine() {
        let mut base = [0; 32];
        base[0] = 9;
        let mut shared = [0; 32];
        assert!(diffie_hellman(&[7; 32], &base, &mut shared));
        assert_eq!(shared, public_key(&[7; 32]));
    }
}
