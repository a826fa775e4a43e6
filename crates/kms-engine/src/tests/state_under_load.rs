//! Transitions against uses that are under way: none succeeds after the acknowledgement, and no record of a use
//! follows that of the transition which forbids it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Barrier, Mutex};
use std::thread;

use kms_core::{AuditEvent, AuditSink, Entropy, KmsError, OsEntropy, Result};

use super::*;
use crate::{BatchItem, DataKey, KnownKid, Payload, SignItem, SignRequest, StateChanged, Target};

fn library() -> Context {
    Context::library()
}

fn key_of(kid: &str) -> &str {
    kid.split('#').next().unwrap_or(kid)
}

/// Every event, in order.
#[derive(Default)]
struct Recorder(Mutex<Vec<(&'static str, String)>>);

impl AuditSink for Recorder {
    fn append(&self, event: &AuditEvent<'_>) -> Result<Option<u64>> {
        if event.refusal.is_none() {
            self.0.lock().unwrap().push((event.op, event.kid.unwrap().to_string()));
        }
        Ok(None)
    }
}

/// A use that a test holds up in the middle: it says that it is there, and goes on when it is let.
struct Halt {
    armed: AtomicBool,
    reached: SyncSender<()>,
    go_on: Mutex<Receiver<()>>,
}

impl Halt {
    fn new() -> (Halt, Receiver<()>, SyncSender<()>) {
        let ((reached, there), (let_go, go_on)) = (sync_channel(0), sync_channel(0));
        let armed = AtomicBool::new(false);
        (Halt { armed, reached, go_on: Mutex::new(go_on) }, there, let_go)
    }

    fn pass(&self) {
        if self.armed.swap(false, SeqCst) {
            self.reached.send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
        }
    }
}

/// Signatures of ML-DSA and envelopes draw randomness in the middle of being made.
struct HaltingEntropy(Halt);

impl Entropy for HaltingEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        self.0.pass();
        OsEntropy.fill(out)
    }
}

type Use = fn(&Engine, &KnownKid, &str) -> Result<()>;

const SIGNS: [(&str, Use); 3] = [
    ("sign_one", |engine, kid, _| {
        engine.sign_one(&library(), ItemKid::Known(kid), b"m", true).map(drop)
    }),
    ("sign", |engine, _, kid| {
        let wish = SignRequest {
            target: Target::Kid(kid.to_owned()),
            payload: Payload::Message(b"m".into()),
            context: vec![],
            produce_hybrid: None,
        };
        engine.sign(&library(), &wish).map(drop)
    }),
    ("sign_items", |engine, kid, _| {
        let item = SignItem { kid: ItemKid::Known(kid), message: b"m" };
        engine.sign_items(&library(), &[item], true)?.remove(0).map(drop)
    }),
];
const WRAPS: [(&str, Use); 1] = [("wrap", |engine, _, kid| {
    engine.wrap(&library(), kid, DataKey::Given(&[1; 32]), None).map(drop)
})];

type Act = fn(&Engine, &str) -> Result<StateChanged>;

const ACTS: [(&str, Act); 2] = [
    ("disable", |engine, kid| engine.disable(&library(), kid)),
    ("destroy", |engine, kid| {
        let scheduled = engine.schedule_destroy(&library(), kid, None)?;
        assert_eq!(engine.sweep(), None, "destroyed at once");
        Ok(scheduled)
    }),
];

#[test]
fn what_is_under_way_when_a_transition_is_acknowledged_fails() {
    let of = |alg: &'static str, uses: &[(&'static str, Use)]| {
        uses.iter().map(|(name, one)| (alg, *name, *one)).collect::<Vec<_>>()
    };
    for (alg, name, one) in [of("ml-dsa", &SIGNS), of("ml-kem", &WRAPS)].concat() {
        for (act_name, act) in ACTS {
            for (whole, recorded) in [(true, false), (false, false), (true, true), (false, true)] {
                let (halt, there, let_go) = Halt::new();
                let entropy = Arc::new(HaltingEntropy(halt));
                let recorder = Arc::new(Recorder::default());
                let engine = Engine::new(EngineConfig {
                    entropy: entropy.clone(),
                    min_destroy_delay_ms: 0,
                    audit: recorded.then(|| recorder.clone() as Arc<dyn AuditSink>),
                    ..EngineConfig::default()
                });
                let wish = CreateKey { alg: alg.into(), ..wish("message") };
                let kid = engine.create(&library(), &wish).unwrap().kid.to_string();
                let known = engine.know(&library(), &kid).unwrap();
                let ended = thread::scope(|scope| {
                    entropy.0.armed.store(true, SeqCst);
                    let used = scope.spawn(|| one(&engine, &known, &kid));
                    there.recv().unwrap();
                    act(&engine, if whole { key_of(&kid) } else { &kid }).unwrap();
                    let_go.send(()).unwrap();
                    used.join().unwrap()
                });
                let (code, field) = refusal(ended);
                assert_eq!(code, "Conflict", "{name} under {act_name}");
                assert!(field.unwrap().ends_with("kid"));
                let events = recorder.0.lock().unwrap();
                assert!(events.iter().all(|(op, _)| !matches!(*op, "sign" | "wrap")), "{events:?}");
            }
        }
    }
}

