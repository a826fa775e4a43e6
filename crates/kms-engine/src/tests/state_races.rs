//! Many who change one key at once: legal sequences only, one winner, and the log is what happened.

use std::sync::{Barrier, Mutex};
use std::thread;

use kms_core::{AuditEvent, AuditSink, DestroyAt, KeyState, Life, Result, Transition, Version};

use super::*;
use crate::RotateKey;

const OPS: [&str; 5] = ["rotate", "disable", "enable", "destroy", "cancel_destroy"];
const DELAY_MS: u64 = 10;

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

fn engine() -> (Engine, Arc<ManualClock>, Arc<Recorder>) {
    let (clock, recorder) = (Arc::new(ManualClock::default()), Arc::new(Recorder::default()));
    let config = EngineConfig {
        clock: clock.clone(),
        audit: Some(recorder.clone()),
        min_destroy_delay_ms: DELAY_MS,
        ..EngineConfig::default()
    };
    (Engine::new(config), clock, recorder)
}

fn act(engine: &Engine, op: &str, kid: &str) -> bool {
    let library = Context::library();
    let done = match op {
        "rotate" => engine.rotate(&library, kid, &RotateKey::default()).map(drop),
        "disable" => engine.disable(&library, kid).map(drop),
        "enable" => engine.enable(&library, kid).map(drop),
        "destroy" => engine.schedule_destroy(&library, kid, None).map(drop),
        _ => engine.cancel_destroy(&library, kid).map(drop),
    };
    done.map_err(|error| assert_eq!(error.code.name(), "Conflict", "{op}: {error}")).is_ok()
}

/// Plays the log of a key against the pure table: it must be legal from the first event to the last.
fn replay(events: &[(&'static str, String)]) -> (Life, u32) {
    let (mut life, mut newest) = (Life::default(), 0);
    let at = DestroyAt { due_ms: 1, unix_ms: 1 };
    for (op, kid) in events {
        let version = kid.split_once("#v").map(|(_, n)| n.parse::<Version>().unwrap());
        let (transition, now_ms) = match *op {
            "create" | "rotate" => {
                newest += 1;
                assert_eq!(version.map(Version::get), Some(newest), "one after the other");
                assert!(life.key().check().is_ok(), "{op} of a key that is out of use");
                continue;
            }
            "disable" => (Transition::Disable, 0),
            "enable" => (Transition::Enable, 0),
            "destroy" => (Transition::ScheduleDestroy(at), 0),
            "cancel_destroy" => (Transition::CancelDestroy, 0),
            "destroyed" => (Transition::Destroy, 1),
            other => panic!("no such event: {other}"),
        };
        let next = life.after(version, transition, now_ms);
        life = next.unwrap_or_else(|error| panic!("{op} {kid}: {error}"));
    }
    (life, newest)
}

/// What the log says is what the engine shows.
fn assert_same(engine: &Engine, kid: &str, events: &[(&'static str, String)]) -> KeyState {
    let (life, newest) = replay(events);
    let shown = engine.describe(&Context::library(), kid).unwrap();
    assert_eq!(shown.newest.get(), newest);
    assert_eq!(shown.state.name(), life.key().name());
    for (version, state) in (1..=newest).zip(shown.version_states) {
        let version = Version::new(version).unwrap();
        assert_eq!(state.name(), life.effective(version).name(), "{version}");
    }
    life.key()
}

#[test]
fn a_thousand_rounds_of_changes_are_legal_and_recorded_in_their_order() {
    let (engine, clock, recorder) = engine();
    let mut kid = create(&engine, "message").key.to_string();
    let (mut from, mut keys, mut random) = (0, 1, 1_u64);
    for _ in 0..1_000 {
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        let racers: Vec<(&str, String)> = (0..4)
            .map(|_| {
                let op = OPS[usize::try_from(draw(5)).unwrap()];
                match draw(3) {
                    0 if op != "rotate" => (op, format!("{kid}#v1")),
                    _ => (op, kid.clone()),
                }
            })
            .collect();
        let (start, recorded) = (Barrier::new(racers.len() + 1), recorder.0.lock().unwrap().len());
        let won = thread::scope(|scope| {
            let race = |(op, kid): &(&str, String)| {
                start.wait();
                act(&engine, op, kid)
            };
            let racers: Vec<_> =
                racers.iter().map(|racer| scope.spawn(move || race(racer))).collect();
            start.wait();
            clock.advance_ms(draw(4));
            racers.into_iter().map(|racer| racer.join().unwrap()).filter(|won| *won).count()
        });
        let events = recorder.0.lock().unwrap().clone();
        let of_racers = events[recorded..].iter().filter(|(op, _)| *op != "destroyed");
        assert_eq!(of_racers.count(), won, "an event for each success, and for nothing else");
        drop(events);
        engine.sweep();
        let events = recorder.0.lock().unwrap().clone();
        if assert_same(&engine, &kid, &events[from..]) == KeyState::Destroyed {
            from = events.len();
            kid = create(&engine, "message").key.to_string();
            keys += 1;
        }
    }
    assert!(keys > 5, "every state was met");
}

#[test]
fn of_many_who_make_one_transition_one_wins() {
    let (engine, clock, recorder) = engine();
    for round in 0..250 {
        let v1 = create(&engine, "message").to_string();
        let kid = if round % 2 == 0 { v1.as_str() } else { v1.trim_end_matches("#v1") };
        for op in ["disable", "enable", "destroy", "cancel_destroy", "enable", "destroy"] {
            let start = Barrier::new(4);
            let won = thread::scope(|scope| {
                let race = || {
                    start.wait();
                    act(&engine, op, kid)
                };
                let racers: Vec<_> = (0..4).map(|_| scope.spawn(race)).collect();
                racers.into_iter().map(|racer| racer.join().unwrap()).filter(|won| *won).count()
            });
            assert_eq!(won, 1, "{op}");
        }
        clock.advance_ms(DELAY_MS);
        thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| engine.sweep())));
        });
        let events = recorder.0.lock().unwrap();
        assert_eq!(events.iter().filter(|(op, _)| *op == "destroyed").count(), round + 1, "once");
    }
}

#[test]
fn a_cancellation_and_the_due_time_exclude_each_other() {
    let (engine, clock, recorder) = engine();
    let (mut cancelled, mut destroyed) = (0, 0);
    for _ in 0..250 {
        let from = recorder.0.lock().unwrap().len();
        let kid = create(&engine, "message").to_string();
        assert!(act(&engine, "destroy", &kid));
        clock.advance_ms(DELAY_MS - 1);
        let start = Barrier::new(3);
        let won = thread::scope(|scope| {
            let cancel = scope.spawn(|| {
                start.wait();
                act(&engine, "cancel_destroy", &kid)
            });
            scope.spawn(|| {
                start.wait();
                engine.sweep()
            });
            start.wait();
            clock.advance_ms(1);
            cancel.join().unwrap()
        });
        engine.sweep();
        let events = recorder.0.lock().unwrap()[from..].to_vec();
        assert_same(&engine, &kid, &events);
        let last = events.last().unwrap().0;
        assert_eq!(last, if won { "cancel_destroy" } else { "destroyed" });
        cancelled += usize::from(won);
        destroyed += usize::from(!won);
    }
    assert_eq!(cancelled + destroyed, 250);
}
