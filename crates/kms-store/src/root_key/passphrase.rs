//! A root key from a passphrase, by scrypt (RFC 7914).
//!
//! ```text
//! sealed = 0x01 ‖ N (8 bytes) ‖ r (4) ‖ p (4) ‖ scrypt salt (32) ‖ seal of the key under scrypt(passphrase, salt, N, r, p)
//! ```
//!
//! The bytes before the inner seal are part of its header, so they are authenticated; they are bounded before that,
//! because scrypt's memory is 128·N·r bytes.

use kms_core::custody::RootKey;
use kms_core::{Entropy, KmsError, Result, Secret, SecretBytes};
use scrypt::Params;

use crate::codec::{Reader, Writer};
use crate::seal;

const FORM: u8 = 1;
const SALT_LEN: usize = 32;
/// Shortest passphrase in bytes.
const LEAST_LEN: usize = 12;
/// The one block size r that is used and taken: with it N·1,024 bytes of memory are needed.
const BLOCK_SIZE: u32 = 8;
/// Most parallelism p that is taken; it multiplies the time.
const MOST_PARALLEL: u32 = 4;

/// What one guess of a passphrase costs, and one start of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    log_n: u8,
}

impl Cost {
    /// N = 2^14: 16 MiB, some tens of milliseconds.
    pub const LEAST: Cost = Cost { log_n: 14 };
    /// N = 2^17: 128 MiB, some tenths of a second.
    pub const DEFAULT: Cost = Cost { log_n: 17 };
    /// N = 2^20: 1 GiB, some seconds.
    pub const MOST: Cost = Cost { log_n: 20 };

    /// N = 2^`log_n`, 14 to 20.
    ///
    /// # Errors
    /// `BadRequest`, field `root_key`, outside of that.
    pub fn new(log_n: u8) -> Result<Cost> {
        if (Cost::LEAST.log_n..=Cost::MOST.log_n).contains(&log_n) {
            return Ok(Cost { log_n });
        }
        Err(KmsError::bad_request("scrypt's N must be 2^14 to 2^20").field("root_key"))
    }
}

/// A passphrase, and what sealing with it costs. What was sealed at another cost opens all the same.
pub struct Passphrase {
    passphrase: SecretBytes,
    cost: Cost,
}

impl Passphrase {
    /// Takes the passphrase as it is; who reads it from a file takes the line feed off.
    ///
    /// # Errors
    /// `BadRequest`, field `root_key`, for fewer than 12 bytes.
    pub fn new(passphrase: SecretBytes, cost: Cost) -> Result<Passphrase> {
        if passphrase.len() < LEAST_LEN {
            let fault = KmsError::bad_request("a passphrase has at least 12 bytes");
            return Err(fault.field("root_key"));
        }
        Ok(Passphrase { passphrase, cost })
    }

    fn derive(&self, salt: &[u8; SALT_LEN], log_n: u8, p: u32) -> Result<Secret<32>> {
        let params = Params::new(log_n, BLOCK_SIZE, p).map_err(|_| super::refused())?;
        let mut derived = Ok(());
        let key = Secret::fill(|out: &mut [u8; 32]| {
            derived = scrypt::scrypt(self.passphrase.expose(), salt, &params, out);
        });
        derived.map_err(|_| KmsError::internal("scrypt failed"))?;
        Ok(key)
    }
}

/// The header of the inner seal.
fn header(parameters: &[u8], context: &[u8]) -> Vec<u8> {
    [b"scrypt\0", parameters, context].concat()
}

impl RootKey for Passphrase {
    fn kind(&self) -> &'static str {
        "passphrase"
    }

    fn seal(&self, key: &Secret<32>, context: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>> {
        let mut salt = [0; SALT_LEN];
        entropy.fill(&mut salt)?;
        let mut out = Writer::default();
        out.u8(FORM).u64(1 << self.cost.log_n).u32(BLOCK_SIZE).u32(1).fixed(&salt);
        let derived = self.derive(&salt, self.cost.log_n, 1)?;
        let sealed = seal::seal(&derived, &header(&out.0, context), key.expose(), entropy)?;
        out.fixed(&sealed);
        Ok(out.0)
    }

    fn unseal(&self, sealed: &[u8], context: &[u8]) -> Result<Secret<32>> {
        let (parameters, salt, log_n, p) = parse(sealed).ok_or_else(super::refused)?;
        let rest = sealed.get(parameters.len()..).ok_or_else(super::refused)?;
        // Before scrypt is paid for.
        if rest.len() != seal::OVERHEAD + 32 {
            return Err(super::refused());
        }
        let derived = self.derive(&salt, log_n, p)?;
        super::open(&derived, &header(parameters, context), rest)
    }
}

