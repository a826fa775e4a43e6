//! Disable, enable, destroy: what each state allows, one call at a time.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use kms_core::{Clock, KeyState};

use super::*;
use crate::{BatchItem, DataKey, RotateKey, SignItem, StateChanged};

const DAY_MS: u64 = 24 * 3_600_000;

fn library() -> Context {
    Context::library()
}

fn key_of(kid: &str) -> &str {
    kid.split('#').next().unwrap_or(kid)
}

fn conflict() -> (&'static str, Option<String>) {
    ("Conflict", Some("kid".to_owned()))
}

fn state(changed: kms_core::Result<StateChanged>) -> &'static str {
    changed.unwrap().state.name()
}

fn destroy(engine: &Engine, kid: &str) -> kms_core::Result<StateChanged> {
    engine.schedule_destroy(&library(), kid, None)
}

fn rotate(engine: &Engine, kid: &str, activate_after_ms: u64) -> kms_core::Result<crate::Rotated> {
    engine.rotate(&library(), kid, &RotateKey { alg: None, activate_after_ms })
}

fn wrapping_key(engine: &Engine) -> String {
    let wish = CreateKey { alg: "hybrid".into(), purpose: "kem".into(), ..wish("message") };
    engine.create(&library(), &wish).unwrap().kid.to_string()
}

/// The own state of a key, and the effective ones of its versions.
fn states(engine: &Engine, kid: &str) -> (&'static str, Vec<&'static str>) {
    let shown = engine.describe(&library(), key_of(kid)).unwrap();
    (shown.state.name(), shown.version_states.into_iter().map(KeyState::name).collect())
}

/// Every use of a signing version, each refused with `Conflict`, field `kid`.
fn assert_unused(engine: &Engine, kid: &str, signature: &[u8; 64]) {
    let known = engine.know(&library(), kid).unwrap();
    let kid = ItemKid::Known(&known);
    let sign = engine.sign_one(&library(), kid, b"m", false);
    assert_eq!(refusal(sign), conflict());
    let verify = engine.verify_one(&library(), kid, b"m", signature);
    assert_eq!(refusal(verify), conflict());
    for parallel in [false, true] {
        let item = SignItem { kid, message: b"m" };
        let signed = engine.sign_items(&library(), &[item; 20], parallel).unwrap();
        for signed in signed {
            assert_eq!(refusal(signed), conflict());
        }
        let item = BatchItem { kid, message: b"m", signature };
        let mut out = [7; 20];
        let errors = engine.verify_items(&library(), &[item; 20], parallel, &mut out).unwrap();
        assert_eq!(out, [2; 20]);
        assert!(errors.into_iter().all(|(_, error)| refusal::<()>(Err(error)) == conflict()));
    }
}

#[test]
fn a_disabled_key_does_nothing_until_it_is_enabled() {
    let (engine, _) = engine();
    let v1 = create(&engine, "message").to_string();
    let signature = sign(&engine, &v1, b"m").unwrap();
    let changed = engine.disable(&library(), key_of(&v1)).unwrap();
    assert_eq!((changed.kid().as_str(), changed.state), (key_of(&v1), KeyState::Disabled));
    assert_unused(&engine, &v1, &signature);
    assert_eq!(refusal(rotate(&engine, key_of(&v1), 0)), conflict());
    assert_eq!(refusal(engine.derive(&library(), key_of(&v1), "c")), conflict());
    assert_eq!(refusal(engine.disable(&library(), key_of(&v1))), conflict(), "twice");
    assert_eq!(refusal(engine.cancel_destroy(&library(), key_of(&v1))), conflict());
    assert_eq!(states(&engine, &v1), ("disabled", vec!["disabled"]));
    assert!(engine.describe(&library(), &v1).is_ok(), "it is shown");
    assert!(engine.attest(&library(), &v1).is_ok());

    assert_eq!(state(engine.enable(&library(), key_of(&v1))), "enabled");
    assert_eq!(refusal(engine.enable(&library(), key_of(&v1))), conflict(), "twice");
    assert!(verify(&engine, &v1, b"m", &signature).unwrap());
    assert_eq!(sign(&engine, &v1, b"m").unwrap(), signature);
}