/// Holds the record of a use up.
struct HaltingSink(Halt, Recorder);

impl AuditSink for HaltingSink {
    fn append(&self, event: &AuditEvent<'_>) -> Result<Option<u64>> {
        if matches!(event.op, "sign" | "unwrap" | "rewrap" | "derive") {
            self.0.pass();
        }
        self.1.append(event)
    }
}

#[test]
fn a_transition_waits_for_what_is_being_recorded() {
    let uses: [(&str, &str, Use); 4] = [
        ("ed25519", "sign", SIGNS[0].1),
        ("ed25519", "derive", |engine, _, kid| engine.derive(&library(), kid, "c").map(drop)),
        ("x25519", "unwrap", |engine, _, kid| {
            let envelope = engine.wrap(&library(), kid, DataKey::Given(&[1; 32]), None)?.envelope;
            engine.unwrap(&library(), None, &envelope).map(drop)
        }),
        ("x25519", "rewrap", |engine, _, kid| {
            let envelope = engine.wrap(&library(), kid, DataKey::Given(&[1; 32]), None)?.envelope;
            engine.rewrap(&library(), None, &envelope).map(drop)
        }),
    ];
    for (alg, op, one) in uses {
        let (halt, there, let_go) = Halt::new();
        let sink = Arc::new(HaltingSink(halt, Recorder::default()));
        let engine =
            Engine::new(EngineConfig { audit: Some(sink.clone()), ..EngineConfig::default() });
        let wish = CreateKey { alg: alg.into(), ..wish("message") };
        let kid = engine.create(&library(), &wish).unwrap().kid.to_string();
        let known = engine.know(&library(), &kid).unwrap();
        sink.0.armed.store(true, SeqCst);
        thread::scope(|scope| {
            let used = scope.spawn(|| one(&engine, &known, &kid));
            there.recv().unwrap();
            let disabled = scope.spawn(|| engine.disable(&library(), key_of(&kid)));
            // It may or may not have come to its fence yet: whichever, it has no effect before the use ends.
            assert!(known.key.check_enabled(kms_core::Version::MIN).is_ok());
            let_go.send(()).unwrap();
            assert!(used.join().unwrap().is_ok(), "{op} was recorded");
            disabled.join().unwrap().unwrap();
        });
        let events = sink.1.0.lock().unwrap();
        let ops: Vec<_> = events.iter().map(|(op, _)| *op).filter(|op| *op != "wrap").collect();
        assert_eq!(ops, ["create", op, "disable"]);
    }
}

/// A thousand uses by three threads; the transition comes in the middle of them.
fn race(alg: &str, audit: bool, act: Act, make: impl Fn(&Engine, &str) -> Made, one: UseOfMade) {
    const USES: usize = 1_000;
    let recorder = Arc::new(Recorder::default());
    let engine = Engine::new(EngineConfig {
        min_destroy_delay_ms: 0,
        audit: audit.then(|| recorder.clone() as Arc<dyn AuditSink>),
        ..EngineConfig::default()
    });
    let wish = CreateKey { alg: alg.into(), ..wish("message") };
    let kid = engine.create(&library(), &wish).unwrap().kid.to_string();
    let made = make(&engine, &kid);
    let (done, acknowledged) = (AtomicUsize::new(0), AtomicBool::new(false));
    let start = Barrier::new(4);
    let (before, after) = thread::scope(|scope| {
        let users: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let known = engine.know(&library(), &kid).unwrap();
                    let (mut before, mut after) = (0, 0);
                    start.wait();
                    while done.fetch_add(1, SeqCst) < USES || after == 0 {
                        let late = acknowledged.load(SeqCst);
                        match one(&engine, &known, &made) {
                            Ok(()) => {
                                assert!(!late, "it succeeded after the acknowledgement");
                                before += 1;
                            }
                            Err(error) => {
                                assert_eq!(error.code.name(), "Conflict", "{error}");
                                after += usize::from(late);
                            }
                        }
                    }
                    (before, after)
                })
            })
            .collect();
        start.wait();
        while done.load(SeqCst) < USES / 2 {
            std::hint::spin_loop();
        }
        act(&engine, key_of(&kid)).unwrap();
        acknowledged.store(true, SeqCst);
        let counts = users.into_iter().map(|user| user.join().expect("no late success"));
        counts.fold((0, 0), |sum, one: (usize, usize)| (sum.0 + one.0, sum.1 + one.1))
    });
    assert!(before > 0 && after > 0, "the transition came in the middle");
    let events = recorder.0.lock().unwrap();
    let end = events.iter().position(|(op, _)| matches!(*op, "disable" | "destroy"));
    if let Some(end) = end {
        let rest: Vec<_> = events[end + 1..].iter().map(|(op, _)| *op).collect();
        assert!(rest.is_empty() || rest == ["destroyed"], "{rest:?}");
    }
}

