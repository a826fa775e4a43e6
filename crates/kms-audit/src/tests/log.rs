use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kms_core::{Anchor, ErrorCode, KmsError};
use kms_testkit::anchor::MemoryAnchor;

use crate::error::AnchorFault;
use crate::layout::segment_name;
use crate::merkle::{verify_consistency, verify_inclusion};
use crate::note::{NoteKey, NoteSigner};
use crate::segment::full;
use crate::test_keys::{Crates, Ed25519, MlDsa};
use crate::test_support::{Hooked, ORIGIN, Place, config, operation};
use crate::verify::{Expect, Outcome, verify};
use crate::{AuditError, AuditLog, Durability, OnFull, Override};

const ROLLBACK: Override = Override { actor: String::new(), rollback: true, audit_key: false };

#[test]
fn a_log_goes_on_where_it_ended() {
    let place = Place::new("go-on");
    let log = place.open().unwrap();
    assert_eq!(log.report().records, 0);
    // The keys, and that the log was opened, come first.
    assert_eq!(log.append(operation("a")).unwrap(), 2);
    assert_eq!(log.append(operation("b")).unwrap(), 3);
    drop(log);
    let log = place.open().unwrap();
    assert_eq!((log.report().records, log.report().dropped_bytes), (4, 0));
    assert_eq!(log.append(operation("c")).unwrap(), 5);
    drop(log);
    let report = place.verify();
    assert_eq!((report.outcome, report.size, report.covered), (Outcome::Intact, 6, 6));
    assert_eq!(report.remarks, Vec::<String>::new());
    assert_eq!(place.anchor.load().unwrap().unwrap().log_root, report.root);
}

#[test]
fn a_killed_process_loses_nothing_that_was_appended() {
    let place = Place::new("kill");
    let log = place.open().unwrap();
    log.append(operation("a")).unwrap();
    let copy = place.snapshot("kill-copy");
    assert_eq!(copy.open().unwrap().report().records, 3);
    assert_eq!(copy.records()[2], place.records()[2]);
}

#[test]
fn two_writers_of_one_directory_are_refused() {
    let place = Place::new("two");
    let _log = place.open().unwrap();
    assert!(matches!(place.try_open(None), Err(AuditError::Locked)));
}

