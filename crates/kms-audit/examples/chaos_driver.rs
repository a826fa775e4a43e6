//! A log in a process that may be killed at any moment, for `test/chaos`. What it says, a line of JSON each, is all that
//! its client knows: what is not said was not acknowledged.
//!
//! ```text
//! chaos_driver run DIR ANCHOR queued|fsync LIFE THREADS BATCHES [wait]
//! chaos_driver check DIR ANCHOR queued|fsync [SIZE:ROOT]…
//! chaos_driver verify DIR [SIZE:ROOT]…
//! ```
//!
//! `run` appends batches of records in each thread (for ever where BATCHES is 0) and asks for a checkpoint after every
//! fourth; with `wait` it first says the ids of its threads and waits for a byte. `check` verifies the log offline,
//! against every checkpoint that was handed out too, opens it, shows its records, and verifies it again; `verify` does
//! that without opening, for a log of any writer. Exit code 1 and a line on standard error where the log is not opened.
#![expect(clippy::print_stderr, reason = "where it says why it ends")]

use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use kms_audit::checkpoint::Origin;
use kms_audit::json::hex;
use kms_audit::note::{ED25519, NoteKey, NoteSigner, NoteVerifier};
use kms_audit::reader::{Next, Records};
use kms_audit::record::{Body, Operation, Target};
use kms_audit::verify::{Expect, verify};
use kms_audit::{AuditError, AuditLog, Config, Durability, Parts};
use kms_core::{Anchor, AnchorState, ErrorCode, KmsError, SystemClock};
use kms_durable::Dir;
use serde_json::json;

const ORIGIN: &str = "ron-kms/chaos";
/// Records of a batch. Twelve batches or so fill a segment.
const BATCH: u64 = 32;

type Failure = Box<dyn std::error::Error>;

