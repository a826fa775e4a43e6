//! What a crash leaves is dropped and said; what was changed is refused, by name.

use std::fs::OpenOptions;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::AuditError;
use crate::layout::{CHECKPOINTS, KEYS, PAGE, frame_len, segment_name};
use crate::test_keys::Crates;
use crate::test_support::{Place, operation};
use crate::verify::{Expect, Outcome, verify};

/// A log as a killed process left it, with three records that no checkpoint covers.
fn crashed(name: &str) -> Place {
    let place = Place::new(name);
    let log = place.open().unwrap();
    log.append(operation("a")).unwrap();
    log.checkpoint_now().unwrap();
    for id in ["b", "c", "d"] {
        log.append(operation(id)).unwrap();
    }
    place.snapshot(name)
}

/// Where the records lie in the first segment, and where they end.
fn frames(place: &Place) -> (Vec<usize>, usize) {
    let mut at = PAGE;
    let mut starts = Vec::new();
    for bytes in place.records() {
        starts.push(at);
        at += frame_len(bytes.len());
    }
    (starts, at)
}

fn flip(path: &Path, bit: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, bit / 8).unwrap();
}

#[test]
fn a_last_record_torn_at_any_byte_is_dropped_and_said() {
    let place = crashed("torn");
    let records = place.records();
    let (starts, end) = frames(&place);
    let last = *starts.last().unwrap();
    let whole = std::fs::read(place.dir().join(segment_name(0))).unwrap();
    for cut in last..=end {
        // Cut off, and turned to zeros.
        for shorten in [true, false] {
            let copy = place.snapshot("torn-copy");
            let mut bytes = whole.clone();
            bytes[cut..].fill(0);
            if shorten {
                bytes.truncate(cut);
            }
            std::fs::write(copy.dir().join(segment_name(0)), &bytes).unwrap();
            let kept = records.len() - usize::from(cut < end);
            let verdict = copy.verify();
            let torn = cut != last && cut != end;
            assert_eq!(
                verdict.outcome,
                if torn { Outcome::Torn } else { Outcome::Intact },
                "{cut}"
            );
            let log = copy.open().unwrap();
            assert_eq!(log.report().records, kept as u64, "cut at {cut}");
            assert_eq!(log.report().dropped_bytes > 0, torn, "cut at {cut}");
            log.append(operation("e")).unwrap();
            drop(log);
            assert_eq!(copy.verify().outcome, Outcome::Intact);
            assert_eq!(copy.records()[..kept], records[..kept]);
        }
    }
}

#[test]
fn a_record_without_its_head_is_a_torn_one() {
    let place = crashed("headless");
    let last = *frames(&place).0.last().unwrap();
    let path = place.dir().join(segment_name(0));
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0; 8], last as u64).unwrap();
    assert_eq!(place.verify().outcome, Outcome::Torn);
    let log = place.open().unwrap();
    assert!(log.report().dropped_bytes > 0);
    drop(log);
    assert!(place.verify().remarks[0].contains("torn"), "it is in the log too");
}

#[test]
fn a_torn_record_that_a_checkpoint_covers_is_damage() {
    let place = crashed("covered");
    let covered = frames(&place).0[2];
    let path = place.dir().join(segment_name(0));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[covered + 40..].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let error = place.open().map(|_| ()).unwrap_err();
    let AuditError::Damaged(damage) = error else { panic!("{error}") };
    assert_eq!((damage.seq, damage.offset), (Some(2), covered as u64));
    let report = place.verify();
    assert_eq!((report.outcome, report.first_bad.unwrap().seq), (Outcome::Damaged, Some(2)));
}

