//! How fast records are appended: nanoseconds each when `queued`, by one and two threads, and durable appends a second
//! by 64 callers beside what the disk's own group commit allows (64 threads, one pwrite each, a shared fdatasync).
//!
//! `cargo run --release --example append_rate -p kms-audit [DIRECTORY]`
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use kms_audit::checkpoint::Origin;
use kms_audit::note::{ED25519, NoteKey, NoteSigner, NoteVerifier};
use kms_audit::record::{Body, Operation, Target};
use kms_audit::{AuditLog, Config, Durability, Parts};
use kms_core::{KidRef, SystemClock};
use kms_testkit::anchor::MemoryAnchor;

const ORIGIN: &str = "ron-kms/bench";
const KID: &str = "core/audit/ed25519/0b2e7c1e-1111-4222-8333-444455556666#v3";
const CALLERS: usize = 64;
const TIME: Duration = Duration::from_secs(2);

type Failure = Box<dyn std::error::Error>;

struct Key(SigningKey, NoteKey);

impl NoteSigner for Key {
    fn key(&self) -> &NoteKey {
        &self.1
    }
    fn sign(&self, message: &[u8]) -> kms_core::Result<Vec<u8>> {
        Ok(self.0.sign(message).to_bytes().to_vec())
    }
}

struct Dalek;

impl NoteVerifier for Dalek {
    fn ed25519(&self, public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(public)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }
    fn ml_dsa_44(&self, _: &[u8; 1312], _: &[u8], _: &[u8; 2420]) -> bool {
        false
    }
}

fn open(dir: &Path, durability: Durability) -> Result<AuditLog, Failure> {
    let secret = SigningKey::from_bytes(&[1; 32]);
    let key = NoteKey::new(ORIGIN, ED25519, secret.verifying_key().as_bytes())?;
    let mut config = Config::new(Origin::parse(ORIGIN)?);
    config.durability = durability;
    let parts = Parts {
        anchor: Arc::new(MemoryAnchor::default()),
        signers: vec![Arc::new(Key(secret, key))],
        device: None,
        verifier: Arc::new(Dalek),
        clock: Arc::new(SystemClock::new()),
    };
    Ok(AuditLog::open(dir, config, parts, None)?)
}

fn record() -> Result<Body<'static>, Failure> {
    Ok(Body::Operation(Operation {
        op: "sign",
        op_id: None,
        request_id: "0190b6a0-7c1e-7000-8000-444455556666",
        actor: "library",
        target: Target::Key(KidRef::parse(KID)?),
        input_hash: Some([7; 32]),
        refusal: None,
        attestation: None,
    }))
}

/// Calls a second of `threads` threads that each call `work` until the time is up.
fn rate(threads: usize, work: &(dyn Fn() + Sync)) -> f64 {
    let done = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut mine = 0;
                while start.elapsed() < TIME {
                    work();
                    mine += 1;
                }
                done.fetch_add(mine, Ordering::Relaxed);
            });
        }
    });
    done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

/// The same group commit on a file that is no log.
struct Raw {
    file: File,
    written: AtomicU64,
    synced: Mutex<(u64, bool)>,
    changed: Condvar,
}

impl Raw {
    fn append(&self) -> Result<(), Failure> {
        let mine = self.written.fetch_add(1, Ordering::SeqCst);
        self.file.write_all_at(&[7; 224], mine % 70_000 * 224)?;
        let mut synced = self.synced.lock().map_err(|_| "poisoned")?;
        while synced.0 <= mine {
            if synced.1 {
                synced = self.changed.wait(synced).map_err(|_| "poisoned")?;
                continue;
            }
            synced.1 = true;
            drop(synced);
            let upto = self.written.load(Ordering::SeqCst);
            self.file.sync_data()?;
            synced = self.synced.lock().map_err(|_| "poisoned")?;
            *synced = (upto, false);
            self.changed.notify_all();
        }
        Ok(())
    }
}

fn main() -> Result<(), Failure> {
    let root = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let root = root.join(format!("append-rate-{}", std::process::id()));
    std::fs::create_dir(&root)?;
    let body = record()?;
    for threads in [1, 2] {
        let log = open(&root.join(format!("queued-{threads}")), Durability::Queued)?;
        let refused = AtomicU64::new(0);
        let rate = rate(threads, &|| {
            if log.append(body.clone()).is_err() {
                refused.fetch_add(1, Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        let ns = 1e9 / rate * threads as f64;
        let refused = refused.into_inner();
        println!(
            "queued, {threads} threads: {ns:.0} ns each, {rate:.0} a second, {refused} refused"
        );
    }
    let file = File::create(root.join("raw"))?;
    file.write_all_at(&vec![0; 16 * 1024 * 1024], 0)?;
    file.sync_all()?;
    let raw = Raw { file, written: 0.into(), synced: Mutex::default(), changed: Condvar::new() };
    let log = open(&root.join("fsync"), Durability::Fsync)?;
    let failed = AtomicU64::new(0);
    let ours = rate(CALLERS, &|| {
        if log.append(body.clone()).is_err() {
            failed.fetch_add(1, Ordering::Relaxed);
        }
    });
    let disk = rate(CALLERS, &|| {
        if raw.append().is_err() {
            failed.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (failed, percent) = (failed.into_inner(), 100.0 * ours / disk);
    println!("fsync, {CALLERS} callers: {ours:.0} a second, {failed} failed");
    println!("the disk's own group commit: {disk:.0} a second; the log reaches {percent:.0} %");
    drop(log);
    std::fs::remove_dir_all(&root)?;
    Ok(())
}
