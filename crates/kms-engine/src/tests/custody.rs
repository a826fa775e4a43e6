//! Keys that outlive their engine, in a real directory.

use kms_core::{SecretBytes, Version};
use kms_store::root_key::KeyFile;
use kms_store::{FileStore, Options, Unlocked};
use kms_testkit::temp_dir::TempDir;
use uuid::Uuid;

use super::*;
use crate::{Payload, Request, Response, RotateKey, SignRequest, Target};

const DAY_MS: u64 = 24 * 3_600_000;

/// An engine on the directory; the clock goes on where the last one stood.
fn open(dir: &TempDir, clock: &Arc<ManualClock>) -> Engine {
    open_with(dir, EngineConfig { clock: clock.clone(), ..EngineConfig::default() })
}

fn open_with(dir: &TempDir, config: EngineConfig) -> Engine {
    let clock = config.clock.clone();
    let (entropy, engine) = (config.entropy.clone(), Engine::new(config));
    let root = KeyFile::parse(&SecretBytes::copy_of(&[7; 32])).unwrap();
    let path = dir.path().join("store");
    let unlock = || match path.exists() {
        true => Unlocked::open(&path, &root),
        false => Unlocked::create(&path, &root, &*entropy),
    };
    let mut unlocked = unlock();
    // A child of the tests that fork has the lock's file open too, for some milliseconds.
    for _ in 0..500 {
        match unlocked {
            Err(kms_store::StoreError::Disk(_)) => {
                std::thread::sleep(std::time::Duration::from_millis(10));
                unlocked = unlock();
            }
            _ => break,
        }
    }
    let options = Options { clock, ..Options::default() };
    let visit = &mut |stored| engine.adopt(stored);
    let (store, _) = FileStore::open(unlocked.unwrap(), options, visit).unwrap();
    engine.keep_in(Box::new(store));
    engine
}

fn reopen(engine: Engine, dir: &TempDir, clock: &Arc<ManualClock>) -> Engine {
    engine.close();
    drop(engine);
    open(dir, clock)
}

fn with_op_id(op_id: u128) -> Context {
    Context { op_id: Some(Uuid::from_u128(op_id)), ..Context::library() }
}

#[test]
fn keys_of_every_kind_sign_wrap_and_verify_after_a_restart() {
    let (dir, clock) = (TempDir::new("custody"), Arc::new(ManualClock::default()));
    let engine = open(&dir, &clock);
    let library = Context::library();
    let algs = [
        ("ed25519", "audit"),
        ("ml-dsa", "audit"),
        ("hybrid", "audit"),
        ("x25519", "kem"),
        ("ml-kem-512", "kem"),
        ("hybrid", "kem"),
    ];
    let kids = algs.map(|(alg, purpose)| {
        let wish = CreateKey { alg: alg.into(), purpose: purpose.into(), ..wish("message") };
        let crate::Created { kid, public, .. } = engine.create(&library, &wish).unwrap();
        let kid = kid.to_string();
        let next = engine.rotate(&library, &kid, &RotateKey::default()).unwrap().kid.to_string();
        (kid, next, public.tracks())
    });
    let sealed: Vec<_> = kids[3..]
        .iter()
        .map(|(_, kid, _)| engine.wrap(&library, kid, crate::DataKey::Given(&[1; 32]), None))
        .collect();
    let before: Vec<_> =
        kids.iter().map(|(_, kid, _)| format!("{:?}", engine.describe(&library, kid))).collect();
    let signed = sign(&engine, &kids[0].1, b"m").unwrap();

    let engine = reopen(engine, &dir, &clock);
    for ((first, kid, tracks), before) in kids.iter().zip(before) {
        assert_eq!(format!("{:?}", engine.describe(&library, kid)), before);
        assert_eq!(engine.describe(&library, first).unwrap().public.tracks(), *tracks);
    }
    assert!(verify(&engine, &kids[0].1, b"m", &signed).unwrap());
    for (_, kid, _) in &kids[..3] {
        let wish = SignRequest {
            target: Target::Kid(kid.clone()),
            payload: Payload::Local(b"m"),
            context: vec![],
            produce_hybrid: None,
        };
        let signed = engine.sign(&library, &wish).unwrap();
        let sigs = signed.iter().map(|it| crate::SignatureEntry {
            alg: it.alg,
            signature: it.signature.as_bytes().into(),
            kid: None,
        });
        let check = crate::VerifyRequest {
            kid: Some(kid.into()),
            payload: Payload::Local(b"m"),
            context: vec![],
            sigs: sigs.collect(),
            mode: None,
        };
        assert!(engine.verify(&library, &check).unwrap().ok, "{kid}");
    }
    for sealed in sealed {
        let opened = engine.unwrap(&library, None, &sealed.unwrap().envelope).unwrap();
        assert_eq!(opened.data_key.expose(), [1; 32]);
    }
}