#[test]
fn appends_of_many_threads_get_each_index_once() {
    for durability in [Durability::Queued, Durability::Fsync] {
        let mut place = Place::new("threads");
        place.config.durability = durability;
        let log = place.open().unwrap();
        let indexes: Vec<u64> = std::thread::scope(|scope| {
            let append =
                || (0..300).map(|_| log.append(operation("x")).unwrap()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(append)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(indexes.iter().copied().collect::<BTreeSet<_>>(), (2..1202).collect());
        drop(log);
        assert_eq!(place.verify().outcome, Outcome::Intact);
    }
}

#[test]
fn an_older_copy_is_refused_until_an_operator_overrides() {
    let place = Place::new("older");
    let log = place.open().unwrap();
    log.append(operation("a")).unwrap();
    let old = place.snapshot("older-copy");
    log.append(operation("b")).unwrap();
    drop(log);
    // The old directory under the anchor of now.
    let now = place.anchor.load().unwrap();
    old.anchor.override_with(now.as_ref().map(|it| (it.log_size, it.log_root)), None).unwrap();
    old.anchor.add_tombstone("core/a/ed25519/x").unwrap();
    let refused = old.open().map(|_| ()).unwrap_err();
    let fault = AnchorFault::LogOlder { log: 3, anchor: 4 };
    assert!(matches!(refused, AuditError::Anchor(it) if it == fault), "{refused}");
    assert_eq!(KmsError::from(refused).code, ErrorCode::StoreUnavailable);
    let decision = Override { actor: "ops".into(), ..ROLLBACK };
    let log = old.open_with(Some(&decision)).unwrap();
    assert_eq!(log.report().overridden, [fault.to_string()]);
    drop(log);
    let report = old.verify();
    assert_eq!(report.outcome, Outcome::Intact);
    assert_eq!(report.remarks, [format!("record 4: ops overrode: {fault}")]);
    let state = old.anchor.load().unwrap().unwrap();
    assert_eq!((state.log_size, state.tombstones.len()), (5, 1), "tombstones hold");
    assert!(old.open().is_ok(), "once is enough");
}

#[test]
fn each_disagreement_with_the_anchor_has_its_own_error() {
    let place = Place::new("anchor");
    let log = place.open().unwrap();
    log.append(operation("a")).unwrap();
    drop(log);
    let state = place.anchor.load().unwrap().unwrap();
    let fault = |place: &Place| match place.open() {
        Err(AuditError::Anchor(fault)) => fault,
        other => panic!("{:?}", other.map(|_| ())),
    };
    let mut copy = place.snapshot("anchor-root");
    copy.anchor.override_with(Some((state.log_size, [1; 32])), None).unwrap();
    assert_eq!(fault(&copy), AnchorFault::OtherRoot { anchor: 3 });
    for of_the_store in [false, true] {
        copy.anchor = Arc::new(MemoryAnchor::default());
        copy.parts.anchor = copy.anchor.clone();
        if of_the_store {
            copy.anchor.advance_store(7).unwrap();
        }
        assert_eq!(fault(&copy), AnchorFault::Missing);
    }
    std::fs::remove_dir_all(place.dir()).unwrap();
    assert_eq!(fault(&place), AnchorFault::LogOlder { log: 0, anchor: 3 });
    assert!(place.open_with(Some(&ROLLBACK)).is_ok());
}

#[test]
fn proofs_hold_across_segments_and_after_pruning() {
    let place = Place::new("proofs");
    let log = place.open().unwrap();
    let long = "x".repeat(200);
    for _ in 0..3000 {
        log.submit(operation(&long)).unwrap();
    }
    let first = log.checkpoint_now().unwrap().checkpoint.clone();
    for _ in 0..1000 {
        log.submit(operation(&long)).unwrap();
    }
    let check = || {
        let last = log.checkpoint_now().unwrap().checkpoint.clone();
        for index in [0, 1, 2047, 2999, last.size - 1] {
            let (leaf, proof) = log.inclusion_proof(index, last.size).unwrap();
            assert!(verify_inclusion(&leaf, index, last.size, &proof, &last.root));
        }
        let proof = log.consistency_proof(first.size, last.size).unwrap();
        assert!(verify_consistency(first.size, last.size, &proof, &first.root, &last.root));
    };
    check();
    assert!(log.inclusion_proof(5, 5).is_err());
    assert!(log.inclusion_proof(0, u64::MAX).is_err());
    assert!(log.consistency_proof(0, 5).is_err());
    let archive = place.root.path().join("archive");
    std::fs::create_dir(&archive).unwrap();
    let begin = log.prune(1500, Some(&archive)).unwrap();
    assert!(begin > 0 && begin <= 1500, "{begin}");
    assert!(archive.join(segment_name(0)).exists());
    let begin = log.prune(u64::MAX, None).unwrap();
    assert!(begin > 1500);
    check();
    drop(log);
    let report = place.verify();
    assert_eq!((report.outcome, report.first), (Outcome::Intact, begin), "{report:?}");
    let log = place.open().unwrap();
    assert_eq!(log.report().first, begin);
    assert!(log.inclusion_proof(0, log.report().records).is_ok());
    let size = log.report().records;
    for index in [0, 5, begin, size - 1] {
        let offline = crate::proof::inclusion(&place.dir(), index, size).unwrap();
        assert_eq!((offline.leaf, offline.proof), log.inclusion_proof(index, size).unwrap());
    }
    for old in [1, 1024, first.size, size] {
        let offline = crate::proof::consistency(&place.dir(), old, size).unwrap();
        assert_eq!(offline.proof, log.consistency_proof(old, size).unwrap());
        assert!(old != first.size || offline.old_root == first.root);
    }
    assert!(crate::proof::inclusion(&place.dir(), size, size).is_err());
    assert!(crate::proof::inclusion(&place.dir(), 0, size + 9).is_err());
    assert!(crate::proof::consistency(&place.dir(), 0, size).is_err());
    drop(log);
    // A pruned log without its hashes goes on; there are no proofs any more.
    std::fs::remove_file(place.dir().join("hashes-00")).unwrap();
    let log = place.open().unwrap();
    assert!(matches!(log.inclusion_proof(0, 9), Err(AuditError::NotFound("hashes"))));
    log.append(operation("a")).unwrap();
}

#[test]
fn missing_hashes_are_made_again_and_wrong_ones_never_leave() {
    let place = Place::new("rehash");
    let log = place.open().unwrap();
    for _ in 0..600 {
        log.submit(operation("a")).unwrap();
    }
    drop(log);
    std::fs::remove_file(place.dir().join("hashes-00")).unwrap();
    let log = place.open().unwrap();
    let size = log.report().records;
    let proof = log.inclusion_proof(300, size).unwrap();
    let mut bytes = std::fs::read(place.dir().join("hashes-00")).unwrap();
    bytes[32 * 301] ^= 1;
    std::fs::write(place.dir().join("hashes-00"), &bytes).unwrap();
    assert!(matches!(log.inclusion_proof(300, size), Err(AuditError::Damaged(_))));
    assert!(matches!(log.consistency_proof(300, size), Err(AuditError::Damaged(_))));
    bytes[32 * 301] ^= 1;
    std::fs::write(place.dir().join("hashes-00"), &bytes).unwrap();
    assert_eq!(log.inclusion_proof(300, size).unwrap(), proof);
}

#[test]
fn a_log_that_ended_in_a_full_segment_without_a_next_one_goes_on() {
    let place = Place::new("brim");
    let log = place.open().unwrap();
    // No next segment: the disk is full when one is to be made.
    full::set(&place.dir(), true);
    while log.append(operation("a")).is_ok() {}
    drop(log);
    full::set(&place.dir(), false);
    let log = place.open().unwrap();
    let size = log.report().records;
    assert_eq!(log.append(operation("b")).unwrap(), size + 1);
    drop(log);
    assert_eq!(place.verify().outcome, Outcome::Intact);
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let place = Place::new("full");
    let log = place.open().unwrap();
    full::set(&place.dir(), true);
    let long = "x".repeat(200);
    let mut taken = 0;
    let refused = loop {
        match log.append(operation(&long)) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AuditError::Full), "{refused}");
    let refused = KmsError::from(refused);
    assert_eq!((refused.code, refused.retryable), (ErrorCode::StoreUnavailable, true));
    assert!(taken > 500 && !log.status().writable);
    assert_eq!(log.checkpoint_now().unwrap().checkpoint.size, taken + 2);
    full::set(&place.dir(), false);
    // The background thread tries again by itself.
    while log.append(operation("a")).is_err() {
        std::thread::yield_now();
    }
    drop(log);
    let report = place.verify();
    assert_eq!((report.outcome, report.size), (Outcome::Intact, taken + 3));
}

#[test]
fn on_a_full_disk_the_oldest_records_become_hashes_where_that_was_chosen() {
    let mut place = Place::new("drop");
    place.config.on_full = OnFull::DropOldest;
    place.config.checkpoint_interval_ops = 100;
    let log = place.open().unwrap();
    let long = "x".repeat(200);
    let mut appended = 0;
    while appended < 5000 {
        full::set(&place.dir(), appended > 1500);
        match log.append(operation(&long)) {
            Ok(_) => appended += 1,
            // Until a checkpoint covers the oldest segment.
            Err(AuditError::Full) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    let last = log.checkpoint_now().unwrap().checkpoint.clone();
    let (leaf, proof) = log.inclusion_proof(0, last.size).unwrap();
    assert!(verify_inclusion(&leaf, 0, last.size, &proof, &last.root));
    drop(log);
    full::set(&place.dir(), false);
    let report = place.verify();
    assert_eq!(report.outcome, Outcome::Intact, "{report:?}");
    assert!(report.first > 0 && report.size > 5000);
    assert!(place.open().is_ok());
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_any_more() {
    let mut place = Place::new("sync");
    place.config.durability = Durability::Fsync;
    let log = place.open().unwrap();
    log.append(operation("a")).unwrap();
    let segment = log.shared().writer.tail().unwrap().segment.clone();
    segment.sync_fails.store(true, Ordering::SeqCst);
    assert!(matches!(log.append(operation("b")), Err(AuditError::Io(..) | AuditError::Stopped)));
    segment.sync_fails.store(false, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(matches!(log.append(operation("c")), Err(AuditError::Stopped)));
        assert!(matches!(log.checkpoint_now(), Err(AuditError::Stopped)));
    }
    assert!(!log.status().writable);
    assert!(!KmsError::from(AuditError::Stopped).retryable);
    drop(log);
    let log = place.open().unwrap();
    assert!(log.report().records >= 3, "what was acknowledged is there");
}

#[test]
fn too_much_waiting_for_the_disk_is_backpressure() {
    let mut place = Place::new("backlog");
    place.config.max_backlog_bytes = 4096;
    place.config.flush_interval = std::time::Duration::from_secs(3600);
    let log = place.open().unwrap();
    let refused = loop {
        if let Err(error) = log.append(operation("a")) {
            break error;
        }
    };
    assert!(matches!(refused, AuditError::Backlog));
    assert_eq!(KmsError::from(refused).code, ErrorCode::Backpressure);
    log.checkpoint_now().unwrap();
    log.append(operation("a")).unwrap();
}

#[test]
fn audit_keys_hand_over_by_signature() {
    let mut place = Place::new("keys");
    let log = place.open().unwrap();
    log.append(operation("a")).unwrap();
    let new: Vec<Arc<dyn crate::note::NoteSigner>> =
        vec![Arc::new(Ed25519::new(ORIGIN, 2)), Arc::new(MlDsa::new(ORIGIN, 3))];
    log.rotate_audit_keys(new.clone()).unwrap();
    log.append(operation("b")).unwrap();
    drop(log);
    let report = place.verify();
    assert_eq!((report.outcome, report.keys.len()), (Outcome::Intact, 2));
    assert_eq!(report.remarks, Vec::<String>::new());
    assert!(
        matches!(place.open(), Err(AuditError::AuditKey(_))),
        "the old key is no longer the log's"
    );
    place.parts.signers = new;
    drop(place.open().unwrap());
    place.parts.signers = vec![Arc::new(Ed25519::new(ORIGIN, 9))];
    let decision = Override { actor: "ops".into(), rollback: false, audit_key: true };
    drop(place.open_with(Some(&decision)).unwrap());
    let report = place.verify();
    assert_eq!(report.outcome, Outcome::Intact);
    assert_eq!(report.remarks.len(), 2, "{:?}", report.remarks);
    let today = [Ed25519::new(ORIGIN, 9).key().clone()];
    let expect = || Expect { keys: Some(&today), ..Expect::default() };
    let pinned = || verify(&place.dir(), &Crates, expect(), &mut |_| ControlFlow::Continue(()));
    assert_eq!(pinned().unwrap().outcome, Outcome::Intact, "by the checkpoint of the change");
    drop(place.open().unwrap());
    assert_eq!(pinned().unwrap().outcome, Outcome::Intact);
    place.parts.signers = vec![Arc::new(Ed25519::new("ron-kms/other", 9))];
    assert!(matches!(place.open(), Err(AuditError::AuditKey(_))));
}

#[test]
fn checkpoints_come_by_themselves() {
    let mut place = Place::new("interval");
    place.config.checkpoint_interval_ops = 10;
    let log = place.open().unwrap();
    for _ in 0..50 {
        log.append(operation("a")).unwrap();
    }
    while log.status().checkpoint_size < 40 {
        std::thread::yield_now();
    }
    let latest = log.latest_checkpoint().unwrap();
    let anchored = place.anchor.load().unwrap().unwrap();
    assert!(anchored.log_size >= latest.checkpoint.size, "the anchor first");
}

#[test]
fn a_log_in_memory_keeps_the_last_records_and_the_whole_tree() {
    use crate::merkle::{Frontier, leaf_hash};
    use kms_core::{AuditEvent, AuditSink, Context};
    let log = crate::MemoryLog::new(
        config().origin,
        2,
        Arc::new(kms_testkit::clock::ManualClock::default()),
    );
    let context = Context::library();
    let event = AuditEvent {
        op: "sign",
        context: &context,
        kid: None,
        input_hash: None,
        refusal: None,
        attestation: None,
    };
    let mut tree = Frontier::default();
    for seq in 0..5 {
        assert_eq!(log.append(&event).unwrap(), Some(seq));
        tree.push(leaf_hash(log.records().unwrap().last().unwrap()));
        assert_eq!(log.head().unwrap(), (seq + 1, tree.root()));
    }
    assert_eq!(log.records().unwrap().len(), 2);
}

/// Signs, but not for the log's own thread.
struct PanicsInBackground(Ed25519);

impl NoteSigner for PanicsInBackground {
    fn key(&self) -> &NoteKey {
        self.0.key()
    }

    fn sign(&self, message: &[u8]) -> kms_core::Result<Vec<u8>> {
        assert_ne!(std::thread::current().name(), Some("kms-audit"), "as the test wants it");
        self.0.sign(message)
    }
}

#[test]
fn a_panic_of_the_thread_that_flushes_stops_the_log() {
    let mut place = Place::new("panic");
    place.parts.signers = vec![Arc::new(PanicsInBackground(Ed25519::new(ORIGIN, 1)))];
    place.config.checkpoint_interval_ops = 10;
    let log = place.open().unwrap();
    let refused = loop {
        if let Err(error) = log.append(operation("a")) {
            break error;
        }
    };
    assert!(matches!(refused, AuditError::Stopped), "{refused}");
    assert!(!log.status().writable);
}

#[test]
fn counts_checkpoints_and_records_that_failed() {
    use kms_core::{AuditEvent, AuditSink, Context};
    let mut place = Place::new("counts");
    let fails = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&fails);
    place.parts.anchor = Arc::new(Hooked {
        inner: MemoryAnchor::default(),
        before: move |_, _: &[u8; 32]| match told.load(Ordering::Relaxed) {
            true => Err(KmsError::internal("as the test wants it")),
            false => Ok(()),
        },
    });
    let log = place.open().unwrap();
    let counts = |log: &AuditLog| {
        let now = log.status();
        (now.checkpoints_made, now.checkpoints_failed, now.refused_records)
    };
    assert_eq!(counts(&log), (1, 0, 0), "the one that a log begins with");
    let context = Context::library();
    let event = AuditEvent {
        op: "sign",
        context: &context,
        kid: None,
        input_hash: None,
        refusal: None,
        attestation: None,
    };
    AuditSink::append(&log, &event).unwrap();
    log.checkpoint_now().unwrap();
    log.checkpoint_now().unwrap();
    assert_eq!(counts(&log), (2, 0, 0), "nothing was left to cover the second time");
    AuditSink::append(&log, &event).unwrap();
    fails.store(true, Ordering::Relaxed);
    log.checkpoint_now().unwrap_err();
    assert_eq!(counts(&log), (2, 1, 0));
    let long = Context { actor: "x".repeat(300).into(), ..Context::library() };
    let refused = AuditSink::append(&log, &AuditEvent { context: &long, ..event }).unwrap_err();
    assert_eq!((refused.field.as_deref(), counts(&log).2), (Some("actor"), 1), "no record fits it");
    log.close();
    AuditSink::append(&log, &event).unwrap_err();
    assert_eq!(counts(&log).2, 2);
}