/// The parameters' bytes, the salt, log2 N and p, within their bounds; allocates nothing.
fn parse(sealed: &[u8]) -> Option<(&[u8], [u8; SALT_LEN], u8, u32)> {
    let mut reader = Reader::new(sealed);
    if reader.u8().ok()? != FORM {
        return None;
    }
    let (n, r, p) = (reader.u64().ok()?, reader.u32().ok()?, reader.u32().ok()?);
    let salt = reader.array().ok()?;
    if !n.is_power_of_two() || r != BLOCK_SIZE || !(1..=MOST_PARALLEL).contains(&p) {
        return None;
    }
    let cost = Cost::new(u8::try_from(n.ilog2()).ok()?).ok()?;
    let len = sealed.len() - reader.left();
    Some((&sealed[..len], salt, cost.log_n, p))
}

#[cfg(test)]
mod tests {
    use kms_core::OsEntropy;

    use super::*;

    fn sealed() -> (Passphrase, Vec<u8>) {
        let passphrase = SecretBytes::copy_of(b"correct horse battery");
        let root = Passphrase::new(passphrase, Cost::LEAST).unwrap();
        let sealed = root.seal(&Secret::take(&mut [7; 32]), b"", &OsEntropy).unwrap();
        (root, sealed)
    }

    #[test]
    fn hostile_parameters_are_refused_before_any_memory_is_taken() {
        let (root, good) = sealed();
        let with = |at: usize, bytes: &[u8]| {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            bad
        };
        let n = |n: u64| with(1, &n.to_be_bytes());
        let r = |r: u32| with(9, &r.to_be_bytes());
        let p = |p: u32| with(13, &p.to_be_bytes());
        let mut cases = vec![with(0, &[0]), with(0, &[2])];
        cases.extend([0, 1, 1 << 13, 1 << 21, 1 << 40, 1 << 63, u64::MAX].map(n));
        cases.extend([(1 << 14) + 1, (1 << 14) - 1, 3 << 13].map(n));
        cases.extend([0, 1, 7, 9, 16, 1 << 30, u32::MAX].map(r));
        cases.extend([0, 5, 1 << 30, u32::MAX].map(p));
        for bad in cases {
            assert!(parse(&bad).is_none(), "{:?}", &bad[..17]);
            assert!(root.unseal(&bad, b"").is_err());
        }
    }

    #[test]
    fn truncation_at_every_byte_is_refused_before_scrypt() {
        let (root, good) = sealed();
        for len in 0..good.len() {
            assert!(root.unseal(&good[..len], b"").is_err());
        }
        assert!(root.unseal(&[&good[..], b"x"].concat(), b"").is_err());
    }

    #[test]
    fn parameters_within_the_bounds_are_authenticated() {
        let (root, good) = sealed();
        let mut other_n = good.clone();
        other_n[1..9].copy_from_slice(&(1_u64 << 15).to_be_bytes());
        let mut other_p = good.clone();
        other_p[16] = 2;
        for bad in [other_n, other_p] {
            assert!(parse(&bad).is_some());
            assert!(root.unseal(&bad, b"").is_err());
        }
    }

    #[test]
    fn the_vector_of_the_rfc() {
        // RFC 7914, section 12, the third; the derivation is one call with our parameters in place of these.
        let params = Params::new(14, 8, 1).unwrap();
        let mut out = [0; 64];
        scrypt::scrypt(b"pleaseletmein", b"SodiumChloride", &params, &mut out).unwrap();
        assert_eq!(out[..8], [0x70, 0x23, 0xbd, 0xcb, 0x3a, 0xfd, 0x73, 0x48]);
    }

    #[test]
    fn short_passphrases_and_odd_costs_are_refused() {
        assert!(Passphrase::new(SecretBytes::copy_of(b"elevenbytes"), Cost::DEFAULT).is_err());
        assert!(Cost::new(13).is_err() && Cost::new(21).is_err() && Cost::new(14).is_ok());
    }
}