/// One write a line, so that a kill cannot mix two.
fn say(line: &serde_json::Value) {
    let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["run", dir, anchor, durability, life, threads, batches, ref wait @ ..] => {
            let counts = (threads.parse(), batches.parse());
            let (Ok(threads), Ok(batches)) = counts else { return usage() };
            let place = Place::new(dir, anchor, durability);
            run(&place, life, threads, batches, !wait.is_empty())
        }
        ["check", dir, anchor, durability, ref seen @ ..] => {
            check(&Place::new(dir, anchor, durability), seen)
        }
        ["verify", dir, ref seen @ ..] => {
            let dir = Path::new(dir);
            say_verdicts("offline", dir, seen).and_then(|()| say_records(dir))
        }
        _ => return usage(),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn usage() -> std::process::ExitCode {
    eprintln!("usage: see the top of this file");
    std::process::ExitCode::from(2)
}

struct Place {
    dir: PathBuf,
    anchor: PathBuf,
    durability: Durability,
}

impl Place {
    fn new(dir: &str, anchor: &str, durability: &str) -> Place {
        let durability = if durability == "fsync" { Durability::Fsync } else { Durability::Queued };
        Place { dir: dir.into(), anchor: anchor.into(), durability }
    }

    fn open(&self) -> Result<AuditLog, Failure> {
        let mut config = Config::new(Origin::parse(ORIGIN)?);
        config.durability = self.durability;
        config.segment_bytes = 256 * 1024;
        config.flush_interval = Duration::from_millis(5);
        config.checkpoint_interval_ops = 5 * BATCH;
        let secret = SigningKey::from_bytes(&[1; 32]);
        let key = NoteKey::new(ORIGIN, ED25519, secret.verifying_key().as_bytes())?;
        let parts = Parts {
            anchor: Arc::new(AnchorFile::open(&self.anchor)?),
            signers: vec![Arc::new(Key(secret, key))],
            device: None,
            verifier: Arc::new(Crates),
            clock: Arc::new(SystemClock::new()),
        };
        Ok(AuditLog::open(&self.dir, config, parts, None)?)
    }
}

fn run(place: &Place, life: &str, threads: u64, batches: u64, wait: bool) -> Result<(), Failure> {
    let log = place.open()?;
    say_opened(&log, wait)?;
    if wait {
        std::io::stdin().read_exact(&mut [0])?;
    }
    let last = if batches == 0 { u64::MAX } else { batches };
    let all = |thread| (0..last).for_each(|n| batch(&log, life, thread, n));
    // A single thread is the first one, which a tracer holds from the start.
    match threads {
        1 => all(0),
        _ => std::thread::scope(|scope| {
            (0..threads).for_each(|thread| {
                scope.spawn(move || all(thread));
            });
        }),
    }
    drop(log);
    say(&json!({ "closed": true }));
    Ok(())
}

fn say_opened(log: &AuditLog, wait: bool) -> Result<(), Failure> {
    let mut threads = serde_json::Map::new();
    // A thread gives itself its name, some time after it was started.
    while wait && !threads.contains_key("kms-audit") {
        threads.clear();
        for task in std::fs::read_dir("/proc/self/task")? {
            let task = task?;
            let name = std::fs::read_to_string(task.path().join("comm"))?;
            let id: u64 = task.file_name().to_string_lossy().parse()?;
            threads.insert(name.trim().into(), id.into());
        }
    }
    let report = log.report();
    let (records, dropped) = (report.records, report.dropped_bytes);
    say(&json!({ "opened": true, "records": records, "dropped": dropped, "threads": threads }));
    Ok(())
}

/// Appends the records of a batch; it is acknowledged when the last of them is.
fn batch(log: &AuditLog, life: &str, thread: u64, n: u64) {
    let name = format!("{life}.{thread}.{n}");
    say(&json!({ "tried": name }));
    // Long, so that segments fill up.
    let append = |i: u64| {
        let id = format!("{name}.{i}.{:0>230}", 0);
        let body = operation(&id);
        if i + 1 < BATCH { log.submit(body) } else { log.append(body) }
    };
    match (0..BATCH).map(append).collect::<Result<Vec<u64>, AuditError>>() {
        Ok(indexes) => say(&json!({ "done": name, "indexes": indexes })),
        Err(error) => say(&json!({ "refused": name, "error": reason(error) })),
    }
    if n % 4 == 3 {
        match log.checkpoint_now() {
            Ok(signed) => {
                let (size, root) = (signed.checkpoint.size, hex(&signed.checkpoint.root));
                say(&json!({ "checkpoint": size, "root": root }));
            }
            Err(error) => say(&json!({ "no_checkpoint": reason(error) })),
        }
    }
}

/// As a service would answer it.
fn reason(error: AuditError) -> serde_json::Value {
    let text = error.to_string();
    let KmsError { code, retryable, .. } = error.into();
    json!({ "code": format!("{code:?}"), "message": text, "retryable": retryable })
}

fn check(place: &Place, seen: &[&str]) -> Result<(), Failure> {
    if place.dir.exists() {
        say_verdicts("offline", &place.dir, seen)?;
    }
    let log = place.open()?;
    say_opened(&log, false)?;
    drop(log);
    say_records(&place.dir)?;
    say_verdicts("reopened", &place.dir, seen)
}

/// The request of each record, up to the first that is not whole; `null` for those of the log itself. And where the last one lies.
fn say_records(dir: &Path) -> Result<(), Failure> {
    let mut ids = Vec::new();
    let mut records = match Records::first(dir) {
        Err(AuditError::NotFound(_) | AuditError::Damaged(_)) => {
            say(&json!({ "requests": ids }));
            return Ok(());
        }
        records => records?,
    };
    let mut last = json!(null);
    let mut overrides = Vec::new();
    while let Ok(Next::Record(entry)) = records.next() {
        last =
            json!({ "segment": entry.segment, "offset": entry.offset, "len": entry.bytes.len() });
        if let Body::Override(it) = &entry.record.body {
            overrides.push(it.refused.to_owned());
        }
        ids.push(match entry.record.body {
            Body::Operation(Operation { request_id, .. }) => Some(request_id.to_owned()),
            _ => None,
        });
    }
    say(&json!({ "requests": ids, "last": last, "overrides": overrides }));
    Ok(())
}

/// The verdict on the log, and on it as a continuation of each checkpoint that was seen.
fn say_verdicts(when: &str, dir: &Path, seen: &[&str]) -> Result<(), Failure> {
    let mut verdicts = Vec::new();
    let checkpoints = seen.iter().map(|text| parse_seen(text).map(Some));
    for seen in std::iter::once(Ok(None)).chain(checkpoints) {
        let expect = Expect { seen: seen?, ..Expect::default() };
        let verdict = match verify(dir, &Crates, expect, &mut |_| ControlFlow::Continue(())) {
            Ok(report) => {
                let bad = report.first_bad.map(|damage| damage.to_string());
                json!({ "code": report.outcome.exit_code(), "size": report.size, "bad": bad })
            }
            // Nothing is there yet.
            Err(error) => json!({ "code": 1, "size": 0, "bad": error.to_string() }),
        };
        verdicts.push(verdict);
    }
    say(&json!({ "verified": when, "verdicts": verdicts }));
    Ok(())
}

fn parse_seen(text: &str) -> Result<(u64, [u8; 32]), Failure> {
    let (size, root) = text.split_once(':').ok_or("SIZE:ROOT")?;
    let byte = |i: usize| u8::from_str_radix(root.get(2 * i..2 * i + 2).unwrap_or(""), 16);
    let bytes = (0..32).map(byte).collect::<Result<Vec<u8>, _>>()?;
    Ok((size.parse()?, bytes.try_into().map_err(|_| "ROOT")?))
}

fn operation(request_id: &str) -> Body<'_> {
    Body::Operation(Operation {
        op: "sign",
        op_id: None,
        request_id,
        actor: "chaos",
        target: Target::Tenant("core"),
        input_hash: Some([7; 32]),
        refusal: None,
        attestation: None,
    })
}