#[test]
fn states_and_their_times_outlive_the_process() {
    let (dir, clock) = (TempDir::new("custody"), Arc::new(ManualClock::default()));
    let engine = open(&dir, &clock);
    let library = Context::library();
    let kid = create(&engine, "message").to_string();
    let other = create(&engine, "message").key.to_string();
    let waits = RotateKey { activate_after_ms: 1_000, ..RotateKey::default() };
    let pending = engine.rotate(&library, &kid, &waits).unwrap().kid.to_string();
    engine.schedule_destroy(&library, &other, Some(2 * DAY_MS)).unwrap();

    let engine = reopen(engine, &dir, &clock);
    assert_eq!(engine.describe(&library, &kid).unwrap().head, Version::MIN);
    assert_eq!(refusal(sign(&engine, &pending, b"m")).0, "Conflict");
    clock.advance_ms(1_000);
    assert_eq!(engine.describe(&library, &kid).unwrap().head.get(), 2);
    let engine = reopen(engine, &dir, &clock);
    assert!(sign(&engine, &pending, b"m").is_ok());
    assert_eq!(engine.describe(&library, &other).unwrap().state.name(), "destroy_scheduled");

    clock.advance_ms(2 * DAY_MS);
    engine.sweep();
    let engine = reopen(engine, &dir, &clock);
    let other = engine.describe(&library, &other).unwrap();
    assert_eq!(other.state.name(), "destroyed");
    assert_eq!(refusal(sign(&engine, &other.kid.to_string(), b"m")).0, "Conflict");
}

#[test]
fn a_pending_version_that_was_called_off_stays_so() {
    let (dir, clock) = (TempDir::new("custody"), Arc::new(ManualClock::default()));
    let engine = open(&dir, &clock);
    let library = Context::library();
    let kid = create(&engine, "message").to_string();
    let waits = RotateKey { activate_after_ms: 1_000, ..RotateKey::default() };
    let pending = engine.rotate(&library, &kid, &waits).unwrap().kid.to_string();
    engine.disable(&library, &pending).unwrap();
    engine.enable(&library, &pending).unwrap();
    let engine = reopen(engine, &dir, &clock);
    clock.advance_ms(10_000);
    assert_eq!(engine.describe(&library, &kid).unwrap().head, Version::MIN);
    let next = engine.rotate(&library, &kid, &RotateKey::default()).unwrap().kid;
    assert_eq!(next.version.get(), 3);
    let engine = reopen(engine, &dir, &clock);
    assert_eq!(engine.describe(&library, &kid).unwrap().head.get(), 3);
}

#[test]
fn an_op_id_is_answered_again_after_a_restart() {
    let (dir, clock) = (TempDir::new("custody"), Arc::new(ManualClock::default()));
    let engine = open(&dir, &clock);
    let create = Request::Create(wish("message"));
    let Response::Created(crate::Created { kid, .. }) =
        engine.dispatch(&with_op_id(1), &create).unwrap()
    else {
        panic!("created")
    };
    let kid = kid.to_string();
    let sign = Request::Sign(SignRequest {
        target: Target::Kid(kid.clone()),
        payload: Payload::Message(b"m".to_vec().into()),
        context: vec![],
        produce_hybrid: None,
    });
    let requests = [
        (1, create),
        (2, sign),
        (3, Request::Rotate(kid.clone(), RotateKey::default())),
        (4, Request::Destroy(kid.clone(), None)),
    ];
    let mut engine = engine;
    for (op_id, request) in &requests {
        let answer = format!("{:?}", engine.dispatch(&with_op_id(*op_id), request).unwrap());
        engine = reopen(engine, &dir, &clock);
        let again = format!("{:?}", engine.dispatch(&with_op_id(*op_id), request).unwrap());
        assert_eq!(again, answer);
    }
    let other = Request::Create(wish("digest"));
    assert_eq!(refusal(engine.dispatch(&with_op_id(1), &other)).0, "Conflict");
    // What was signed under a key that is out of use since is not handed out again.
    assert_eq!(refusal(engine.dispatch(&with_op_id(2), &requests[1].1)).0, "Conflict");
    clock.advance_ms(DAY_MS);
    let again = engine.dispatch(&with_op_id(1), &requests[0].1).unwrap();
    assert!(!format!("{again:?}").contains(&kid), "a day later it is another key");
}

