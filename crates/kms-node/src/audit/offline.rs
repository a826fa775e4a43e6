//! An audit log by its files alone: verified, proved from, and read. No service, and none of its keys, is needed.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use kms_audit::merkle::Hash;
use kms_audit::note::{Note, NoteKey};
use kms_audit::reader::{Follower, Records};
use kms_audit::verify::{Expect, Outcome, Progress, Report, SealedBy, verify};
use kms_audit::{AuditError, Damage, json, proof};
use kms_core::{ErrorCode, KmsError, Result};
use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;
use serde_json::{Value, json};

use super::note_keys::Verifier;
use crate::task::{guard, pool, spawn};

/// Most bytes of lines that one call of `read` gives, beyond its last record.
const MAX_BATCH_LEN: u32 = 16 * 1024 * 1024;

/// What a log is held to, beside itself.
#[napi(object)]
pub struct AuditExpectations {
    /// Verifier keys that the caller trusts, each as `<name>+<id>+<key>`.
    pub keys: Option<Vec<String>>,
    /// Checkpoints that the caller kept, as notes.
    pub kept: Option<Vec<String>>,
    /// Records that an anchor or an earlier visit saw.
    pub seen_size: Option<f64>,
    /// The root over them, in hex.
    pub seen_root: Option<String>,
}

/// How far a verification is.
#[napi(object)]
pub struct AuditProgress {
    /// Records verified.
    pub records: f64,
    /// Bytes read.
    pub bytes: f64,
    /// Bytes to read, if the last segment is full.
    pub of_bytes: f64,
}

/// Some records.
#[napi(object)]
pub struct AuditLines {
    /// A JSON object and a line feed for each.
    pub lines: String,
    /// The index of the first record in them; that of `next` where there is none.
    pub first: f64,
    /// The index of the record after them.
    pub next: f64,
    /// What is in the way of that record, where it is not just the end.
    pub broken: Option<String>,
    /// Whether that is how a crash leaves the end of a log; the next start of its service drops it.
    pub torn: bool,
}

#[derive(Default)]
struct Watch {
    records: AtomicU64,
    bytes: AtomicU64,
    of_bytes: AtomicU64,
    stop: AtomicBool,
}

/// One verification of a log.
#[napi]
pub struct AuditVerification {
    dir: PathBuf,
    keys: Option<Vec<NoteKey>>,
    kept: Vec<Note>,
    seen: Option<(u64, Hash)>,
    watch: Arc<Watch>,
}

#[napi]
impl AuditVerification {
    /// Of the log in a directory, which a service may have open.
    #[napi(constructor)]
    pub fn new(dir: String, expect: AuditExpectations) -> napi::Result<Self> {
        guard("AuditVerification", || {
            let keys = expect.keys.map(|keys| keys.iter().map(|key| pinned(key)).collect());
            let kept = expect.kept.unwrap_or_default();
            let seen = match (expect.seen_size, expect.seen_root) {
                (Some(size), Some(root)) => Some((index(size, "seen")?, hash(&root)?)),
                (None, None) => None,
                _ => return Err(KmsError::bad_request("needs size and root").field("seen")),
            };
            Ok(AuditVerification {
                dir: dir.into(),
                keys: keys.transpose()?,
                kept: kept.iter().map(|note| kept_note(note)).collect::<Result<_>>()?,
                seen,
                watch: Arc::default(),
            })
        })
    }

    /// Runs it on a thread of ours, in bounded memory; gives the report as JSON. Rejects where there is nothing to read,
    /// and after `stop`.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn run<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        guard("AuditVerification.run", || Ok(()))?;
        let (dir, keys, kept) = (self.dir.clone(), self.keys.clone(), self.kept.clone());
        let (seen, watch) = (self.seen, Arc::clone(&self.watch));
        let work = move || {
            let expect = Expect { keys: keys.as_deref(), seen, kept: &kept };
            let report = verify(&dir, &Verifier, expect, &mut |at| watch.tell(at));
            report.map(|report| report_json(&report)).map_err(failed)
        };
        spawn(env, pool(), "AuditVerification.run.task", work, |_, report| Ok(report))
    }

    /// How far it is.
    #[napi]
    pub fn progress(&self) -> napi::Result<AuditProgress> {
        guard("AuditVerification.progress", || {
            let of = |count: &AtomicU64| number(count.load(Ordering::Relaxed));
            let Watch { records, bytes, of_bytes, .. } = &*self.watch;
            Ok(AuditProgress { records: of(records), bytes: of(bytes), of_bytes: of(of_bytes) })
        })
    }

    /// Stops it soon.
    #[napi]
    pub fn stop(&self) -> napi::Result<()> {
        guard("AuditVerification.stop", || {
            self.watch.stop.store(true, Ordering::Relaxed);
            Ok(())
        })
    }
}

