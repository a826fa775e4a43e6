//! A process that appends is killed again and again; whatever it acknowledged is there when the log is opened again.
//!
//! `AUDIT_KILL_ROUNDS=1000 cargo test -p kms-audit killed` runs more rounds than the usual few.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kms_core::AnchorState;
use kms_testkit::anchor::MemoryAnchor;
use kms_testkit::cases::Random;

use crate::record::{Body, Operation, Record};
use crate::test_sealing::Fake;
use crate::test_support::{Hooked, Place, config, operation, parts};
use crate::verify::Outcome;
use crate::{AuditLog, Durability};

const DIR: &str = "AUDIT_CRASH_DIR";
const MODE: &str = "AUDIT_CRASH_DURABILITY";
/// After how many signatures of its device the child ends, where one seals its log.
const SEALED: &str = "AUDIT_CRASH_SEALED";

/// What the child does; an ordinary run of the tests has nothing to do here.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let mut config = config();
    config.checkpoint_interval_ops = 50;
    if std::env::var(MODE).is_ok_and(|mode| mode == "fsync") {
        config.durability = Durability::Fsync;
    }
    // The parent has the anchor: what was said to it must be in the log, whenever the child is killed.
    let anchor = Hooked {
        inner: MemoryAnchor::holding(read_state(&dir)),
        before: |size, root: &[u8; 32]| {
            say(&format!("anchor {size} {}", crate::json::hex(root)));
            Ok(())
        },
    };
    let mut parts = parts(Arc::new(anchor));
    if let Ok(signatures) = std::env::var(SEALED) {
        config.attested = true;
        let left = AtomicU32::new(signatures.parse().unwrap());
        let signed = move || {
            if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                // Before anything can come of the signature; as a kill, it leaves no time for anything.
                std::process::abort();
            }
        };
        parts.device = Some(Fake::telling(40, Arc::new(signed)));
    }
    let path = Path::new(&dir).join("audit");
    let log = AuditLog::open(&path, config, parts, None).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let log = &log;
            scope.spawn(move || {
                for i in 0_u64.. {
                    let id = format!("{}-{thread}-{i}", std::process::id());
                    let index = log.append(operation(&id)).unwrap();
                    say(&format!("ack {index} {id}"));
                }
            });
        }
    });
}

/// One write a line, so that a kill cannot mix two.
fn say(line: &str) {
    let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}

fn read_state(dir: &str) -> Option<AnchorState> {
    let text = std::fs::read_to_string(Path::new(dir).join("anchor")).ok()?;
    let (size, root) = text.split_once(' ').unwrap();
    let log_root = kms_testkit::vectors::hex(root).try_into().unwrap();
    Some(AnchorState { log_size: size.parse().unwrap(), log_root, ..AnchorState::default() })
}

fn child_in(root: &Path) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "test_crash::child", "--nocapture", "--test-threads=1"])
        .env(DIR, root)
        .stdout(Stdio::piped());
    child
}

/// Reads what a child says to its end: what it acknowledged, and what its anchor was told.
fn read_out(out: ChildStdout, acknowledged: &mut BTreeMap<u64, String>) -> Option<String> {
    let mut anchored = None;
    for line in BufReader::new(out).lines() {
        // The last line may be cut, which is as if it had not been said.
        let Ok(line) = line else { break };
        // The harness of the tests begins the first line.
        let line = line.rsplit("... ").next().unwrap_or_default();
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["ack", index, id] if id.split('-').count() == 3 => {
                let index: u64 = index.parse().unwrap();
                let before = acknowledged.insert(index, id.to_owned());
                assert_eq!(before, None, "index {index} was given twice");
            }
            ["anchor", size, root] if root.len() == 64 => anchored = Some(format!("{size} {root}")),
            _ => {}
        }
    }
    anchored
}

fn rounds(durability: &str) {
    let rounds = std::env::var("AUDIT_KILL_ROUNDS").map_or(10, |count| count.parse().unwrap());
    let place = Place::new("crash");
    let root = place.root.path();
    let mut acknowledged = BTreeMap::new();
    let mut random = Random::new(durability, rounds);
    for round in 0..rounds {
        let mut child = child_in(root).env(MODE, durability).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        // How long it lives is no assertion: most are killed while they append, some while they open.
        let life = Duration::from_micros(random.below(60_000) as u64 + 2_000);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(life);
            child.kill().unwrap();
            child.wait().unwrap()
        });
        let anchored = read_out(out, &mut acknowledged);
        let status = killer.join().unwrap();
        assert!(!status.success());
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9),
            "round {round}"
        );
        if let Some(anchored) = anchored {
            std::fs::write(root.join("anchor"), anchored).unwrap();
        }
        if !place.dir().join("log-00000000").exists() {
            continue;
        }
        let verdict = place.verify();
        assert!(
            matches!(verdict.outcome, Outcome::Intact | Outcome::Torn),
            "round {round}: {verdict:?}"
        );
    }
    assert!(acknowledged.len() > rounds as usize, "the children did something");
    are_there(&place, &acknowledged);
}

fn are_there(place: &Place, acknowledged: &BTreeMap<u64, String>) {
    let records = place.records();
    for (index, id) in acknowledged {
        let record = Record::decode(&records[*index as usize]).unwrap();
        let Body::Operation(Operation { request_id, .. }) = record.body else { panic!("{index}") };
        assert_eq!(request_id, id, "record {index}");
    }
}

#[test]
fn a_process_that_ends_between_the_signature_of_its_device_and_the_checkpoint_leaves_the_one_before()
 {
    let mut place = Place::new("crash-sealed");
    place.config.attested = true;
    place.parts.device = Some(Fake::holding(40));
    let mut acknowledged = BTreeMap::new();
    let mut covered = 0;
    for signatures in [1, 1, 2, 3, 5, 8] {
        let root = place.root.path();
        let mut child = child_in(root).env(SEALED, signatures.to_string()).spawn().unwrap();
        let anchored = read_out(child.stdout.take().unwrap(), &mut acknowledged);
        assert!(!child.wait().unwrap().success());
        if let Some(anchored) = &anchored {
            std::fs::write(root.join("anchor"), anchored).unwrap();
        }
        let report = place.verify();
        assert!(matches!(report.outcome, Outcome::Intact | Outcome::Torn), "{report:?}");
        let told = anchored.map(|it| it.split(' ').next().unwrap().parse().unwrap());
        assert_eq!(report.covered, told.unwrap_or(covered), "the last that was signed is nowhere");
        covered = report.covered;
    }
    are_there(&place, &acknowledged);
    let state = read_state(place.root.path().to_str().unwrap());
    place.parts.anchor = Arc::new(MemoryAnchor::holding(state));
    drop(place.open().unwrap());
    assert_eq!(place.verify().outcome, Outcome::Intact);
}

#[test]
fn a_killed_queued_log_has_all_that_it_acknowledged() {
    rounds("queued");
}

#[test]
fn a_killed_fsync_log_has_all_that_it_acknowledged() {
    rounds("fsync");
}