#[test]
fn a_derived_key_is_the_same_after_a_restart() {
    let (dir, clock) = (TempDir::new("custody"), Arc::new(ManualClock::default()));
    let engine = open(&dir, &clock);
    let parent = create(&engine, "message").to_string();
    let crate::Created { kid, public, .. } =
        engine.derive(&Context::library(), &parent, "orders").unwrap();
    let engine = reopen(engine, &dir, &clock);
    let crate::Created { kid: again, public: same, .. } =
        engine.derive(&Context::library(), &parent, "orders").unwrap();
    assert_eq!((again.to_string(), same.tracks()), (kid.to_string(), public.tracks()));
    assert!(sign(&engine, &kid.to_string(), b"m").is_ok());
}

/// An engine that keeps two unsealed keys, with so many keys and what each signs.
fn bounded(dir: &TempDir, keys: usize) -> (Engine, Vec<(String, [u8; 64])>) {
    let engine = open_with(dir, EngineConfig { max_unsealed: 2, ..EngineConfig::default() });
    let kids = (0..keys).map(|_| create(&engine, "message").to_string());
    let signed = kids.map(|kid| (kid.clone(), sign(&engine, &kid, b"m").unwrap())).collect();
    (engine, signed)
}

#[test]
fn beyond_the_bound_the_key_that_was_not_used_for_longest_goes_and_comes_back_when_it_is_used() {
    let dir = TempDir::new("custody");
    let (engine, signed) = bounded(&dir, 9);
    assert_eq!(engine.arena.held(), 2);
    for (kid, signature) in signed.iter().chain(signed.iter().rev()) {
        assert_eq!(sign(&engine, kid, b"m").unwrap(), *signature);
        assert_eq!(engine.arena.held(), 2);
    }
    let newest = signed[0].0.split('#').next().unwrap();
    for _ in 0..5 {
        engine.rotate(&Context::library(), newest, &RotateKey::default()).unwrap();
        assert!(sign(&engine, &signed[1].0, b"m").is_ok());
        assert_eq!(engine.arena.held(), 2);
    }
    let public = engine.describe(&Context::library(), newest).unwrap().public.tracks();
    let engine = reopen(engine, &dir, &Arc::new(ManualClock::default()));
    assert_eq!(engine.arena.held(), 0);
    assert_eq!(engine.describe(&Context::library(), newest).unwrap().public.tracks(), public);
}

#[test]
fn a_key_in_use_outlives_its_place() {
    let dir = TempDir::new("custody");
    let (engine, signed) = bounded(&dir, 6);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (engine, signed) = (&engine, &signed);
            scope.spawn(move || {
                for i in 0..150 {
                    let (kid, signature) = &signed[(i * (thread + 1) + thread) % signed.len()];
                    assert_eq!(sign(engine, kid, b"m").unwrap(), *signature);
                }
            });
        }
    });
    // Each of those that were unsealing when the last one went may have put its key back.
    assert!(engine.arena.held() <= 2 + 4);
}

#[test]
fn a_destroyed_key_does_not_come_back() {
    let (dir, clock) = (TempDir::new("custody"), Arc::new(ManualClock::default()));
    let config = EngineConfig { max_unsealed: 1, clock: clock.clone(), ..EngineConfig::default() };
    let engine = open_with(&dir, config);
    let kids = [0; 3].map(|_| create(&engine, "message").to_string());
    let gone = &kids[0];
    engine.schedule_destroy(&Context::library(), gone, Some(2 * DAY_MS)).unwrap();
    clock.advance_ms(2 * DAY_MS);
    engine.sweep();
    assert_eq!(refusal(sign(&engine, gone, b"m")).0, "Conflict");
    assert!(sign(&engine, &kids[1], b"m").is_ok());
    assert!(sign(&engine, &kids[2], b"m").is_ok());
    assert_eq!(engine.arena.held(), 1);
}

#[test]
fn without_a_store_every_key_stays() {
    let engine = Engine::new(EngineConfig { max_unsealed: 1, ..EngineConfig::default() });
    let kids = [0; 4].map(|_| create(&engine, "message").to_string());
    assert_eq!(engine.arena.held(), 4);
    for kid in &kids {
        assert!(sign(&engine, kid, b"m").is_ok());
    }
}