#[test]
fn a_flipped_bit_in_a_segment_is_refused_and_named() {
    let place = crashed("flip");
    let records = place.records();
    let (starts, end) = frames(&place);
    let path = place.dir().join(segment_name(0));
    // Every byte that holds something, each with another bit of it.
    for (i, byte) in (0..2200).step_by(61).chain(PAGE - 40..end).enumerate() {
        let bit = byte as u64 * 8 + (i % 8) as u64;
        flip(&path, bit);
        let bad = starts.iter().rposition(|start| *start <= byte);
        let bad = bad.map(|bad| bad as u64);
        let report = place.verify();
        assert_eq!(report.outcome, Outcome::Damaged, "byte {byte}");
        assert_eq!(report.first_bad.unwrap().seq, bad, "byte {byte}");
        match place.open() {
            Err(AuditError::Damaged(damage)) => assert_eq!(damage.seq, bad, "byte {byte}"),
            other => panic!("byte {byte}: {:?}", other.map(|_| ())),
        }
        flip(&path, bit);
    }
    drop(place.open().unwrap());
    assert_eq!(place.records()[..records.len()], records, "nothing was changed on the way");
}

#[test]
fn a_flipped_bit_in_checkpoints_or_keys_is_refused() {
    let place = crashed("flip-note");
    for name in [CHECKPOINTS, KEYS] {
        let path = place.dir().join(name);
        let len = std::fs::metadata(&path).unwrap().len();
        for byte in 0..len {
            let bit = byte * 8 + byte % 8;
            flip(&path, bit);
            let refused = place.open().map(|_| ()).unwrap_err();
            let typed = matches!(
                refused,
                AuditError::Damaged(_) | AuditError::Checkpoint(_) | AuditError::AuditKey(_)
            );
            assert!(typed, "{name} {byte}: {refused}");
            if name == CHECKPOINTS {
                assert_eq!(place.verify().outcome, Outcome::Damaged, "{byte}");
            }
            flip(&path, bit);
        }
    }
    assert!(place.open().is_ok());
}

#[test]
fn a_checkpoint_torn_at_any_byte_is_dropped_and_said() {
    let place = crashed("torn-note");
    let whole = std::fs::read(place.dir().join(CHECKPOINTS)).unwrap();
    let (before, _) = {
        let copy = place.snapshot("torn-note-size");
        drop(copy.open().unwrap());
        let after = std::fs::read(copy.dir().join(CHECKPOINTS)).unwrap();
        (whole.len(), std::fs::write(place.dir().join(CHECKPOINTS), &after).unwrap())
    };
    let longer = std::fs::read(place.dir().join(CHECKPOINTS)).unwrap();
    for cut in before + 1..longer.len().min(before + 200) {
        let copy = place.snapshot("torn-note-copy");
        std::fs::write(copy.dir().join(CHECKPOINTS), &longer[..cut]).unwrap();
        let log = copy.open().unwrap();
        assert_eq!(log.report().dropped_checkpoint_bytes, (cut - before) as u64);
        drop(log);
        assert_eq!(copy.verify().outcome, Outcome::Intact);
    }
}

#[test]
fn a_missing_file_is_refused() {
    let place = Place::new("missing");
    let log = place.open().unwrap();
    let long = "x".repeat(250);
    (0..3000).for_each(|_| {
        log.submit(operation(&long)).unwrap();
    });
    drop(log);
    for number in 0..2 {
        let copy = place.snapshot("missing-copy");
        std::fs::remove_file(copy.dir().join(segment_name(number))).unwrap();
        assert_eq!(copy.verify().outcome, Outcome::Damaged, "segment {number}");
        if number > 0 {
            assert!(matches!(copy.open(), Err(AuditError::Damaged(_))), "segment {number}");
        }
    }
    for name in [CHECKPOINTS, KEYS] {
        let copy = place.snapshot("missing-copy");
        std::fs::remove_file(copy.dir().join(name)).unwrap();
        if name == KEYS {
            assert!(matches!(copy.open(), Err(AuditError::Damaged(_))));
        }
    }
}