#[test]
fn a_version_has_a_state_of_its_own() {
    let (engine, _) = engine();
    let v1 = create(&engine, "message").to_string();
    let old = sign(&engine, &v1, b"m").unwrap();
    let v2 = rotate(&engine, &v1, 0).unwrap().kid.to_string();
    let new = sign(&engine, &v2, b"m").unwrap();

    assert_eq!(engine.disable(&library(), &v1).unwrap().kid(), v1);
    assert_eq!(refusal(verify(&engine, &v1, b"m", &old)), conflict());
    assert!(verify(&engine, &v2, b"m", &new).unwrap());
    assert_eq!(sign(&engine, key_of(&v1), b"m").unwrap(), new);
    assert_eq!(states(&engine, &v1), ("enabled", vec!["disabled", "enabled"]));

    engine.disable(&library(), key_of(&v1)).unwrap();
    engine.enable(&library(), &v1).unwrap();
    assert_eq!(refusal(verify(&engine, &v1, b"m", &old)), conflict(), "the stricter of both");
    assert_eq!(states(&engine, &v1), ("disabled", vec!["disabled"; 2]));
    engine.enable(&library(), key_of(&v1)).unwrap();
    assert!(verify(&engine, &v1, b"m", &old).unwrap());
    let unknown = v1.replace("#v1", "#v3");
    assert_eq!(refusal(engine.disable(&library(), &unknown)).0, "NotFound");
}

#[test]
fn a_disabled_head_signs_nothing_and_no_older_version_stands_in() {
    let (engine, _) = engine();
    let v1 = create(&engine, "message").to_string();
    let old = sign(&engine, &v1, b"m").unwrap();
    let v2 = rotate(&engine, &v1, 0).unwrap().kid.to_string();
    engine.disable(&library(), &v2).unwrap();
    for kid in [key_of(&v1), &v1, &v2] {
        assert_eq!(refusal(sign(&engine, kid, b"m")), conflict(), "{kid}");
    }
    assert!(verify(&engine, &v1, b"m", &old).unwrap());
    // A leaked head is given up, and the key goes on with the next.
    let v3 = rotate(&engine, &v2, 0).unwrap().kid.to_string();
    assert!(sign(&engine, &v3, b"m").is_ok());
    assert_eq!(states(&engine, &v1), ("enabled", vec!["enabled", "disabled", "enabled"]));
}

#[test]
fn what_wraps_obeys_too() {
    let (engine, _) = engine();
    let v1 = wrapping_key(&engine);
    let wrap = |kid: &str| engine.wrap(&library(), kid, DataKey::Given(&[7; 32]), None);
    let envelope = wrap(&v1).unwrap().envelope;
    rotate(&engine, &v1, 0).unwrap();
    let unwrap = |kid| engine.unwrap(&library(), kid, &envelope);

    engine.disable(&library(), &v1).unwrap();
    for kid in [None, Some(key_of(&v1)), Some(v1.as_str())] {
        assert_eq!(refusal(unwrap(kid)), conflict());
        assert_eq!(refusal(engine.rewrap(&library(), kid, &envelope)), conflict());
    }
    assert!(wrap(key_of(&v1)).is_ok(), "under the head");
    assert_eq!(refusal(engine.derive(&library(), &v1, "c")), conflict());
    let stranger = Context { tenant: Some("other".into()), ..library() };
    let unknown = ("BadRequest", Some("wrapped_b64".to_owned()));
    assert_eq!(refusal(engine.unwrap(&stranger, None, &envelope)), unknown, "nothing is told");

    engine.enable(&library(), &v1).unwrap();
    assert_eq!(unwrap(None).unwrap().data_key.expose(), [7; 32]);
    engine.disable(&library(), &v1.replace("#v1", "#v2")).unwrap();
    assert_eq!(refusal(wrap(key_of(&v1))), conflict(), "the head is out of use");
    assert_eq!(refusal(engine.rewrap(&library(), None, &envelope)), conflict());
    assert!(unwrap(None).is_ok());
}

