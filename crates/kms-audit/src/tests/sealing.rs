//! Logs that a device seals: its line under every checkpoint, what is refused without it, and how it comes and goes.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use kms_core::{Anchor, AuditEvent, AuditSink, Context, ErrorCode, KmsError};

use crate::checkpoint::{Checkpoint, Signed, device_name, signed_by};
use crate::note::{ED25519, Note, NoteKey, NoteSigner};
use crate::record::{Body, Record, Sealing};
use crate::test_keys::{Crates, Ed25519};
use crate::test_support::{ORIGIN, Place, operation};
use crate::verify::{Expect, Outcome, Report, verify};
use crate::{AuditError, AuditLog, Device, Override, Sealer};

const DECIDED: Override = Override { actor: String::new(), rollback: false, audit_key: true };

/// A device with at most one key, which can fail, and give signatures that do not hold.
#[derive(Default)]
pub(crate) struct Fake {
    seed: Mutex<Option<u8>>,
    pub(crate) fails: Arc<AtomicBool>,
    lies: Arc<AtomicBool>,
    /// What looking for the key to seal with fails with.
    unfit: Mutex<Option<ErrorCode>>,
    /// The same, for looking for it at all.
    away: AtomicBool,
    signed: Option<Arc<dyn Fn() + Send + Sync>>,
}

struct Key {
    inner: Ed25519,
    fails: Arc<AtomicBool>,
    lies: Arc<AtomicBool>,
    signed: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl NoteSigner for Key {
    fn key(&self) -> &NoteKey {
        self.inner.key()
    }

    fn sign(&self, message: &[u8]) -> kms_core::Result<Vec<u8>> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(KmsError::new(ErrorCode::StoreUnavailable, "as the test wants it"));
        }
        let message = if self.lies.load(Ordering::Relaxed) { b"another" } else { message };
        let signature = self.inner.sign(message);
        self.signed.as_ref().inspect(|it| it());
        signature
    }
}

impl Fake {
    pub(crate) fn holding(seed: u8) -> Arc<Fake> {
        Arc::new(Fake { seed: Mutex::new(Some(seed)), ..Fake::default() })
    }

    /// One that says when it has signed.
    pub(crate) fn telling(seed: u8, signed: Arc<dyn Fn() + Send + Sync>) -> Arc<Fake> {
        Arc::new(Fake { seed: Mutex::new(Some(seed)), signed: Some(signed), ..Fake::default() })
    }

    fn sealer(&self, seed: u8) -> Sealer {
        let inner = Ed25519::new(&device_name(ORIGIN), seed);
        let (fails, lies) = (Arc::clone(&self.fails), Arc::clone(&self.lies));
        let signed = self.signed.clone();
        let facts = vec![("token_serial".into(), format!("{seed}\n"))];
        Sealer {
            signer: Arc::new(Key { inner, fails, lies, signed }),
            class: "pkcs11-fake".into(),
            facts,
        }
    }
}

impl Device for Fake {
    fn find(&self) -> kms_core::Result<Option<Sealer>> {
        if let Some(code) = *self.unfit.lock().unwrap() {
            return Err(KmsError::new(code, "as the test wants it"));
        }
        Ok(self.seed.lock().unwrap().map(|seed| self.sealer(seed)))
    }

    fn find_signer(&self) -> kms_core::Result<Option<Arc<dyn NoteSigner>>> {
        if self.away.load(Ordering::Relaxed) {
            return Err(KmsError::new(ErrorCode::StoreUnavailable, "as the test wants it"));
        }
        Ok(self.seed.lock().unwrap().map(|seed| self.sealer(seed).signer))
    }

    fn make(&self) -> kms_core::Result<Sealer> {
        assert_eq!(self.seed.lock().unwrap().replace(40), None, "made where there is one");
        Ok(self.sealer(40))
    }
}

fn key(seed: u8) -> NoteKey {
    Ed25519::new(&device_name(ORIGIN), seed).key().clone()
}