#[test]
fn forged_checkpoints_are_refused_each_by_its_own_name() {
    use crate::checkpoint::Checkpoint;
    use crate::checkpoints::CheckpointFile;
    use crate::note::NoteSigner;
    use crate::test_keys::Ed25519;
    use crate::test_support::ORIGIN;
    let place = crashed("forged");
    let held = place.verify();
    let forge = |size: u64, root, seed: u8, origin: &str| {
        let copy = place.snapshot("forged-copy");
        let signer = Ed25519::new(origin, seed);
        let signers: [&dyn NoteSigner; 1] = [&signer];
        let checkpoint = Checkpoint { origin: origin.into(), size, root };
        let note = checkpoint.sign(&signers, 0).unwrap().to_string();
        CheckpointFile::open(&copy.dir()).unwrap().append(&note).unwrap();
        let bad = copy.verify();
        assert_eq!(bad.outcome, Outcome::BadCheckpoint);
        (bad.first_bad.unwrap().why, copy.open().map(|_| ()).unwrap_err().to_string())
    };
    let (why, open) = forge(held.size, [1; 32], 1, ORIGIN);
    assert!(why.contains("another root") && open.contains("another root"), "{why} {open}");
    let (why, open) = forge(held.size + 1, held.root, 1, ORIGIN);
    assert!(why.contains("more records") && open.contains("fewer records"), "{why} {open}");
    let (why, open) = forge(1, held.root, 1, ORIGIN);
    assert!(why.contains("smaller") && open.contains("smaller"), "{why} {open}");
    let (why, open) = forge(held.size, held.root, 2, ORIGIN);
    assert!(why.contains("not signed") && open.contains("not signed"), "{why} {open}");
    let (why, open) = forge(held.size, held.root, 1, "ron-kms/other");
    assert!(why.contains("another log") && open.contains("another log"), "{why} {open}");
}

#[test]
fn a_verifier_is_held_to_what_it_expects() {
    let place = crashed("expect");
    let held = place.verify();
    let check = |expect: Expect<'_>| {
        verify(&place.dir(), &Crates, expect, &mut |_| ControlFlow::Continue(())).unwrap()
    };
    let seen = |size, root| check(Expect { seen: Some((size, root)), ..Expect::default() });
    assert_eq!(seen(held.size, held.root).outcome, Outcome::Intact);
    assert_eq!(seen(held.size, [0; 32]).outcome, Outcome::BehindAnchor);
    assert_eq!(seen(held.size + 1, held.root).outcome, Outcome::BehindAnchor);
    let keys = |keys| check(Expect { keys: Some(keys), ..Expect::default() });
    assert_eq!(keys(&held.keys).outcome, Outcome::Intact);
    assert_eq!(keys(&[]).outcome, Outcome::BadAuditKey);
}

/// A log whose last checkpoint is at its beginning, with some pages of records; the boot that it names may be made
/// another one.
fn pages(name: &str, rebooted: bool) -> (Place, Vec<u8>) {
    let place = Place::new(name);
    let log = place.open().unwrap();
    for _ in 0..200 {
        log.append(operation("a")).unwrap();
    }
    let copy = place.snapshot(name);
    let path = copy.dir().join(segment_name(0));
    if rebooted {
        crate::scan::pretend_reboot(&copy.dir());
    }
    let bytes = std::fs::read(path).unwrap();
    (copy, bytes)
}

#[test]
fn a_page_lost_in_a_power_cut_ends_the_log_and_only_then() {
    for rebooted in [true, false] {
        let (place, mut bytes) = pages("page", rebooted);
        bytes[3 * PAGE..4 * PAGE].fill(0);
        std::fs::write(place.dir().join(segment_name(0)), &bytes).unwrap();
        match place.open() {
            Ok(log) => {
                assert!(rebooted && log.report().dropped_bytes > PAGE as u64);
                let records = log.report().records;
                assert!((20..202).contains(&records), "{records}");
                drop(log);
                assert_eq!(place.verify().outcome, Outcome::Intact);
            }
            Err(error) => assert!(!rebooted && matches!(error, AuditError::Damaged(_)), "{error}"),
        }
    }
}

#[test]
fn a_changed_bit_is_damage_after_a_reboot_too() {
    let (place, bytes) = pages("reboot-flip", true);
    let (_, end) = frames(&place);
    for at in (PAGE + 600..end).step_by(997) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 4;
        std::fs::write(place.dir().join(segment_name(0)), &bytes).unwrap();
        assert!(matches!(place.open(), Err(AuditError::Damaged(_))), "{at}");
    }
}