#[test]
fn a_key_is_destroyed_in_two_steps() {
    let (engine, clock) = engine();
    let v1 = create(&engine, "message").to_string();
    let signature = sign(&engine, &v1, b"m").unwrap();
    let v2 = rotate(&engine, &v1, 0).unwrap().kid.to_string();
    let scheduled = destroy(&engine, key_of(&v1)).unwrap();
    assert_eq!(scheduled.state.destroy_at().unwrap().unix_ms, DAY_MS, "a day by default");
    assert_unused(&engine, &v1, &signature);
    for refused in [
        destroy(&engine, key_of(&v1)),
        engine.disable(&library(), key_of(&v1)),
        engine.enable(&library(), key_of(&v1)),
    ] {
        assert_eq!(refusal(refused), conflict());
    }
    assert_eq!(refusal(rotate(&engine, key_of(&v1), 0)), conflict());

    clock.advance_ms(DAY_MS - 1);
    assert_eq!(state(engine.cancel_destroy(&library(), key_of(&v1))), "disabled");
    assert_eq!(refusal(engine.cancel_destroy(&library(), key_of(&v1))), conflict(), "twice");
    engine.enable(&library(), key_of(&v1)).unwrap();
    assert!(verify(&engine, &v1, b"m", &signature).unwrap(), "nothing was lost");
    assert!(sign(&engine, &v2, b"m").is_ok());

    destroy(&engine, key_of(&v1)).unwrap();
    clock.advance_ms(DAY_MS);
    assert_eq!(refusal(engine.cancel_destroy(&library(), key_of(&v1))), conflict(), "too late");
    assert_eq!(states(&engine, &v1), ("destroyed", vec!["destroyed"; 2]));
    assert_unused(&engine, &v1, &signature);
    for kid in [key_of(&v1), &v1, &v2] {
        for refused in [
            destroy(&engine, kid),
            engine.disable(&library(), kid),
            engine.enable(&library(), kid),
            engine.cancel_destroy(&library(), kid),
        ] {
            assert_eq!(refusal(refused), conflict());
        }
    }
    let shown = engine.describe(&library(), &v1).unwrap();
    assert_eq!(shown.public.tracks()[0].1.len(), 32, "the public half is history");
}

#[test]
fn the_private_half_is_gone_when_it_is_due_whoever_notices() {
    type Notice = fn(&Engine, &str);
    let notices: [(&str, Notice); 6] = [
        ("sweep", |engine, _| assert_eq!(engine.sweep(), None)),
        ("sign", |engine, kid| assert_eq!(refusal(sign(engine, kid, b"m")), conflict())),
        ("verify", |engine, kid| {
            assert_eq!(refusal(verify(engine, kid, b"m", &[0; 64])), conflict());
        }),
        ("describe", |engine, kid| assert!(engine.describe(&library(), kid).is_ok())),
        ("enable", |engine, kid| assert_eq!(refusal(engine.enable(&library(), kid)), conflict())),
        ("rotate", |engine, kid| drop(rotate(engine, kid, 0))),
    ];
    for (name, notice) in notices {
        for whole in [true, false] {
            let (engine, clock) = engine();
            let v1 = create(&engine, "message").to_string();
            let key = engine.know(&library(), &v1).unwrap().key;
            let secret = key.published(kms_core::Version::MIN).unwrap().secret;
            destroy(&engine, if whole { key_of(&v1) } else { &v1 }).unwrap();
            clock.advance_ms(DAY_MS - 1);
            notice_nothing(&engine);
            assert!(engine.arena.with(secret, |_| ()).is_ok(), "{name}: a moment too early");
            clock.advance_ms(1);
            notice(&engine, &v1);
            assert!(engine.arena.with(secret, |_| ()).is_err(), "{name}: the key is still there");
            let own = states(&engine, &v1);
            assert_eq!(own.1[0], "destroyed", "{name}");
        }
    }
}

