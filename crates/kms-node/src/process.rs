//! What the process is and has.

use kms_core::{Entropy, OsEntropy};
use kms_crypto::cpu::CpuTier;
use kms_crypto::ed25519::{
    TableStats as TableStatsCore, VerifyLane, set_table_cache_bytes, table_stats,
};
use napi_derive::napi;

use crate::task::guard;

/// Says where a panic was, and not what it said: a message may hold a value.
#[napi_derive::module_init]
fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
        eprintln!("ron-kms: internal fault{place}");
    }));
}

/// The CPU tier that verification uses: `avx512`, `avx2` or `scalar`.
#[napi]
pub fn cpu_tier() -> napi::Result<&'static str> {
    guard("cpuTier", || Ok(CpuTier::detect().name()))
}

/// The lanes that verify, in the order of their numbers.
#[napi]
pub fn ed25519_verify_lanes() -> napi::Result<Vec<&'static str>> {
    guard("ed25519VerifyLanes", || Ok(VerifyLane::ALL.iter().map(|lane| lane.name()).collect()))
}

/// Whether the operating system gives randomness now.
#[napi]
pub fn rng_ok() -> napi::Result<bool> {
    guard("rngOk", || Ok(OsEntropy.fill(&mut [0; 32]).is_ok()))
}

/// What the tables of Ed25519 public keys cost and bring, in this process.
#[napi(object)]
pub struct TableStats {
    /// Verifications, or runs of one key in a batch, that found a table.
    pub hits: f64,
    /// Tables built.
    pub builds: f64,
    /// Tables that gave way to others.
    pub evictions: f64,
    /// Memory of all tables now, in bytes.
    pub bytes: f64,
}

/// The counters of the table cache.
#[napi]
pub fn ed25519_table_stats() -> napi::Result<TableStats> {
    guard("ed25519TableStats", || {
        let TableStatsCore { hits, builds, evictions, bytes } = table_stats();
        #[expect(clippy::cast_precision_loss, reason = "a JavaScript number, exact to 2^53")]
        let stats = TableStats {
            hits: hits as f64,
            builds: builds as f64,
            evictions: evictions as f64,
            bytes: bytes as f64,
        };
        Ok(stats)
    })
}

/// Bounds the memory of all tables, in bytes; 0 builds none.
#[napi]
pub fn set_ed25519_table_cache_bytes(bytes: u32) -> napi::Result<()> {
    guard("setEd25519TableCacheBytes", || {
        set_table_cache_bytes(bytes as usize);
        Ok(())
    })
}

/// Makes the named export, or the named place in the engine, panic when it is reached next.
#[cfg(feature = "fault-injection")]
#[napi]
pub fn arm_fault(name: String) {
    kms_engine::faults::arm(&name);
}
