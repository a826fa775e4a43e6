//! The memory of tables is the process's: what is said of it to the byte is tested in a process of its own.

use std::sync::Arc;

use kms_core::OsEntropy;
use kms_crypto::ed25519::{
    FULL_AFTER, KeyHandle, KeyRef, SMALL_AFTER, SignLane, SigningKey, VerifyLane,
    set_table_cache_bytes, table_stats, verify,
};

const SMALL: usize = 99_072;
const FULL: usize = 396_288;

/// A key, and its signature of `m`.
struct Signer {
    handle: Arc<KeyHandle>,
    signature: [u8; 64],
}

fn signer() -> Signer {
    let key = SigningKey::generate(SignLane::Auto, &OsEntropy).expect("a key");
    let signature = key.sign(b"m").expect("a signature");
    Signer { handle: KeyHandle::import(*key.public()), signature }
}

fn verify_times(signer: &Signer, times: u32) {
    for _ in 0..times {
        let key = KeyRef::Handle(&signer.handle);
        assert!(verify(VerifyLane::Auto, key, b"m", &signer.signature));
    }
}

#[test]
fn full_tables_in_use_outlast_a_flood_and_give_way_to_keys_as_busy() {
    // Room for one full table and four small ones, all of keys in use.
    set_table_cache_bytes(FULL + 4 * SMALL);
    let first = signer();
    verify_times(&first, FULL_AFTER + 1);
    assert_eq!(table_stats().bytes, FULL);
    let others: Vec<_> = (0..4).map(|_| signer()).collect();
    for other in &others {
        verify_times(other, SMALL_AFTER);
    }
    assert_eq!(table_stats().bytes, FULL + 4 * SMALL);
    let use_all = || {
        verify_times(&first, 1);
        others.iter().for_each(|other| verify_times(other, 1));
    };
    for _ in 0..20 {
        use_all();
        let before = table_stats().builds;
        verify_times(&signer(), SMALL_AFTER);
        assert_eq!(table_stats().builds, before, "a stranger goes without, and nothing shrinks");
    }

    let as_busy = signer();
    for _ in 0..FULL_AFTER {
        use_all();
        verify_times(&as_busy, 1);
    }
    assert_eq!(table_stats().bytes, 6 * SMALL, "the full table shrank for a key as busy");
    assert_eq!(table_stats().evictions, 0);

    drop((others, as_busy));
    verify_times(&first, FULL_AFTER);
    assert_eq!(table_stats().bytes, FULL, "and grows back where there is room again");
}