fn notice_nothing(engine: &Engine) {
    assert_eq!(engine.sweep(), Some(1));
}

#[test]
fn a_sweep_says_when_the_next_is_due() {
    let (engine, clock) = engine();
    let [a, b] = [(); 2].map(|()| create(&engine, "message").to_string());
    assert_eq!(engine.sweep(), None);
    let later = engine.schedule_destroy(&library(), key_of(&a), Some(3 * DAY_MS));
    assert_eq!(later.unwrap().state.destroy_at().unwrap().due_ms, 3 * DAY_MS);
    destroy(&engine, &a).unwrap();
    destroy(&engine, &b).unwrap();
    assert_eq!(engine.sweep(), Some(DAY_MS));
    engine.cancel_destroy(&library(), &b).unwrap();
    clock.advance_ms(DAY_MS);
    assert_eq!(engine.sweep(), Some(2 * DAY_MS));
    assert_eq!(states(&engine, &a), ("destroy_scheduled", vec!["destroyed"]));
    assert_eq!(states(&engine, &b), ("enabled", vec!["disabled"]));
    clock.advance_ms(2 * DAY_MS);
    assert_eq!(engine.sweep(), None);
    assert_eq!(states(&engine, &a).0, "destroyed");
}

#[test]
fn a_version_that_was_scheduled_with_its_key_leaves_no_deadline_behind() {
    let (engine, clock) = engine();
    let v1 = create(&engine, "message").to_string();
    engine.schedule_destroy(&library(), &v1, Some(2 * DAY_MS)).unwrap();
    destroy(&engine, key_of(&v1)).unwrap();
    clock.advance_ms(DAY_MS);
    assert_eq!(engine.sweep(), Some(DAY_MS));
    clock.advance_ms(DAY_MS);
    assert_eq!(engine.sweep(), None);
}

#[test]
fn a_delay_may_be_longer_and_never_shorter() {
    let (engine, _) = engine();
    let v1 = create(&engine, "message").to_string();
    let fault = ("BadRequest", Some("delay_ms".to_owned()));
    for delay in [0, 1, DAY_MS - 1, crate::MAX_DESTROY_DELAY_MS + 1, u64::MAX] {
        let refused = engine.schedule_destroy(&library(), &v1, Some(delay));
        assert_eq!(refusal(refused), fault, "{delay}");
    }
    assert!(sign(&engine, &v1, b"m").is_ok(), "nothing happened");
    for delay in [DAY_MS, crate::MAX_DESTROY_DELAY_MS] {
        engine.schedule_destroy(&library(), &v1, Some(delay)).unwrap();
        engine.cancel_destroy(&library(), &v1).unwrap();
    }
}

#[test]
fn a_pending_version_that_is_taken_out_of_use_never_becomes_the_head() {
    for whole in [0, 1] {
        let (engine, clock) = engine();
        let v1 = create(&engine, "message").to_string();
        let v2 = rotate(&engine, &v1, 500).unwrap().kid.to_string();
        let changed = match whole {
            0 => engine.disable(&library(), &v2),
            _ => destroy(&engine, &v2),
        };
        assert!(changed.is_ok());
        assert!(engine.describe(&library(), &v1).unwrap().pending.is_none());
        clock.advance_ms(500);
        assert!(sign(&engine, &v1, b"m").is_ok(), "the head stays");
        assert_eq!(refusal(sign(&engine, &v2, b"m")), conflict());
        assert_eq!(refusal(verify(&engine, &v2, b"m", &[0; 64])), conflict());
        let v3 = rotate(&engine, &v1, 0).unwrap();
        assert_eq!((v3.kid.version.get(), v3.previous.version.get()), (3, 1));
        clock.advance_ms(DAY_MS);
        assert_eq!(states(&engine, &v1).1[1], ["disabled", "destroyed"][whole]);
        assert!(sign(&engine, &v3.kid.to_string(), b"m").is_ok());
    }
}