/// What was made before the race: a signature, or an envelope.
type Made = Vec<u8>;
type UseOfMade = fn(&Engine, &KnownKid, &Made) -> Result<()>;

fn signature(engine: &Engine, kid: &str) -> Made {
    sign(engine, kid, b"m").unwrap().to_vec()
}

fn verdict(valid: bool) -> Result<()> {
    if valid { Ok(()) } else { Err(KmsError::internal("a wrong verdict")) }
}

#[test]
fn no_signature_is_made_after_the_acknowledgement() {
    let uses: [UseOfMade; 2] = [
        |engine, kid, _| engine.sign_one(&library(), ItemKid::Known(kid), b"m", false).map(drop),
        |engine, kid, _| {
            let item = SignItem { kid: ItemKid::Known(kid), message: b"m" };
            engine
                .sign_items(&library(), &[item; 3], false)?
                .into_iter()
                .try_for_each(|it| it.map(drop))
        },
    ];
    for (_, act) in ACTS {
        for audit in [false, true] {
            uses.iter().for_each(|one| race("ed25519", audit, act, signature, *one));
        }
    }
}

#[test]
fn nothing_verifies_after_the_acknowledgement() {
    let uses: [UseOfMade; 2] = [
        |engine, kid, made| {
            engine.verify_one(&library(), ItemKid::Known(kid), b"m", made).and_then(verdict)
        },
        |engine, kid, made| {
            let item = BatchItem { kid: ItemKid::Known(kid), message: b"m", signature: made };
            let mut out = [0; 5];
            let mut errors = engine.verify_items(&library(), &[item; 5], false, &mut out)?;
            errors.pop().map_or(verdict(out == [1; 5]), |(_, error)| Err(error))
        },
    ];
    for (_, act) in ACTS {
        uses.iter().for_each(|one| race("ed25519", false, act, signature, *one));
    }
}

#[test]
fn nothing_unwraps_after_the_acknowledgement() {
    let wrap = |engine: &Engine, kid: &str| {
        engine.wrap(&library(), kid, DataKey::Given(&[1; 32]), None).unwrap().envelope
    };
    let unwrap: UseOfMade = |engine, _, made| engine.unwrap(&library(), None, made).map(drop);
    let rewrap: UseOfMade = |engine, _, made| engine.rewrap(&library(), None, made).map(drop);
    for (_, act) in ACTS {
        for audit in [false, true] {
            [unwrap, rewrap].iter().for_each(|one| race("x25519", audit, act, wrap, *one));
        }
    }
}

#[test]
fn sets_of_kids_and_transitions_of_their_keys_never_wait_for_each_other_in_a_circle() {
    const KEYS: usize = 16;
    let recorder = Arc::new(Recorder::default());
    let engine = Engine::new(EngineConfig { audit: Some(recorder), ..EngineConfig::default() });
    let kids: Vec<_> = (0..KEYS)
        .map(|_| engine.know(&library(), &create(&engine, "message").to_string()).unwrap())
        .collect();
    thread::scope(|scope| {
        for turn in 0..4 {
            let (engine, mut set): (_, Vec<&KnownKid>) = (&engine, kids.iter().collect());
            set.rotate_left(turn * KEYS / 4);
            if turn % 2 == 1 {
                set.reverse();
            }
            scope.spawn(move || {
                let uses: Vec<_> = set
                    .iter()
                    .map(|known| crate::life_cycle::Use {
                        key: &known.key,
                        version: kms_core::Version::MIN,
                        opened: None,
                        input: b"m",
                    })
                    .collect();
                for _ in 0..1_000 {
                    if let Err(error) = engine.end_uses(crate::Op::Sign, &library(), &uses) {
                        assert_eq!(error.code.name(), "Conflict");
                    }
                }
            });
        }
        for kid in &kids[..4] {
            let (engine, kid) = (&engine, kid.key.id().to_string());
            scope.spawn(move || {
                for _ in 0..1_000 {
                    engine.disable(&library(), &kid).unwrap();
                    engine.enable(&library(), &kid).unwrap();
                }
            });
        }
    });
}
