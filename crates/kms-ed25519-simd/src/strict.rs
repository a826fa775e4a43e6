//! The byte filters that come before the equation in every lane.
//!
//! A signature is valid when all of these hold, and only then:
//!
//! 1. `S < L` (RFC 8032, section 5.1.7, step 1; without it S + L verifies as well);
//! 2. `A` and `R` are canonical encodings: `y < p`, and no sign bit where `x = 0` (section 5.1.3);
//! 3. neither `A` nor `R` is of small order;
//! 4. `[S]B = R + [k]A` holds without the cofactor, `k` being SHA-512(R ‖ A ‖ M) mod L taken as an
//!    integer in [0, L) — never negated mod L, since `A` may carry torsion.
//!
//! 1 to 3 need no arithmetic: the points of small order have five y-coordinates, and every encoding
//! with `x = 0` is among them.

/// L, the order of the base point, little-endian.
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The y-coordinates below p of the eight points of small order, little-endian.
const SMALL_ORDER_Y: [[u8; 32]; 5] = [
    // order 1: y = 1
    [
        1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0,
    ],
    // order 4: y = 0
    [0; 32],
    // order 2: y = p - 1
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0x7f,
    ],
    // order 8, two of either sign of x
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

/// Rules 1 to 3 for a signature: `R` canonical and of large order, `S < L`.
pub fn signature_is_canonical(signature: &[u8; 64]) -> bool {
    let (r, s) = signature.split_at(32);
    scalar_is_canonical(s) && point_is_canonical(r)
}

/// Rules 2 and 3 for an encoded point. Whether it decodes at all is not asked here.
pub fn point_is_canonical(encoded: &[u8]) -> bool {
    let Ok(mut y) = <[u8; 32]>::try_from(encoded) else { return false };
    y[31] &= 0x7f;
    let below_p = y[31] != 0x7f || y[0] < 0xed || y[1..31].iter().any(|byte| *byte != 0xff);
    below_p && !SMALL_ORDER_Y.contains(&y)
}

/// Rule 1.
fn scalar_is_canonical(s: &[u8]) -> bool {
    s.iter().rev().lt(L.iter().rev())
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::EIGHT_TORSION;
    use curve25519_dalek::edwards::CompressedEdwardsY;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_eight_torsion_points_are_refused_in_both_signs() {
        for point in EIGHT_TORSION {
            let mut encoded = point.compress().to_bytes();
            assert!(!point_is_canonical(&encoded));
            encoded[31] ^= 0x80;
            assert!(!point_is_canonical(&encoded));
        }
    }

    #[test]
    fn every_y_from_p_up_is_refused() {
        for low in 0xed..=0xffu8 {
            for sign in [0x7f, 0xff] {
                let mut encoded = [0xff; 32];
                encoded[0] = low;
                encoded[31] = sign;
                assert!(!point_is_canonical(&encoded));
            }
        }
        let mut encoded = [0xff; 32];
        encoded[0] = 0xeb;
        encoded[31] = 0x7f;
        assert!(point_is_canonical(&encoded), "p - 2 is canonical and of large order or no point");
    }

    #[test]
    fn s_is_below_l_and_not_at_it() {
        let mut s = L;
        assert!(!scalar_is_canonical(&s));
        s[0] -= 1;
        assert!(scalar_is_canonical(&s));
        s = L;
        s[31] = 0x11;
        assert!(!scalar_is_canonical(&s));
        assert!(scalar_is_canonical(&[0; 32]));
        assert!(!scalar_is_canonical(&[0xff; 32]));
    }

    proptest! {
        /// For what decodes, the filter is exactly: re-encodes to itself, and is not small.
        #[test]
        fn agrees_with_the_curve(bytes in any::<[u8; 32]>()) {
            if let Some(point) = CompressedEdwardsY(bytes).decompress() {
                let canonical = point.compress().to_bytes() == bytes;
                prop_assert_eq!(point_is_canonical(&bytes), canonical && !point.is_small_order());
            }
        }
    }
}