#[test]
fn a_pending_version_activates_on_time_whatever_becomes_of_its_key() {
    let (engine, clock) = engine();
    let v1 = create(&engine, "message").to_string();
    let v2 = rotate(&engine, &v1, 500).unwrap().kid.to_string();
    engine.disable(&library(), key_of(&v1)).unwrap();
    clock.advance_ms(500);
    engine.enable(&library(), key_of(&v1)).unwrap();
    assert_eq!(refusal(sign(&engine, &v1, b"m")), conflict());
    assert!(sign(&engine, &v2, b"m").is_ok());
}

/// A monotonic clock and a wall clock, moved apart.
#[derive(Default)]
struct TwoClocks {
    monotonic: AtomicU64,
    wall: AtomicU64,
}

impl Clock for TwoClocks {
    fn unix_ms(&self) -> u64 {
        self.wall.load(SeqCst)
    }

    fn monotonic_ms(&self) -> u64 {
        self.monotonic.load(SeqCst)
    }
}

#[test]
fn the_wall_clock_neither_hastens_nor_undoes_a_destruction() {
    let clock = Arc::new(TwoClocks::default());
    clock.wall.store(1_000_000, SeqCst);
    let config = EngineConfig { clock: clock.clone(), ..EngineConfig::default() };
    let engine = Engine::new(config);
    let v1 = create(&engine, "message").to_string();
    destroy(&engine, &v1).unwrap();
    clock.wall.store(10 * DAY_MS, SeqCst);
    assert_eq!(engine.sweep(), Some(DAY_MS));
    assert_eq!(states(&engine, &v1).1, ["destroy_scheduled"]);
    clock.wall.store(0, SeqCst);
    clock.monotonic.store(DAY_MS, SeqCst);
    engine.sweep();
    assert_eq!(states(&engine, &v1).1, ["destroyed"]);
    clock.monotonic.store(0, SeqCst);
    assert_eq!(states(&engine, &v1).1, ["destroyed"], "for good");
}

#[test]
fn a_derived_key_that_was_destroyed_is_not_derived_again() {
    let config = EngineConfig { min_destroy_delay_ms: 0, ..EngineConfig::default() };
    let engine = Engine::new(config);
    let v1 = create(&engine, "message").to_string();
    let derive = || engine.derive(&library(), &v1, "c");
    let child = derive().unwrap().kid.to_string();
    assert_eq!(derive().unwrap().kid.to_string(), child);
    destroy(&engine, key_of(&child)).unwrap();
    assert_eq!(refusal(derive()), conflict());
    assert_eq!(states(&engine, &child).0, "destroyed");
    assert!(sign(&engine, &v1, b"m").is_ok(), "its parent is another key");
}

#[test]
fn keys_of_others_are_not_there() {
    let (engine, _) = engine();
    let v1 = create(&engine, "message").to_string();
    let stranger = Context { tenant: Some("other".into()), ..library() };
    for kid in [key_of(&v1), &v1] {
        for refused in [
            engine.disable(&stranger, kid),
            engine.enable(&stranger, kid),
            engine.schedule_destroy(&stranger, kid, None),
            engine.cancel_destroy(&stranger, kid),
        ] {
            assert_eq!(refusal(refused), ("NotFound", Some("kid".to_owned())));
        }
    }
    for kid in ["", "x", "core/audit/ed25519", &format!("{v1}x"), &v1.replace("#v1", "#v0")] {
        assert_eq!(refusal(engine.disable(&library(), kid)).0, "BadRequest", "{kid}");
    }
    engine.close();
    assert_eq!(refusal(engine.disable(&library(), &v1)).0, "StoreUnavailable");
}