fn audit_key() -> NoteKey {
    Ed25519::new(ORIGIN, 1).key().clone()
}

/// A place whose log is to be sealed by a device.
fn sealed(name: &str, device: &Arc<Fake>) -> Place {
    let mut place = Place::new(name);
    place.config.attested = true;
    place.parts.device = Some(device.clone());
    place
}

fn verify_pinned(place: &Place, keys: &[NoteKey]) -> Report {
    let expect = Expect { keys: Some(keys), ..Expect::default() };
    verify(&place.dir(), &Crates, expect, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn intact(place: &Place) -> Report {
    let report = place.verify();
    assert_eq!(report.outcome, Outcome::Intact, "{report:?}");
    report
}

/// Whether the device's line is under the last checkpoint, and holds.
fn has_line(log: &AuditLog, seed: u8) -> Signed {
    let note = Note::parse(log.latest_checkpoint().unwrap().note.as_bytes()).unwrap();
    assert_eq!(signed_by(&note, &audit_key(), &Crates), Signed::Yes(None));
    signed_by(&note, &key(seed), &Crates)
}

fn event(context: &Context) -> AuditEvent<'_> {
    let (kid, input_hash, refusal, attestation) = Default::default();
    AuditEvent { op: "sign", context, kid, input_hash, refusal, attestation }
}

#[test]
fn every_checkpoint_has_the_line_of_the_device_and_the_log_says_whose_it_is() {
    let device = Arc::new(Fake::default());
    let place = sealed("sealed", &device);
    let log = place.open().unwrap();
    assert_eq!(log.device(), Some(&key(40)), "made, since there was none");
    assert_eq!(has_line(&log, 40), Signed::Yes(None));
    for _ in 0..3 {
        log.append(operation("a")).unwrap();
        log.checkpoint_now().unwrap();
        assert_eq!(has_line(&log, 40), Signed::Yes(None));
    }
    drop(log);
    let log = place.open().unwrap();
    assert_eq!(log.device(), Some(&key(40)), "found again");
    drop(log);
    let report = intact(&place);
    let by = report.sealed_by.unwrap();
    assert_eq!((by.key, by.since, &*by.class), (key(40), Some(2), "pkcs11-fake"));
    assert_eq!(by.facts, [("token_serial".to_owned(), "40 ".to_owned())]);
    assert_eq!((report.keys, report.remarks), (vec![audit_key()], vec![]));
    let keys = std::fs::read_to_string(place.dir().join("keys")).unwrap();
    assert_eq!(keys, format!("{}\n{}\n", audit_key(), key(40)));
    for pinned in [&[audit_key(), key(40)][..], &[key(40)], &[audit_key()]] {
        assert_eq!(verify_pinned(&place, pinned).outcome, Outcome::Intact);
    }
    assert_eq!(verify_pinned(&place, &[audit_key(), key(41)]).outcome, Outcome::BadAuditKey);
}

#[test]
fn the_device_comes_and_goes_by_records_that_it_signs() {
    let device = Fake::holding(40);
    let mut place = sealed("come-and-go", &device);
    place.config.attested = false;
    drop(place.open().unwrap());
    assert_eq!(intact(&place).sealed_by, None);
    assert_eq!(verify_pinned(&place, &[key(40)]).outcome, Outcome::Unsealed);
    place.config.attested = true;
    let log = place.open().unwrap();
    assert_eq!((has_line(&log, 40), log.report().overridden.len()), (Signed::Yes(None), 0));
    drop(log);
    let kept = intact(&place);
    assert_eq!(kept.sealed_by.unwrap().since, Some(3));
    place.config.attested = false;
    let log = place.open().unwrap();
    assert_eq!((has_line(&log, 40), log.report().overridden.len()), (Signed::No, 0));
    drop(log);
    let report = intact(&place);
    assert_eq!((report.sealed_by, report.remarks.len()), (None, 1));
    assert!(report.remarks[0].ends_with("no device seals the log from here on"));
    // The device signed that too.
    assert_eq!(verify_pinned(&place, &[key(40)]).outcome, Outcome::Intact);
    drop(place.open().unwrap());
}

#[test]
fn a_sealed_log_is_refused_without_its_device_unless_an_operator_decides() {
    let place = sealed("gone", &Fake::holding(42));
    drop(place.open().unwrap());
    let other = Fake::holding(41);
    let gone: [(bool, Option<Arc<dyn Device>>); 4] = [
        (true, Some(other.clone())),
        (true, Some(Arc::new(Fake::default()))),
        (false, Some(other.clone())),
        (false, None),
    ];
    for (attested, device) in gone {
        let mut place = place.snapshot("gone-copy");
        (place.config.attested, place.parts.device) = (attested, device);
        assert!(matches!(place.open(), Err(AuditError::Device(_))));
        let log = place.open_with(Some(&DECIDED)).unwrap();
        assert_eq!((log.report().overridden.len(), log.device().is_some()), (1, attested));
        drop(log);
        let report = intact(&place);
        assert_eq!(report.sealed_by.is_some(), attested);
        assert_eq!(report.remarks.len(), 2, "the decision, and that the device did not sign it");
        let pinned = verify_pinned(&place, &[key(42)]);
        assert_eq!(pinned.outcome, Outcome::BadAuditKey, "{pinned:?}");
        assert_eq!(verify_pinned(&place, &[audit_key()]).outcome, Outcome::Intact);
        if let Some(by) = report.sealed_by {
            // By the checkpoint right after the change, and by later ones.
            let outcome = || verify_pinned(&place, std::slice::from_ref(&by.key)).outcome;
            assert_eq!(outcome(), Outcome::Intact, "that of today");
            drop(place.open().unwrap());
            assert_eq!(outcome(), Outcome::Intact, "that of today");
        }
        drop(place.open().unwrap());
    }
}

#[test]
fn a_device_that_is_not_fit_to_seal_any_more_can_still_end_it() {
    for code in [ErrorCode::AttestationMissing, ErrorCode::Internal] {
        let device = Fake::holding(40);
        let mut place = sealed("unfit", &device);
        drop(place.open().unwrap());
        *device.unfit.lock().unwrap() = Some(code);
        for decision in [None, Some(&DECIDED)] {
            assert!(matches!(place.open_with(decision), Err(AuditError::Device(_))), "{code:?}");
        }
        place.config.attested = false;
        let log = place.open().unwrap();
        assert_eq!((log.device(), log.report().overridden.len()), (None, 0));
        drop(log);
        assert_eq!(verify_pinned(&place, &[key(40)]).outcome, Outcome::Intact, "it signed");
    }
    // Where no device sealed the log before, that is no fault of the log.
    let device = Fake::holding(40);
    *device.unfit.lock().unwrap() = Some(ErrorCode::AttestationMissing);
    assert!(matches!(sealed("unfit-first", &device).open(), Err(AuditError::Other(_))));
}

#[test]
fn an_operator_ends_the_sealing_where_the_device_fails_to_be_found_or_to_sign() {
    for away in [true, false] {
        let device = Fake::holding(40);
        let mut place = sealed("fails-to-end", &device);
        drop(place.open().unwrap());
        place.config.attested = false;
        if away { &device.away } else { &device.fails }.store(true, Ordering::Relaxed);
        assert!(matches!(place.open(), Err(AuditError::Other(_))), "without a decision");
        let before = place.snapshot("fails-to-end-before");
        let log = place.open_with(Some(&DECIDED)).unwrap();
        assert_eq!((log.device(), log.report().overridden.len()), (None, 1));
        drop(log);
        let report = intact(&place);
        assert_eq!((report.sealed_by, report.remarks.len()), (None, 2), "{:?}", report.remarks);
        assert_eq!(verify_pinned(&place, &[key(40)]).outcome, Outcome::BadAuditKey);
        // And where the process ended before the checkpoint: the decision is on record.
        for name in ["keys", "checkpoints"] {
            std::fs::copy(before.dir().join(name), place.dir().join(name)).unwrap();
        }
        let state = before.anchor.load().unwrap().unwrap();
        place.anchor.override_with(Some((state.log_size, state.log_root)), None).unwrap();
        drop(place.open().unwrap());
        assert_eq!(intact(&place).sealed_by, None);
    }
}

#[test]
fn no_checkpoint_is_made_and_no_operation_recorded_while_the_device_does_not_sign() {
    let device = Fake::holding(40);
    let place = sealed("outage", &device);
    let log = place.open().unwrap();
    let context = Context::library();
    let before = log.latest_checkpoint().unwrap();
    AuditSink::append(&log, &event(&context)).unwrap();
    for failing in [&device.fails, &device.lies] {
        failing.store(true, Ordering::Relaxed);
        log.checkpoint_now().unwrap_err();
        assert_eq!(log.latest_checkpoint().unwrap(), before);
        assert_eq!(place.anchor.load().unwrap().unwrap().log_size, before.checkpoint.size);
        let refused = AuditSink::append(&log, &event(&context)).unwrap_err();
        assert_eq!((refused.code, refused.retryable), (ErrorCode::StoreUnavailable, true));
        let refusal = AuditEvent { refusal: Some(&refused), ..event(&context) };
        AuditSink::append(&log, &refusal).expect("what was refused is recorded");
        failing.store(false, Ordering::Relaxed);
    }
    let (failed, refused) = (log.status().checkpoints_failed, log.status().refused_records);
    assert!(failed >= 2 && refused == 2, "{failed} {refused}");
    // By itself, when the device is back.
    while log.check_sealed().is_err() {
        std::thread::yield_now();
    }
    AuditSink::append(&log, &event(&context)).unwrap();
    assert_eq!(has_line(&log, 40), Signed::Yes(None));
    drop(log);
    intact(&place);
}

/// Signs, and tells whether status and the last checkpoint can be had meanwhile.
#[test]
fn nothing_but_the_next_checkpoint_waits_for_the_device() {
    struct Slow(Ed25519, Mutex<std::sync::mpsc::Receiver<()>>, std::sync::mpsc::Sender<()>);
    impl NoteSigner for Slow {
        fn key(&self) -> &NoteKey {
            self.0.key()
        }
        fn sign(&self, message: &[u8]) -> kms_core::Result<Vec<u8>> {
            self.2.send(()).unwrap();
            self.1.lock().unwrap().recv().unwrap();
            self.0.sign(message)
        }
    }
    struct One(Arc<Slow>);
    impl Device for One {
        fn find(&self) -> kms_core::Result<Option<Sealer>> {
            let facts = vec![("a".to_owned(), "b".to_owned())];
            Ok(Some(Sealer { signer: self.0.clone(), class: "c".into(), facts }))
        }
        fn make(&self) -> kms_core::Result<Sealer> {
            panic!("there is one")
        }
    }
    let ((go, wait), (began, begun)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let signer = Slow(Ed25519::new(&device_name(ORIGIN), 40), Mutex::new(wait), began);
    let mut place = Place::new("slow");
    place.config.attested = true;
    place.config.checkpoint_interval_ops = 1;
    place.parts.device = Some(Arc::new(One(Arc::new(signer))));
    // It signs that it takes over, and the first checkpoint.
    for _ in 0..2 {
        go.send(()).unwrap();
    }
    let log = place.open().unwrap();
    for _ in 0..2 {
        begun.recv().unwrap();
    }
    log.append(operation("a")).unwrap();
    begun.recv().unwrap();
    // The device signs now, and will not end before this thread has done all of this.
    let covered = log.latest_checkpoint().unwrap().checkpoint.size;
    let index = log.append(operation("b")).unwrap();
    log.wait_durable(index).unwrap();
    assert_eq!(log.status().checkpoint_size, covered);
    assert_eq!(log.status().size, index + 1);
    log.check_sealed().unwrap();
    for _ in 0..4 {
        let _ = go.send(());
    }
    drop(log);
    intact(&place);
}

/// Rewrites the checkpoints of a log.
fn rewrite(place: &Place, change: impl Fn(usize, &mut Note)) {
    use crate::layout::{FrameKind, head, put_frame_body};
    use crate::merkle::leaf_hash;
    let mut reader = crate::checkpoint_reader::CheckpointReader::open(&place.dir()).unwrap();
    let (mut file, mut number) = (Vec::new(), 0);
    while let Some(mut stored) = reader.next().unwrap() {
        change(number, &mut stored.note);
        number += 1;
        let payload = stored.note.to_string().into_bytes();
        file.extend(head(FrameKind::Checkpoint, payload.len()).to_le_bytes());
        put_frame_body(&mut file, &payload, &leaf_hash(&payload));
    }
    std::fs::write(place.dir().join("checkpoints"), file).unwrap();
}

#[test]
fn a_checkpoint_without_the_line_or_with_a_wrong_one_is_found_and_named() {
    let place = sealed("stripped", &Fake::holding(40));
    let log = place.open().unwrap();
    log.append(operation("a")).unwrap();
    drop(log);
    let first_bad = |place: &Place| {
        let report = place.verify();
        (report.outcome, report.first_bad.unwrap().why)
    };
    for number in [0, 1] {
        let copy = place.snapshot("stripped-copy");
        rewrite(&copy, |at, note| note.signatures.truncate(if at == number { 1 } else { 2 }));
        let why = "the checkpoint lacks the line of the device that seals the log";
        assert_eq!(first_bad(&copy), (Outcome::Unsealed, why.into()));
        assert_eq!(copy.verify().outcome.exit_code(), 8);
    }
    let why = |place: &Place| match place.open() {
        Err(AuditError::Checkpoint(why)) => why.into_owned(),
        Err(error) => error.to_string(),
        Ok(_) => String::new(),
    };
    let copy = place.snapshot("stripped-last");
    rewrite(&copy, |_, note| note.signatures.truncate(1));
    assert_eq!(why(&copy), "the last checkpoint lacks the line of the device that seals the log");
    let copy = place.snapshot("stripped-wrong");
    rewrite(&copy, |_, note| note.signatures[1].signature[9] ^= 1);
    assert_eq!(first_bad(&copy).0, Outcome::BadCheckpoint);
    assert_eq!(why(&copy), "the last checkpoint has a bad signature by the device");
    // By another device under the same name.
    let copy = place.snapshot("stripped-other");
    rewrite(&copy, |_, note| {
        let checkpoint = Checkpoint::parse(&note.text).unwrap();
        let other = Ed25519::new(&device_name(ORIGIN), 41);
        note.signatures[1] = checkpoint.sign(&[&other], 0).unwrap().signatures.remove(0);
    });
    assert_eq!(first_bad(&copy).0, Outcome::Unsealed);
    let copy = place.snapshot("stripped-keys");
    std::fs::write(copy.dir().join("keys"), format!("{}\n", audit_key())).unwrap();
    // Begun in the segment that is read: the record still says so.
    drop(copy.open().unwrap());
    assert_eq!(intact(&copy).sealed_by.unwrap().key, key(40));
}

#[test]
fn a_kept_checkpoint_must_have_the_line_too() {
    let place = sealed("kept", &Fake::holding(40));
    let log = place.open().unwrap();
    let mut kept = Note::parse(log.latest_checkpoint().unwrap().note.as_bytes()).unwrap();
    drop(log);
    let outcome = |kept: &Note| {
        let kept = std::slice::from_ref(kept);
        let expect = Expect { kept, ..Expect::default() };
        verify(&place.dir(), &Crates, expect, &mut |_| ControlFlow::Continue(())).unwrap().outcome
    };
    assert_eq!(outcome(&kept), Outcome::Intact);
    kept.signatures.truncate(1);
    assert_eq!(outcome(&kept), Outcome::Unsealed);
}

/// The sealing record of a place, to be written again elsewhere.
fn sealing_record(place: &Place, number: usize) -> Vec<u8> {
    let is_sealing = |it: &&Vec<u8>| matches!(Record::decode(it).unwrap().body, Body::Sealing(_));
    place.records().iter().filter(is_sealing).nth(number).unwrap().clone()
}

#[test]
fn a_signature_that_ended_the_sealing_once_does_not_end_it_again() {
    let device = Fake::holding(40);
    let mut place = sealed("replayed", &device);
    drop(place.open().unwrap());
    place.config.attested = false;
    drop(place.open().unwrap());
    let ended = sealing_record(&place, 1);
    place.config.attested = true;
    let log = place.open().unwrap();
    // Whoever has the audit keys, and not the device.
    log.append(Record::decode(&ended).unwrap().body).unwrap();
    drop(log);
    let report = place.verify();
    assert_eq!(report.outcome, Outcome::BadAuditKey);
    let why = "the change of the device was signed for another place in the log";
    assert_eq!(report.first_bad.unwrap().why, why);
}

/// Appends records to a log that nobody has open, as whoever can write to the directory could: with right hashes.
fn append_by_hand(place: &Place, bodies: &[Body<'_>]) {
    use crate::layout::{
        FrameKind, PAGE, frame_len, head, parse_head, put_frame_body, segment_name,
    };
    use crate::merkle::leaf_hash;
    let file = place.dir().join(segment_name(0));
    let mut bytes = std::fs::read(&file).unwrap();
    let mut at = PAGE;
    while let Some((_, len)) = parse_head(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()))
    {
        at += frame_len(len);
    }
    let seq = place.records().len() as u64;
    for (seq, body) in (seq..).zip(bodies) {
        let (mut payload, mut frame) = (Vec::new(), Vec::new());
        let record = Record { seq, utc_ms: 0, mono_ms: 0, body: body.clone() };
        record.encode(&mut payload).unwrap();
        frame.extend(head(FrameKind::Record, payload.len()).to_le_bytes());
        put_frame_body(&mut frame, &payload, &leaf_hash(&payload));
        bytes[at..at + frame.len()].copy_from_slice(&frame);
        at += frame_len(payload.len());
    }
    std::fs::write(&file, bytes).unwrap();
}

/// Appends a record that ends the sealing here, with signatures by keys of these names and seeds.
fn end_by_hand(place: &Place, decided: bool, by: &[(&str, u8)]) {
    let mut reader = crate::checkpoint_reader::CheckpointReader::open(&place.dir()).unwrap();
    let mut last = reader.next().unwrap().unwrap();
    while let Some(next) = reader.next().unwrap() {
        last = next;
    }
    let Checkpoint { size: after_size, root: after_root, .. } = last.checkpoint;
    let (origin, device, signatures) = (ORIGIN, None, Vec::new());
    let mut record = Sealing { origin, device, after_size, after_root, signatures };
    let statement = record.statement().unwrap();
    let sign = |(name, seed): &(&str, u8)| Ed25519::new(name, *seed).sign(&statement).unwrap();
    let signatures: Vec<_> = by.iter().map(sign).collect();
    record.signatures = signatures.iter().map(Vec::as_slice).collect();
    let decision = Body::Override(crate::record::Override {
        actor: "a",
        refused: "b",
        anchor_size: 0,
        anchor_root: [0; 32],
    });
    let bodies = [decision, Body::Sealing(record)];
    append_by_hand(place, &bodies[usize::from(!decided)..]);
}

#[test]
fn a_change_that_no_checkpoint_covers_counts_only_by_its_signatures() {
    let place = sealed("forged", &Fake::holding(40));
    let log = place.open().unwrap();
    log.append(operation("a")).unwrap();
    drop(log);
    let device = device_name(ORIGIN);
    let (audit, device) = ((ORIGIN, 1), (&*device, 40));
    let ended = |decided: bool, by: &[(&str, u8)]| {
        let mut copy = place.snapshot("forged-copy");
        (copy.config.attested, copy.parts.device) = (false, None);
        end_by_hand(&copy, decided, by);
        (copy.open().map(|log| log.device().is_some()), copy)
    };
    let refused: [(bool, &[(&str, u8)]); 6] = [
        (false, &[(ORIGIN, 2)]),
        (true, &[(ORIGIN, 2)]),
        (true, &[device]),
        (false, &[audit]),
        (false, &[audit, (device.0, 41)]),
        (false, &[audit, device, device]),
    ];
    for (decided, by) in refused {
        let (opened, copy) = ended(decided, by);
        assert!(matches!(opened, Err(AuditError::Sealing(_))), "{decided} {by:?}");
        // Who verifies finds the same, but for what an operator may have decided.
        if !matches!(by, [it] if *it == audit) {
            assert_eq!(copy.verify().outcome, Outcome::BadAuditKey);
        }
    }
    // As a process that ended before the checkpoint leaves it.
    for (decided, by) in [(false, &[audit, device][..]), (true, &[audit])] {
        let (opened, copy) = ended(decided, by);
        assert!(!opened.unwrap());
        assert_eq!(intact(&copy).sealed_by, None);
    }
    // One that was signed for an earlier place.
    let mut copy = ended(false, &[audit, device]).1;
    let replayed = sealing_record(&copy, 1);
    (copy.config.attested, copy.parts.device) = (true, place.parts.device.clone());
    drop(copy.open().unwrap());
    append_by_hand(&copy, &[Record::decode(&replayed).unwrap().body]);
    copy.config.attested = false;
    assert!(matches!(copy.open(), Err(AuditError::Sealing(_))));
}

#[test]
fn audit_keys_change_under_a_device_and_a_pruned_log_is_still_sealed() {
    let device = Fake::holding(40);
    let mut place = sealed("pruned", &device);
    let log = place.open().unwrap();
    let new: Vec<Arc<dyn NoteSigner>> = vec![Arc::new(Ed25519::new(ORIGIN, 2))];
    log.rotate_audit_keys(new.clone()).unwrap();
    place.parts.signers = new;
    let long = "x".repeat(200);
    for _ in 0..4000 {
        log.submit(operation(&long)).unwrap();
    }
    log.checkpoint_now().unwrap();
    assert!(log.prune(u64::MAX, None).unwrap() > 0);
    drop(log);
    let report = intact(&place);
    let by = report.sealed_by.unwrap();
    assert_eq!((by.key, by.since), (key(40), None));
    let pin = [Ed25519::new(ORIGIN, 2).key().clone(), key(40)];
    assert_eq!(verify_pinned(&place, &pin).outcome, Outcome::Intact);
    let copy = place.snapshot("pruned-stripped");
    rewrite(&copy, |_, note| note.signatures.retain(|line| line.name == ORIGIN));
    assert_eq!(copy.verify().outcome, Outcome::Unsealed);
    // Only the file of keys knows the device now, and the checkpoint.
    std::fs::write(place.dir().join("keys"), format!("{}\n", pin[0])).unwrap();
    assert!(matches!(place.open(), Err(AuditError::Damaged(_))));
}

#[test]
fn a_device_that_signs_wrongly_leaves_no_change_on_record() {
    let changes = |place: &Place| {
        let kinds = place.records();
        let is_sealing =
            |it: &&Vec<u8>| matches!(Record::decode(it).unwrap().body, Body::Sealing(_));
        kinds.iter().filter(is_sealing).count()
    };
    // One that takes over, and one that is to say that it ends.
    for attested in [true, false] {
        let device = Fake::holding(40);
        let mut place = sealed("wrong-signature", &device);
        place.config.attested = !attested;
        drop(place.open().unwrap());
        place.config.attested = attested;
        let before = changes(&place);
        for failing in [&device.lies, &device.fails] {
            failing.store(true, Ordering::Relaxed);
            assert!(matches!(place.open(), Err(AuditError::Other(_))));
            failing.store(false, Ordering::Relaxed);
            assert_eq!(changes(&place), before);
            assert_eq!(place.verify().outcome, Outcome::Intact);
        }
        drop(place.open().unwrap());
        assert_eq!(changes(&place), before + 1);
        assert_eq!(intact(&place).sealed_by.is_some(), attested);
    }
}

#[test]
fn of_several_pinned_devices_each_may_have_sealed_what_is_pruned() {
    let mut place = sealed("pruned-pins", &Fake::holding(40));
    drop(place.open().unwrap());
    place.parts.device = Some(Fake::holding(41));
    let log = place.open_with(Some(&DECIDED)).unwrap();
    let long = "x".repeat(200);
    for _ in 0..2000 {
        log.submit(operation(&long)).unwrap();
    }
    log.checkpoint_now().unwrap();
    assert!(log.prune(u64::MAX, None).unwrap() > 0);
    drop(log);
    assert_eq!(intact(&place).sealed_by.unwrap().key, key(41));
    for pinned in [&[40, 41][..], &[41, 40], &[41], &[42, 41]] {
        let pinned: Vec<_> = pinned.iter().map(|seed| key(*seed)).collect();
        let report = verify_pinned(&place, &pinned);
        assert_eq!((report.outcome, report.sealed_by.unwrap().key), (Outcome::Intact, key(41)));
    }
    assert_eq!(verify_pinned(&place, &[key(40)]).outcome, Outcome::Unsealed);
    assert_eq!(verify_pinned(&place, &[key(42)]).outcome, Outcome::Unsealed);
    let copy = place.snapshot("pruned-pins-stripped");
    rewrite(&copy, |at, note| note.signatures.truncate(if at < 2 { 2 } else { 1 }));
    assert_eq!(verify_pinned(&copy, &[key(40), key(41)]).outcome, Outcome::Unsealed);
}

#[test]
fn a_crash_at_any_step_of_a_change_of_the_device_leaves_a_log_that_opens() {
    // What is on disk after the record, after the file of keys, and after the checkpoint.
    let device = Fake::holding(40);
    let mut place = sealed("steps", &device);
    place.config.attested = false;
    drop(place.open().unwrap());
    for attested in [true, false] {
        let before = place.snapshot("steps-before");
        place.config.attested = attested;
        drop(place.open().unwrap());
        let file = |place: &Place, name: &str| place.dir().join(name);
        for older in [&["checkpoints"][..], &["keys", "checkpoints"]] {
            let mut copy = place.snapshot("steps-copy");
            for name in older {
                std::fs::copy(file(&before, name), file(&copy, name)).unwrap();
            }
            let state = before.anchor.load().unwrap().unwrap();
            copy.anchor.override_with(Some((state.log_size, state.log_root)), None).unwrap();
            copy.config.attested = attested;
            let log = copy.open().unwrap();
            assert_eq!((log.report().overridden.len(), log.device().is_some()), (0, attested));
            drop(log);
            assert_eq!(intact(&copy).sealed_by.is_some(), attested);
        }
    }
}

#[test]
fn a_start_fails_where_the_device_does_not_sign_and_the_next_goes_on() {
    let device = Fake::holding(40);
    device.fails.store(true, Ordering::Relaxed);
    let place = sealed("no-start", &device);
    assert!(matches!(place.open(), Err(AuditError::Other(_))));
    device.fails.store(false, Ordering::Relaxed);
    drop(place.open().unwrap());
    intact(&place);
    let mut place = Place::new("no-device");
    place.config.attested = true;
    assert!(matches!(place.open(), Err(AuditError::Device(_))));
    assert!(NoteKey::new(&device_name(ORIGIN), ED25519, &[0; 32]).is_ok());
    assert!(crate::checkpoint::Origin::parse(&device_name(ORIGIN)).is_err());
}
