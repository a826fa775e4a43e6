//! Whoever reads a log while it is written, pruned or damaged.

use std::ops::ControlFlow;

use crate::AuditError;
use crate::layout::segment_name;
use crate::reader::{Follower, Records};
use crate::test_keys::Crates;
use crate::test_support::{Place, operation};
use crate::verify::{Expect, Outcome, verify};

/// Shows what there is now.
fn drain(follower: &mut Follower) -> Vec<u64> {
    let mut seen = Vec::new();
    while follower
        .visit(&mut |entry| {
            seen.push(entry.record.seq);
            Ok(())
        })
        .unwrap()
    {}
    seen
}

#[test]
fn a_verifier_beside_a_writer_finds_nothing_wrong() {
    let place = Place::new("beside");
    let log = place.open().unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let long = "x".repeat(200);
            for i in 0..20_000 {
                // The disk may be slower than this loop.
                while let Err(error) = log.submit(operation(&long)) {
                    assert!(matches!(error, AuditError::Backlog), "{error}");
                }
                if i % 1000 == 0 {
                    log.checkpoint_now().unwrap();
                }
            }
        });
        let mut follower = Follower::new(&place.dir(), 0);
        let mut seen = Vec::new();
        while !writer.is_finished() {
            let report = place.verify();
            assert_eq!(report.outcome, Outcome::Intact, "{:?}", report.first_bad);
            seen.extend(drain(&mut follower));
            assert_eq!(follower.broken(), None);
        }
        writer.join().unwrap();
        seen.extend(drain(&mut follower));
        assert_eq!(seen, (0..20_002).collect::<Vec<_>>());
    });
}

#[test]
fn a_follower_goes_on_after_what_was_pruned() {
    let place = Place::new("follow-pruned");
    let log = place.open().unwrap();
    let long = "x".repeat(200);
    let fill = || {
        (0..3000).for_each(|_| {
            log.submit(operation(&long)).unwrap();
        });
    };
    fill();
    let mut follower = Follower::new(&place.dir(), 0);
    let mut first = None;
    let more = follower.visit(&mut |entry| {
        first = Some(entry.record.seq);
        Ok(())
    });
    assert!(more.unwrap() && first == Some(0));
    // Its own segment is still open; the ones after it go.
    for number in 1..3 {
        std::fs::remove_file(place.dir().join(segment_name(number))).unwrap();
    }
    let before = drain(&mut follower);
    assert!(follower.broken().is_some(), "the segment after this one is missing");
    std::fs::remove_file(place.dir().join(segment_name(0))).unwrap();
    let after = drain(&mut follower);
    assert!(before.last().unwrap() + 1 < after[0], "{:?} {}", before.last(), after[0]);
    assert_eq!(*after.last().unwrap(), 3001);
    assert_eq!(follower.broken(), None);
    fill();
    assert_eq!(drain(&mut follower), (3002..6002).collect::<Vec<_>>());
}

#[test]
fn a_follower_shows_again_what_was_not_taken() {
    let place = Place::new("follow-again");
    let log = place.open().unwrap();
    log.append(operation("a")).unwrap();
    let mut follower = Follower::new(&place.dir(), 2);
    let refused = follower.visit(&mut |_| Err(AuditError::Full)).unwrap_err();
    assert!(matches!(refused, AuditError::Full));
    assert_eq!(follower.seq(), 2);
    assert_eq!(drain(&mut follower), [2]);
    assert_eq!(drain(&mut follower), [0_u64; 0]);
}

#[test]
fn the_last_records_are_found_across_segments() {
    let place = Place::new("last");
    let log = place.open().unwrap();
    let long = "x".repeat(200);
    (0..3000).for_each(|_| {
        log.submit(operation(&long)).unwrap();
    });
    for count in [0, 1, 10, 900, 3002, u64::MAX] {
        let from = Records::last(&place.dir(), count).unwrap().seq();
        assert_eq!(from, 3002_u64.saturating_sub(count));
    }
}

#[test]
fn a_verification_stops_when_asked() {
    let place = Place::new("stop");
    drop(place.open().unwrap());
    let mut asked = 0;
    let stopped = verify(&place.dir(), &Crates, Expect::default(), &mut |at| {
        asked += 1;
        assert!(at.bytes <= at.of_bytes);
        ControlFlow::Break(())
    });
    assert!(matches!(stopped, Err(AuditError::Interrupted)));
    assert_eq!(asked, 1);
}
