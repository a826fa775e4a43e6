//! The hash of payloads: BLAKE3-256.

/// Length of a payload digest in bytes.
pub const DIGEST_LEN: usize = 32;

/// BLAKE3-256 of `payload`.
pub fn blake3(payload: &[u8]) -> [u8; DIGEST_LEN] {
    *blake3::hash(payload).as_bytes()
}
