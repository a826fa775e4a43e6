//! Signing and verifying while a key rotates without pause: no reader ever sees a mix.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use super::*;
use crate::{Payload, RotateKey, SignRequest, Target};

#[test]
fn a_signature_always_verifies_under_the_version_that_it_names() {
    const ROTATIONS: u32 = 2_000;
    let engine = Engine::new(EngineConfig::default());
    let first = create(&engine, "message");
    let key = first.key.to_string();
    let done = AtomicBool::new(false);

    let signed: usize = thread::scope(|scope| {
        scope.spawn(|| {
            for expected in 2..=ROTATIONS + 1 {
                let rotated = engine
                    .rotate(&Context::library(), &key, &RotateKey::default())
                    .expect("a rotation");
                assert_eq!(rotated.kid.version.get(), expected);
            }
            done.store(true, Relaxed);
        });
        let signers: Vec<_> = (0..3_u8)
            .map(|who| {
                let (engine, key, done) = (&engine, &key, &done);
                scope.spawn(move || {
                    let mut count = 0;
                    let mut last = 0;
                    while !done.load(Relaxed) {
                        let message = [who, (count % 251) as u8];
                        let wish = SignRequest {
                            target: Target::Kid(key.clone()),
                            payload: Payload::Message(message.to_vec().into()),
                            context: vec![],
                            produce_hybrid: None,
                        };
                        let signed = engine.sign(&Context::library(), &wish).expect("a signature");
                        let kid = &signed[0].kid;
                        assert!(kid.version.get() >= last, "the head never goes back");
                        last = kid.version.get();
                        let valid = verify(
                            engine,
                            &kid.to_string(),
                            &message,
                            signed[0].signature.as_bytes(),
                        );
                        assert!(valid.expect("a verdict"));
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        signers.into_iter().map(|signer| signer.join().expect("no torn read")).sum()
    });
    assert!(signed > 0);
}

#[test]
fn of_many_who_rotate_one_head_one_wins() {
    let engine = Engine::new(EngineConfig::default());
    for _ in 0..50 {
        let kid = create(&engine, "message").to_string();
        let won = thread::scope(|scope| {
            let racers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        engine.rotate(&Context::library(), &kid, &RotateKey::default()).is_ok()
                    })
                })
                .collect();
            racers
                .into_iter()
                .map(|racer| racer.join().expect("no panic"))
                .filter(|won| *won)
                .count()
        });
        assert_eq!(won, 1);
    }
}