impl Watch {
    fn tell(&self, at: Progress) -> ControlFlow<()> {
        self.records.store(at.records, Ordering::Relaxed);
        self.bytes.store(at.bytes, Ordering::Relaxed);
        self.of_bytes.store(at.of_bytes, Ordering::Relaxed);
        match self.stop.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// The records of a log from one place on, for as long as it grows.
#[napi]
pub struct AuditRecords {
    place: Arc<Mutex<Place>>,
}

/// The log is opened by the first read, which may have to look for the end.
enum Place {
    Last(PathBuf, u64),
    At(Box<Follower>),
}

#[napi]
impl AuditRecords {
    /// From record `from` on, or the last `last` records and what comes after them. Where `from` was pruned it begins with
    /// the first record that is there.
    #[napi(constructor)]
    pub fn new(dir: String, from: Option<f64>, last: Option<f64>) -> napi::Result<Self> {
        guard("AuditRecords", || {
            let place = match last {
                Some(last) => Place::Last(dir.into(), index(last, "last")?),
                None => {
                    let from = from.map_or(Ok(0), |from| index(from, "from"))?;
                    Place::At(Box::new(Follower::new(dir.as_ref(), from)))
                }
            };
            Ok(AuditRecords { place: Arc::new(Mutex::new(place)) })
        })
    }

    /// The next records as JSON lines, about `most` bytes of them; none at the end, where a later call may find more.
    #[napi(ts_return_type = "Promise<AuditLines>")]
    pub fn read<'env>(&self, env: &'env Env, most: u32) -> napi::Result<Object<'env>> {
        guard("AuditRecords.read", || Ok(()))?;
        let place = Arc::clone(&self.place);
        let work = move || {
            let busy = || KmsError::conflict("the last read has not ended");
            let mut place = place.try_lock().map_err(|_| busy())?;
            place.read(most.min(MAX_BATCH_LEN) as usize).map_err(failed)
        };
        spawn(env, pool(), "AuditRecords.read.task", work, |_, lines| Ok(lines))
    }
}

impl Place {
    fn read(&mut self, most: usize) -> Result<AuditLines, AuditError> {
        if let Place::Last(dir, count) = self {
            let from = Records::last(dir, *count)?.seq();
            *self = Place::At(Box::new(Follower::new(dir, from)));
        }
        let Place::At(follower) = self else { unreachable!("it was just made so") };
        let (mut lines, mut first) = (String::new(), None);
        while lines.len() < most {
            let more = follower.visit(&mut |entry| {
                first.get_or_insert(entry.record.seq);
                lines += &json::record(&entry.record, &entry.leaf).to_string();
                lines.push('\n');
                Ok(())
            })?;
            if !more {
                break;
            }
        }
        let next = follower.seq();
        Ok(AuditLines {
            lines,
            first: number(first.unwrap_or(next)),
            next: number(next),
            broken: follower.broken().map(|(damage, _)| damage.to_string()),
            torn: follower.broken().is_some_and(|(_, torn)| *torn),
        })
    }
}

/// Proves that a record is in the log, as JSON. With `size` the tree is that of so many records, which a checkpoint must
/// have; without, that of the newest checkpoint. Reads all records before, on a thread of ours.
#[napi(ts_return_type = "Promise<string>")]
pub fn audit_inclusion<'env>(
    env: &'env Env,
    dir: String,
    seq: f64,
    size: Option<f64>,
) -> napi::Result<Object<'env>> {
    let (seq, size) =
        guard("auditInclusion", || Ok((index(seq, "seq")?, optional(size, "size")?)))?;
    let work = move || {
        let dir = PathBuf::from(dir);
        let (checkpoint, note) = proof::checkpoint(&dir, size).map_err(failed)?;
        let it = proof::inclusion(&dir, seq, checkpoint.size).map_err(failed)?;
        same_root(&it.root, &checkpoint.root)?;
        Ok(json!({
            "seq": seq,
            "size": checkpoint.size,
            "record": it.record.as_deref().map(json::hex),
            "leaf": json::hex(&it.leaf),
            "path": it.proof.iter().map(|hash| json::hex(hash)).collect::<Vec<_>>(),
            "root": json::hex(&it.root),
            "checkpoint": note.to_string(),
            "text": proof::inclusion_text(seq, &it.proof, &note),
        })
        .to_string())
    };
    spawn(env, pool(), "auditInclusion.task", work, |_, proof| Ok(proof))
}

