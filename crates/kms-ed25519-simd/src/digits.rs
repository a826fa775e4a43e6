//! Scalars as signed digits.

/// Base 256, least significant first, each in [-128, 127].
pub(crate) type Bytes = [i8; 32];
/// Base 32, least significant first, each in [-16, 15].
pub(crate) type Fives = [i8; 51];

/// Recodes a scalar below 2^253, so that the last carry is taken up by the last digit.
pub(crate) fn bytes(scalar: &[u8; 32]) -> Bytes {
    let mut out = [0; 32];
    let mut carry = 0;
    for (digit, byte) in out.iter_mut().zip(scalar) {
        let value = i16::from(*byte) + carry;
        carry = (value + 128) >> 8;
        *digit = (value - (carry << 8)) as i8;
    }
    debug_assert_eq!(carry, 0);
    out
}

/// Recodes a scalar below 2^253.
pub(crate) fn fives(scalar: &[u8; 32]) -> Fives {
    let mut out = [0; 51];
    let mut carry = 0;
    for (i, digit) in out.iter_mut().enumerate() {
        let (at, shift) = (5 * i / 8, 5 * i % 8);
        let next = scalar.get(at + 1).copied().unwrap_or(0);
        let pair = u16::from_le_bytes([scalar[at], next]);
        let value = ((pair >> shift) & 31) as i8 + carry;
        carry = (value + 16) >> 5;
        *digit = value - (carry << 5);
    }
    debug_assert_eq!(carry, 0);
    out
}

/// The 32 bytes as little-endian words.
pub(crate) fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let (words, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|i| u64::from_le_bytes(words[i]))
}