/// Size and root in a file, replaced as the store's anchor replaces its own.
struct AnchorFile {
    dir: Dir,
    name: String,
    state: Mutex<Option<AnchorState>>,
    /// A change whose outcome is open: nothing more is written.
    in_doubt: AtomicBool,
}

impl AnchorFile {
    fn open(path: &Path) -> Result<AnchorFile, Failure> {
        let dir = Dir::open(path.parent().ok_or("ANCHOR is a file")?)?;
        let name = path.file_name().ok_or("ANCHOR is a file")?.to_string_lossy().into_owned();
        let state = match dir.read(&name, 1024) {
            Ok(bytes) => {
                let (log_size, log_root) = parse_seen(std::str::from_utf8(&bytes)?)?;
                Some(AnchorState { log_size, log_root, ..AnchorState::default() })
            }
            Err(kms_durable::Error::NotFound) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(AnchorFile { dir, name, state: Mutex::new(state), in_doubt: AtomicBool::new(false) })
    }

    fn put(&self, size: u64, root: &[u8; 32]) -> kms_core::Result<()> {
        let poisoned = |_| KmsError::new(ErrorCode::StoreUnavailable, "the anchor is poisoned");
        let mut state = self.state.lock().map_err(poisoned)?;
        if self.in_doubt.load(Ordering::SeqCst) {
            return Err(KmsError::new(ErrorCode::StoreUnavailable, "the anchor is in doubt"));
        }
        let text = format!("{size}:{}", hex(root));
        self.dir.replace(&self.name, text.as_bytes()).inspect_err(|error| {
            self.in_doubt.fetch_or(error.is_in_doubt(), Ordering::SeqCst);
        })?;
        let next = AnchorState { log_size: size, log_root: *root, ..AnchorState::default() };
        *state = Some(next);
        Ok(())
    }
}

impl Anchor for AnchorFile {
    fn load(&self) -> kms_core::Result<Option<AnchorState>> {
        Ok(self.state.lock().ok().and_then(|state| state.clone()))
    }
    fn advance_log(&self, size: u64, root: &[u8; 32]) -> kms_core::Result<()> {
        let before = self.load()?.unwrap_or_default();
        let fits = size > before.log_size || (size == before.log_size && *root == before.log_root);
        if !fits && before != AnchorState::default() {
            return Err(KmsError::conflict("the anchor saw another log"));
        }
        self.put(size, root)
    }
    fn advance_store(&self, _: u64) -> kms_core::Result<()> {
        Ok(())
    }
    fn add_tombstone(&self, _: &str) -> kms_core::Result<()> {
        Ok(())
    }
    fn override_with(&self, log: Option<(u64, [u8; 32])>, _: Option<u64>) -> kms_core::Result<()> {
        log.map_or(Ok(()), |(size, root)| self.put(size, &root))
    }
}

struct Key(SigningKey, NoteKey);

impl NoteSigner for Key {
    fn key(&self) -> &NoteKey {
        &self.1
    }
    fn sign(&self, message: &[u8]) -> kms_core::Result<Vec<u8>> {
        Ok(self.0.sign(message).to_bytes().to_vec())
    }
}

struct Crates;

impl NoteVerifier for Crates {
    fn ed25519(&self, public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(public)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }
    fn ml_dsa_44(&self, public: &[u8; 1312], message: &[u8], signature: &[u8; 2420]) -> bool {
        use ml_dsa::signature::Verifier;
        let key = ml_dsa::VerifyingKey::<ml_dsa::MlDsa44>::decode(&(*public).into());
        ml_dsa::Signature::<ml_dsa::MlDsa44>::decode(&(*signature).into())
            .is_some_and(|signature| key.verify(message, &signature).is_ok())
    }
}