/// Proves that the first `from` records are a prefix of the first `to`, as JSON. Both trees are checkpoints', `to` by
/// default the newest.
#[napi(ts_return_type = "Promise<string>")]
pub fn audit_consistency<'env>(
    env: &'env Env,
    dir: String,
    from: f64,
    to: Option<f64>,
) -> napi::Result<Object<'env>> {
    let (from, to) = guard("auditConsistency", || Ok((index(from, "from")?, optional(to, "to")?)))?;
    let work = move || {
        let dir = PathBuf::from(dir);
        let (new, note) = proof::checkpoint(&dir, to).map_err(failed)?;
        // Of the smaller tree whoever asks has the checkpoint; where the log has it too, it must be the same.
        let old = match proof::checkpoint(&dir, Some(from)) {
            Ok((old, note)) => Some((old.root, note.to_string())),
            Err(AuditError::NotFound(_)) => None,
            Err(error) => return Err(failed(error)),
        };
        let it = proof::consistency(&dir, from, new.size).map_err(failed)?;
        same_root(&it.new_root, &new.root)?;
        if let Some((root, _)) = &old {
            same_root(&it.old_root, root)?;
        }
        Ok(json!({
            "from": from,
            "to": new.size,
            "old_root": json::hex(&it.old_root),
            "new_root": json::hex(&it.new_root),
            "path": it.proof.iter().map(|hash| json::hex(hash)).collect::<Vec<_>>(),
            "old_checkpoint": old.map(|(_, note)| note),
            "checkpoint": note.to_string(),
            "text": proof::consistency_text(from, &it.proof, &note),
        })
        .to_string())
    };
    spawn(env, pool(), "auditConsistency.task", work, |_, proof| Ok(proof))
}

/// A proof for another root than a checkpoint's convinces nobody.
fn same_root(proved: &Hash, signed: &Hash) -> Result<()> {
    if proved == signed {
        return Ok(());
    }
    let why = "the checkpoint has another root than the records: verify the log";
    Err(KmsError::new(ErrorCode::StoreUnavailable, why).retryable(false))
}

fn report_json(report: &Report) -> String {
    let bad = |damage: &Damage| {
        json!({
            "seq": damage.seq,
            "file": damage.file,
            "offset": damage.offset,
            "why": damage.why,
        })
    };
    let outcome = match report.outcome {
        Outcome::Intact => "intact",
        Outcome::Torn => "torn",
        Outcome::Damaged => "damaged",
        Outcome::BadCheckpoint => "bad_checkpoint",
        Outcome::BadAuditKey => "bad_audit_key",
        Outcome::BehindAnchor => "behind_anchor",
        Outcome::Unsealed => "unsealed",
    };
    let continuity = &report.continuity;
    json!({
        "outcome": outcome,
        "exit_code": report.outcome.exit_code(),
        "first_bad": report.first_bad.as_ref().map_or(Value::Null, bad),
        "first": report.first,
        "size": report.size,
        "root": json::hex(&report.root),
        "checkpoints": report.checkpoints,
        "covered": report.covered,
        "keys": report.keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "sealed_by": report.sealed_by.as_ref().map(sealed_by),
        "continuity": {
            "valid": continuity.valid,
            "linked": continuity.linked,
            "unchecked": continuity.unchecked,
        },
        "remarks": report.remarks,
    })
    .to_string()
}

fn sealed_by(it: &SealedBy) -> Value {
    let facts: serde_json::Map<_, _> =
        it.facts.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    json!({ "key": it.key.to_string(), "since": it.since, "class": it.class, "facts": facts })
}

/// Unlike a service, whoever reads files is told what the system said about them.
fn failed(error: AuditError) -> KmsError {
    match error {
        AuditError::NotFound(_) | AuditError::Other(_) => error.into(),
        AuditError::Malformed(fault) => KmsError::bad_request(fault.to_string()).field("kept"),
        error => KmsError::new(ErrorCode::StoreUnavailable, error.to_string()).retryable(false),
    }
}

fn pinned(key: &str) -> Result<NoteKey> {
    NoteKey::parse(key)
        .map_err(|_| KmsError::bad_request("must be a verifier key: name+id+key").field("keys"))
}

fn kept_note(note: &str) -> Result<Note> {
    Note::parse(note.as_bytes())
        .map_err(|_| KmsError::bad_request("is no signed note").field("kept"))
}

fn hash(hex: &str) -> Result<Hash> {
    let nibble = |byte: u8| char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
    let bytes: Option<Vec<u8>> = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some((nibble(*high)? << 4 | nibble(*low)?) as u8),
            _ => None,
        })
        .collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| KmsError::bad_request("must be 64 lower-case hex digits").field("seen"))
}

fn optional(value: Option<f64>, field: &'static str) -> Result<Option<u64>> {
    value.map(|value| index(value, field)).transpose()
}

/// A whole number that a JavaScript number holds exactly.
fn index(value: f64, field: &'static str) -> Result<u64> {
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
    #[expect(clippy::cast_sign_loss, reason = "not negative")]
    match value.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&value) {
        true => Ok(value as u64),
        false => Err(KmsError::bad_request("must be a whole number").field(field)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a JavaScript number, exact to 2^53")]
fn number(value: u64) -> f64 {
    value as f64
}
