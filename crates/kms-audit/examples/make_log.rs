//! Writes a log of so many records for measuring whatever reads it, and prints the verifier key that its checkpoints are
//! signed by. One record in a hundred sums up a verification request, the others are of signatures.
//!
//! `cargo run --release -p kms-audit --example make_log -- DIRECTORY [RECORDS]`, ten million by default (2.6 GB).
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use kms_audit::checkpoint::Origin;
use kms_audit::note::{ED25519, NoteKey, NoteSigner, NoteVerifier};
use kms_audit::record::{Body, Operation, Target, Verifications};
use kms_audit::{AuditError, AuditLog, Config, Parts};
use kms_core::{KidRef, SystemClock};
use kms_testkit::anchor::MemoryAnchor;

const ORIGIN: &str = "ron-kms/large";
const KID: &str = "core/audit/ed25519/0b2e7c1e-1111-4222-8333-444455556666#v3";

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

fn open(dir: &Path) -> Result<(AuditLog, NoteKey), Failure> {
    let secret = SigningKey::from_bytes(&[1; 32]);
    let key = NoteKey::new(ORIGIN, ED25519, secret.verifying_key().as_bytes())?;
    let parts = Parts {
        anchor: Arc::new(MemoryAnchor::default()),
        signers: vec![Arc::new(Key(secret, key.clone()))],
        device: None,
        verifier: Arc::new(Dalek),
        clock: Arc::new(SystemClock::new()),
    };
    Ok((AuditLog::open(dir, Config::new(Origin::parse(ORIGIN)?), parts, None)?, key))
}

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("usage: make_log DIRECTORY [RECORDS]")?;
    let records: u64 = args.next().map_or(Ok(10_000_000), |count| count.parse())?;
    let (log, key) = open(Path::new(&dir))?;
    let target = Target::Key(KidRef::parse(KID)?);
    for seq in log.report().records..records {
        let request_id = format!("0190b6a0-7c1e-7000-8000-{seq:012x}");
        let mut hash = [7; 32];
        hash[..8].copy_from_slice(&seq.to_be_bytes());
        let body = match seq % 100 {
            0 => Body::Verifications(Verifications {
                op: "verify_batch",
                request_id: &request_id,
                actor: "cap:0b2e7c1e",
                tenant: "core",
                count: 64,
                failures: 0,
                inputs_hash: hash,
            }),
            _ => Body::Operation(Operation {
                op: "sign",
                op_id: None,
                request_id: &request_id,
                actor: "cap:0b2e7c1e",
                target,
                input_hash: Some(hash),
                refusal: None,
                attestation: None,
            }),
        };
        loop {
            match log.submit(body.clone()) {
                Ok(_) => break,
                // The disk is slower than this loop.
                Err(AuditError::Backlog | AuditError::Full) => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    drop(log);
    println!("{key}");
    Ok(())
}
