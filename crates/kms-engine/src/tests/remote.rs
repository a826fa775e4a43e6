//! Keys in a token that is a map in memory, and fails on demand.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use kms_core::custody::RootKey;
use kms_core::signer::{
    AgreeKeys, AttestKeys, DestroyKeys, FindKeys, GenerateKeys, KeyEvidence, ListKeys, Signer,
};
use kms_core::{Algorithm, ErrorCode, KeyId, KmsError, OsEntropy, Result, Secret, Version};
use kms_crypto::ed25519::{SignLane, SigningKey};
use kms_crypto::x25519;
use kms_store::root_key::KeyFile;
use kms_store::{FileStore, Options, Unlocked};
use kms_testkit::temp_dir::TempDir;

use super::*;
use crate::{
    AttestPolicy, DataKey, Need, Op, Reconciled, Remote, RotateKey, SignRequest, Target, is_moved,
};

const MINUTE: Duration = Duration::from_secs(60);

/// A token in memory.
#[derive(Default)]
struct Token {
    keys: Mutex<HashMap<Kid, SigningKey>>,
    /// It is away for so long, in milliseconds; 0 while it is there.
    away_ms: AtomicU64,
    lies: AtomicBool,
    incomplete: AtomicBool,
    fails_after_generating: AtomicBool,
    /// X25519 keys, where it makes them.
    agreeing: Mutex<HashMap<Kid, Secret<32>>>,
    agrees: AtomicBool,
    /// How often it agreed.
    agreed: AtomicU64,
    /// Versions of which a crash left half.
    torn: Mutex<Vec<Kid>>,
}

impl Token {
    fn reached(&self) -> Result<()> {
        match self.away_ms.load(SeqCst) {
            0 => Ok(()),
            _ => Err(KmsError::new(ErrorCode::StoreUnavailable, "away").retry_after_ms(100)),
        }
    }

    fn kids(&self) -> Vec<String> {
        let mut kids: Vec<_> = self.keys.lock().unwrap().keys().map(Kid::to_string).collect();
        kids.extend(self.agreeing.lock().unwrap().keys().map(Kid::to_string));
        kids.sort();
        kids
    }
}

impl Signer for Token {
    fn kind(&self) -> &'static str {
        "pkcs11"
    }

    fn class(&self) -> String {
        "pkcs11-map".to_owned()
    }

    fn sign(&self, kid: &Kid, _: Algorithm, message: &[u8], _: Duration) -> Result<Vec<u8>> {
        self.reached()?;
        let keys = self.keys.lock().unwrap();
        if self.torn.lock().unwrap().contains(kid) {
            return Err(KmsError::new(ErrorCode::StoreUnavailable, "C_SignInit failed"));
        }
        let gone = || KmsError::new(ErrorCode::StoreUnavailable, "no key").retryable(false);
        let mut signature = keys.get(kid).ok_or_else(gone)?.sign(message)?.to_vec();
        signature[40] ^= u8::from(self.lies.load(SeqCst));
        Ok(signature)
    }

    fn width(&self) -> usize {
        4
    }

    fn outage(&self) -> Option<Duration> {
        self.reached().is_err().then(|| Duration::from_millis(self.away_ms.load(SeqCst)))
    }

    fn health(&self) -> Result<()> {
        self.reached()
    }

    fn generator(&self) -> Option<&dyn GenerateKeys> {
        Some(self)
    }

    fn finder(&self) -> Option<&dyn FindKeys> {
        Some(self)
    }

    fn lister(&self) -> Option<&dyn ListKeys> {
        Some(self)
    }

    fn destroyer(&self) -> Option<&dyn DestroyKeys> {
        Some(self)
    }

    fn agreer(&self) -> Option<&dyn AgreeKeys> {
        Some(self)
    }

    fn attester(&self) -> Option<&dyn AttestKeys> {
        Some(self)
    }
}

impl AgreeKeys for Token {
    fn agrees(&self, _: Duration) -> Result<bool> {
        self.reached()?;
        Ok(self.agrees.load(SeqCst))
    }

    fn agree(&self, kid: &Kid, _: Algorithm, public: &[u8; 32], _: Duration) -> Result<Secret<32>> {
        self.reached()?;
        self.agreed.fetch_add(1, SeqCst);
        let gone = || KmsError::new(ErrorCode::StoreUnavailable, "no key").retryable(false);
        let keys = self.agreeing.lock().unwrap();
        let own = keys.get(kid).ok_or_else(gone)?;
        let agreed = x25519::diffie_hellman(x25519::Lane::Auto, own, public)?;
        let lie = u8::from(self.lies.load(SeqCst));
        Ok(Secret::fill(|out| {
            out.copy_from_slice(agreed.expose());
            out[0] ^= lie;
        }))
    }
}

impl GenerateKeys for Token {
    fn generate(&self, kid: &Kid, _: Algorithm, _: Duration) -> Result<Vec<u8>> {
        self.reached()?;
        let mut keys = self.keys.lock().unwrap();
        if keys.contains_key(kid) {
            return Err(KmsError::conflict("there is one"));
        }
        let mut drawn = Ok(());
        let seed = Secret::fill(|out: &mut [u8; 32]| {
            drawn = kms_core::Entropy::fill(&OsEntropy, out);
        });
        drawn?;
        if kid.key.alg == Algorithm::X25519 {
            let public = x25519::public_key(x25519::Lane::Auto, &seed).to_vec();
            self.agreeing.lock().unwrap().insert(kid.clone(), seed);
            return Ok(public);
        }
        let key = SigningKey::from_seed(SignLane::Dalek, &seed)?;
        let public = key.public().as_bytes().to_vec();
        keys.insert(kid.clone(), key);
        match self.fails_after_generating.load(SeqCst) {
            true => Err(KmsError::new(ErrorCode::Timeout, "the token did not answer in time")),
            false => Ok(public),
        }
    }
}

impl FindKeys for Token {
    fn find(&self, key: &KeyId, _: Algorithm, _: Duration) -> Result<Vec<(Version, Vec<u8>)>> {
        self.reached()?;
        let keys = self.keys.lock().unwrap();
        let ours = keys.iter().filter(|(kid, _)| kid.key == *key);
        Ok(ours.map(|(kid, it)| (kid.version, it.public().as_bytes().to_vec())).collect())
    }
}

impl ListKeys for Token {
    fn list(&self, _: Duration) -> Result<Vec<Kid>> {
        self.reached()?;
        let mut listed: Vec<_> = self.keys.lock().unwrap().keys().cloned().collect();
        listed.extend(self.agreeing.lock().unwrap().keys().cloned());
        Ok(listed)
    }
}

impl DestroyKeys for Token {
    fn destroy(&self, kid: &Kid, _: Algorithm, _: Duration) -> Result<()> {
        self.reached()?;
        self.keys.lock().unwrap().remove(kid);
        self.agreeing.lock().unwrap().remove(kid);
        self.torn.lock().unwrap().retain(|torn| torn != kid);
        Ok(())
    }
}

impl AttestKeys for Token {
    fn attest(&self, _: &Kid, _: Algorithm, _: Duration) -> Result<KeyEvidence> {
        self.reached()?;
        let complete = !self.incomplete.load(SeqCst);
        let facts = vec![("cka_local", complete.to_string())];
        Ok(KeyEvidence { class: self.class(), complete, facts })
    }
}

struct Place {
    dir: TempDir,
    clock: Arc<ManualClock>,
    token: Arc<Token>,
    attest: AttestPolicy,
}

impl Place {
    fn new(attest: AttestPolicy) -> Place {
        let (clock, token) = (Arc::default(), Arc::default());
        Place { dir: TempDir::new("remote"), clock, token, attest }
    }

    fn open(&self) -> (Arc<Engine>, Reconciled) {
        let config = EngineConfig {
            clock: self.clock.clone(),
            min_destroy_delay_ms: 0,
            remote: Some(Remote {
                signer: self.token.clone(),
                deadline: Duration::from_secs(2),
                attest: self.attest,
                seals: true,
                verify_ttl: MINUTE,
            }),
            ..EngineConfig::default()
        };
        let engine = Engine::new(config);
        let path = self.dir.path().join("store");
        let root: Box<dyn RootKey> =
            Box::new(KeyFile::parse(&kms_core::SecretBytes::copy_of(&[7; 32])).unwrap());
        let unlocked = match path.exists() {
            true => Unlocked::open(&path, &*root),
            false => Unlocked::create(&path, &*root, &OsEntropy),
        };
        let options = Options { clock: self.clock.clone(), ..Options::default() };
        let visit = &mut |stored| engine.adopt(stored);
        let (store, _) = FileStore::open(unlocked.unwrap(), options, visit).unwrap();
        engine.keep_in(Box::new(store));
        let found = engine.reconcile(MINUTE).unwrap();
        (Arc::new(engine), found)
    }

    fn reopen(&self, engine: Arc<Engine>) -> (Arc<Engine>, Reconciled) {
        engine.close();
        drop(engine);
        self.open()
    }
}

fn create_as(engine: &Engine, alg: &str) -> kms_core::Result<String> {
    let wish = CreateKey { alg: alg.into(), ..wish("message") };
    engine.create(&Context::library(), &wish).map(|created| created.kid.to_string())
}

fn rotate(engine: &Engine, kid: &str) -> kms_core::Result<String> {
    let rotated = engine.rotate(&Context::library(), kid, &RotateKey::default());
    rotated.map(|rotated| rotated.kid.to_string())
}

/// As a caller signs that does not wait.
fn presigned(engine: &Engine, needs: Vec<Need>) -> Context {
    let (made, ready) = std::sync::mpsc::channel();
    let go_on = Box::new(move |context| made.send(context).unwrap());
    engine.presign(Context::library(), needs, go_on);
    ready.recv().unwrap()
}

fn sign_later(engine: &Engine, kid: &str, message: &[u8]) -> kms_core::Result<Vec<u8>> {
    let needs = engine.needs_of_one(&Context::library(), ItemKid::Named(kid), message);
    let context = presigned(engine, needs);
    let signature = engine.sign_one(&context, ItemKid::Named(kid), message, true)?;
    Ok(signature.as_bytes().to_vec())
}

fn until(done: impl Fn() -> bool) {
    while !done() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn keys_of_a_token_sign_rotate_and_are_there_after_a_restart() {
    let place = Place::new(AttestPolicy::IfAvailable);
    let (engine, _) = place.open();
    let first = create_as(&engine, "ed25519").unwrap();
    let hybrid = create_as(&engine, "hybrid").unwrap();
    let old = sign_later(&engine, &first, b"m").unwrap();
    let second = rotate(&engine, &first).unwrap();
    let waits = refusal(sign(&engine, &second, b"m"));
    assert_eq!(waits, ("Unsupported", Some("kid".to_owned())), "this thread must not wait");
    let (engine, found) = place.reopen(engine);
    assert_eq!(found, Reconciled { present: 3, ..Reconciled::default() });
    let new = sign_later(&engine, &second, b"m").unwrap();
    assert!(verify(&engine, &first, b"m", &old).unwrap());
    assert!(verify(&engine, &second, b"m", &new).unwrap());
    let wish = SignRequest {
        target: Target::Kid(hybrid.clone()),
        payload: crate::Payload::Local(b"m"),
        context: vec![],
        produce_hybrid: None,
    };
    let context = presigned(&engine, engine.needs(&Context::library(), &wish));
    let signed = engine.sign(&context, &wish).unwrap();
    assert_eq!(signed.len(), 2);
    let class = |kid: &str| engine.attest(&Context::library(), kid).unwrap().class;
    assert_eq!((class(&second), class(&hybrid)), ("pkcs11-map".into(), "pkcs11-map-sealed".into()));
    let derived = engine.derive(&Context::library(), &second, "orders");
    assert_eq!(refusal(derived).0, "Unsupported");
}

#[test]
fn many_signatures_are_made_side_by_side_and_a_token_that_goes_fails_the_rest_at_once() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let messages: Vec<[u8; 4]> = (0..5_000u32).map(u32::to_be_bytes).collect();
    let items: Vec<_> = messages
        .iter()
        .map(|message| crate::SignItem { kid: ItemKid::Named(&kid), message })
        .collect();
    let needs = engine.needs_of_items(&Context::library(), &items);
    let context = presigned(&engine, needs);
    let signed = engine.sign_items(&context, &items, true).unwrap();
    assert!(signed.iter().all(Result::is_ok));
    let needs = engine.needs_of_items(&Context::library(), &items);
    place.token.away_ms.store(1, SeqCst);
    let context = presigned(&engine, needs);
    let refused = engine.sign_items(&context, &items, true).unwrap();
    let unavailable =
        |it: &Result<_>| it.as_ref().is_err_and(|it| it.code == ErrorCode::StoreUnavailable);
    assert!(refused.iter().all(unavailable));
}

#[test]
fn a_head_that_changes_while_the_token_signs_is_told_apart() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let key = kid.split('#').next().unwrap();
    let needs = engine.needs_of_one(&Context::library(), ItemKid::Named(key), b"m");
    let context = presigned(&engine, needs);
    rotate(&engine, key).unwrap();
    let error = engine.sign_one(&context, ItemKid::Named(key), b"m", true).unwrap_err();
    assert!(is_moved(&error), "{error:?}");
    assert!(sign_later(&engine, key, b"m").is_ok());
}

#[test]
fn no_wrong_signature_of_a_token_leaves_and_no_key_that_makes_one_is_shown() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    place.token.lies.store(true, SeqCst);
    assert_eq!(refusal(sign_later(&engine, &kid, b"m")).0, "Internal");
    assert_eq!(refusal(create_as(&engine, "ed25519")).0, "Internal");
    place.token.lies.store(false, SeqCst);
    until(|| place.token.kids() == [kid.clone()]);
}

#[test]
fn a_first_version_that_was_not_committed_is_cleaned_up_and_another_services_key_is_not() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let id = |n| KeyId { uuid: uuid::Uuid::from_u128(n), ..parsed(&kid).key };
    // Made by a process that was killed before it could commit; and by another service.
    let (ours, stranger) = (id(1).at(Version::MIN), id(2).at(Version::MIN));
    engine.note_intent(&ours).unwrap();
    for kid in [&ours, &stranger] {
        place.token.generate(kid, Algorithm::Ed25519, MINUTE).unwrap();
    }
    let (engine, found) = place.reopen(engine);
    let expected = Reconciled { present: 1, cleaned: 1, strangers: 1, ..Reconciled::default() };
    assert_eq!(found, expected);
    let mut left = vec![kid, stranger.to_string()];
    left.sort();
    assert_eq!(place.token.kids(), left);
    // One whose making timed out goes by itself.
    place.token.fails_after_generating.store(true, SeqCst);
    assert_eq!(refusal(create_as(&engine, "ed25519")).0, "Timeout");
    until(|| place.token.kids() == left);
}

#[test]
fn a_version_that_an_interrupted_rotation_left_is_taken_up_unless_it_came_another_way() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let second = parsed(&kid).key.at(Version::new(2).unwrap());
    let left = place.token.generate(&second, Algorithm::Ed25519, MINUTE).unwrap();
    let (engine, found) = place.reopen(engine);
    assert_eq!((found.cleaned, found.strangers), (0, 0));
    place.token.incomplete.store(true, SeqCst);
    assert_eq!(refusal(rotate(&engine, &kid)).0, "Conflict");
    place.token.incomplete.store(false, SeqCst);
    let rotated = rotate(&engine, &kid).unwrap();
    let shown = engine.describe(&Context::library(), &rotated).unwrap().public.tracks();
    assert_eq!(shown, [(Algorithm::Ed25519, left)]);
    assert!(sign_later(&engine, &rotated, b"m").is_ok());
}

#[test]
fn a_version_that_was_left_half_made_is_made_anew() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let second = parsed(&kid).key.at(Version::new(2).unwrap());
    let left = place.token.generate(&second, Algorithm::Ed25519, MINUTE).unwrap();
    place.token.torn.lock().unwrap().push(second);
    let rotated = rotate(&engine, &kid).unwrap();
    let shown = engine.describe(&Context::library(), &rotated).unwrap().public.tracks();
    assert_ne!(shown, [(Algorithm::Ed25519, left)]);
    assert!(sign_later(&engine, &rotated, b"m").is_ok());
}

#[test]
fn a_key_that_is_not_on_the_token_any_more_is_named() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    place.token.keys.lock().unwrap().clear();
    let (engine, found) = place.reopen(engine);
    assert_eq!(
        found.missing.iter().map(Kid::to_string).collect::<Vec<_>>(),
        std::slice::from_ref(&kid)
    );
    assert_eq!(refusal(sign_later(&engine, &kid, b"m")).0, "StoreUnavailable");
}

#[test]
fn a_destruction_waits_for_the_token_and_is_out_of_use_meanwhile() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let key = kid.split('#').next().unwrap().to_owned();
    rotate(&engine, &key).unwrap();
    place.token.away_ms.store(1, SeqCst);
    engine.schedule_destroy(&Context::library(), &key, None).unwrap();
    engine.sweep();
    let state = || engine.describe(&Context::library(), &key).unwrap().state.name();
    assert_eq!(state(), "destroy_scheduled");
    assert_eq!(refusal(sign_later(&engine, &key, b"m")).0, "Conflict");
    assert_eq!(place.token.kids().len(), 2);
    place.token.away_ms.store(0, SeqCst);
    until(|| {
        place.clock.advance_ms(60_000);
        engine.sweep();
        state() == "destroyed"
    });
    assert_eq!(place.token.kids(), Vec::<String>::new());
    let (engine, found) = place.reopen(engine);
    assert_eq!((found.present, found.missing), (0, vec![]));
    assert_eq!(engine.describe(&Context::library(), &key).unwrap().state.name(), "destroyed");
}

#[test]
fn verification_outlives_the_token_for_a_while_and_says_for_how_long() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let signature = sign_later(&engine, &kid, b"m").unwrap();
    let check = crate::VerifyRequest {
        kid: Some(kid.clone()),
        payload: crate::Payload::Local(b"m"),
        context: vec![],
        sigs: vec![crate::SignatureEntry {
            alg: Algorithm::Ed25519,
            signature: signature.clone(),
            kid: None,
        }],
        mode: None,
    };
    let age = || engine.verify(&Context::library(), &check).map(|it| (it.ok, it.cache_age_ms));
    assert_eq!(age().unwrap(), (true, None));
    place.token.away_ms.store(90_000, SeqCst);
    assert_eq!(age().unwrap(), (true, Some(90_000)));
    let error = engine.sign(&Context::library(), &sign_wish(&kid)).unwrap_err();
    assert_eq!((error.code, error.retry_after_ms), (ErrorCode::StoreUnavailable, Some(100)));
    place.token.away_ms.store(120_001, SeqCst);
    assert_eq!(refusal(age()).0, "StoreUnavailable");
    assert_eq!(refusal(verify(&engine, &kid, b"m", &signature)).0, "StoreUnavailable");
    place.token.away_ms.store(0, SeqCst);
    assert_eq!(age().unwrap(), (true, None));
}

#[test]
fn nothing_signs_without_evidence_where_it_is_required() {
    let place = Place::new(AttestPolicy::Required);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let lattice = create_as(&engine, "ml-dsa").unwrap();
    assert!(sign_later(&engine, &kid, b"m").is_ok());
    let missing = ("AttestationMissing", Some("kid".to_owned()));
    assert_eq!(refusal(sign_later(&engine, &lattice, b"m")), missing);
    place.token.incomplete.store(true, SeqCst);
    assert_eq!(refusal(create_as(&engine, "ed25519")), missing);
    until(|| place.token.kids() == [kid.clone()]);
    let (engine, _) = place.reopen(engine);
    assert_eq!(refusal(engine.attest_heads()), missing, "a token that cannot attest");
    assert!(!engine.is_attested());
    assert_eq!(refusal(sign_later(&engine, &kid, b"m")), missing);
    place.token.incomplete.store(false, SeqCst);
    engine.attest_heads().unwrap();
    let signature = sign_later(&engine, &kid, b"m").unwrap();
    assert!(verify(&engine, &kid, b"m", &signature).unwrap());
}

#[test]
fn a_store_with_versions_of_another_backend_is_opened_only_where_that_is_said() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    let signature = sign_later(&engine, &kid, b"m").unwrap();
    let (stored, own) = {
        let custody = place.dir.path().join("store");
        engine.close();
        drop(engine);
        let root = KeyFile::parse(&kms_core::SecretBytes::copy_of(&[7; 32])).unwrap();
        let mut stored = Vec::new();
        let visit = &mut |key| {
            stored.push(key);
            Ok(())
        };
        let unlocked = Unlocked::open(&custody, &root).unwrap();
        let opened = FileStore::open(unlocked, Options::default(), visit).unwrap();
        drop(opened);
        (stored.pop().unwrap(), EngineConfig::default())
    };
    let alone = Engine::new(own);
    let refused = refusal(alone.adopt(stored.clone()));
    assert_eq!(refused, ("BadRequest", Some("service.multi_backends".to_owned())));
    let both = Engine::new(EngineConfig { other_backends: true, ..EngineConfig::default() });
    both.adopt(stored).unwrap();
    assert!(verify(&both, &kid, b"m", &signature).unwrap());
    let signs = both.sign_one(&Context::library(), ItemKid::Named(&kid), b"m", true);
    assert_eq!(refusal(signs), ("Unsupported", Some("kid".to_owned())));
}

fn sign_wish(kid: &str) -> SignRequest<'static> {
    SignRequest {
        target: Target::Kid(kid.to_owned()),
        payload: crate::Payload::Message(b"m".to_vec().into()),
        context: vec![],
        produce_hybrid: None,
    }
}

fn parsed(kid: &str) -> Kid {
    let parsed = kms_core::KidRef::parse(kid).unwrap();
    let name = |text| kms_core::Name::parse(text, "name").unwrap();
    let key = KeyId {
        tenant: name(parsed.tenant),
        purpose: name(parsed.purpose),
        alg: parsed.alg,
        uuid: parsed.uuid,
    };
    key.at(parsed.version.unwrap())
}

fn wrapped(engine: &Engine, kid: &str) -> kms_core::Result<Vec<u8>> {
    let data_key = DataKey::Given(b"a data key");
    engine.wrap(&Context::library(), kid, data_key, None).map(|wrapped| wrapped.envelope)
}

fn unwrapped(engine: &Engine, envelope: &[u8]) -> kms_core::Result<Vec<u8>> {
    let opened = engine.unwrap(&Context::library(), None, envelope)?;
    Ok(opened.data_key.expose().to_vec())
}

fn create_kem(engine: &Engine, alg: &str) -> String {
    let wish = CreateKey { alg: alg.into(), purpose: "kem".into(), ..wish("message") };
    engine.create(&Context::library(), &wish).unwrap().kid.to_string()
}

#[test]
fn keys_that_agree_in_the_token_open_envelopes_there_and_wrap_without_it() {
    let place = Place::new(AttestPolicy::Required);
    place.token.agrees.store(true, SeqCst);
    let (engine, _) = place.open();
    let kids = [create_kem(&engine, "x25519"), create_kem(&engine, "hybrid")];
    assert_eq!(place.token.kids().len(), 2, "both have their X25519 half in the token");
    let envelopes = kids.each_ref().map(|kid| wrapped(&engine, kid).unwrap());
    for envelope in &envelopes {
        assert!(engine.opens_in_token(envelope));
        assert_eq!(unwrapped(&engine, envelope).unwrap(), b"a data key");
    }
    let class = |engine: &Engine, kid: &str| engine.attest(&Context::library(), kid).unwrap();
    assert_eq!(class(&engine, &kids[0]).class, "pkcs11-map");
    assert_eq!(class(&engine, &kids[1]).class, "pkcs11-map-sealed");
    assert!(class(&engine, &kids[0]).evidence.is_some_and(|it| it.complete));
    let derived = engine.derive(&Context::library(), &kids[0], "orders");
    assert_eq!(refusal(derived).0, "Unsupported");

    let (engine, found) = place.reopen(engine);
    assert_eq!((found.present, found.strangers), (2, 0));
    for (kid, envelope) in kids.iter().zip(&envelopes) {
        assert_eq!(unwrapped(&engine, envelope).unwrap(), b"a data key");
        let second = rotate(&engine, kid).unwrap();
        let rewrapped = engine.rewrap(&Context::library(), None, envelope).unwrap();
        assert_eq!(rewrapped.kid.to_string(), second);
        assert_eq!(unwrapped(&engine, &rewrapped.envelope).unwrap(), b"a data key");
        assert_eq!(unwrapped(&engine, envelope).unwrap(), b"a data key");
    }
    place.token.away_ms.store(1, SeqCst);
    let key = kids[0].split('#').next().unwrap();
    let fresh = wrapped(&engine, key).unwrap();
    assert_eq!(unwrapped(&engine, &fresh).unwrap_err().code, ErrorCode::StoreUnavailable);
    place.token.away_ms.store(0, SeqCst);
    assert_eq!(unwrapped(&engine, &fresh).unwrap(), b"a data key");
    engine.schedule_destroy(&Context::library(), key, None).unwrap();
    until(|| {
        engine.sweep();
        place.token.kids().len() == 2
    });
    assert_eq!(refusal(unwrapped(&engine, &fresh)).0, "Conflict");
}

#[test]
fn no_token_is_asked_for_an_envelope_that_cannot_open() {
    let place = Place::new(AttestPolicy::Never);
    place.token.agrees.store(true, SeqCst);
    let (engine, _) = place.open();
    let (x25519, hybrid) = (create_kem(&engine, "x25519"), create_kem(&engine, "hybrid"));
    for (kid, at) in [(x25519, 0), (hybrid, 1088)] {
        let good = wrapped(&engine, &kid).unwrap();
        let asked = place.token.agreed.load(SeqCst);
        let enc = 12 + kid.len() + at;
        let mut small_order = good.clone();
        small_order[enc..enc + 32].fill(0);
        let mut base = good.clone();
        base[10] = 0;
        let mut other_aead = good.clone();
        other_aead[9] ^= 1;
        for bad in [&small_order, &base, &other_aead, &good[..enc + 31].to_vec()] {
            assert_eq!(refusal(unwrapped(&engine, bad)).1.as_deref(), Some("wrapped_b64"));
        }
        assert_eq!(place.token.agreed.load(SeqCst), asked);
        let mut forged = good.clone();
        forged[enc] ^= 1;
        place.token.lies.store(true, SeqCst);
        for bad in [&forged, &good] {
            assert_eq!(refusal(unwrapped(&engine, bad)).1.as_deref(), Some("wrapped_b64"));
        }
        place.token.lies.store(false, SeqCst);
        assert_eq!(unwrapped(&engine, &good).unwrap(), b"a data key");
    }
    place.token.lies.store(true, SeqCst);
    let wish = CreateKey { alg: "x25519".into(), purpose: "kem".into(), ..wish("message") };
    let refused = engine.create(&Context::library(), &wish);
    assert_eq!(refusal(refused).0, "Internal", "a key that does not agree is not shown");
}

#[test]
fn keys_that_were_sealed_before_stay_so_until_they_are_rotated() {
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kids = [create_kem(&engine, "x25519"), create_kem(&engine, "hybrid")];
    assert!(place.token.kids().is_empty());
    let envelopes = kids.each_ref().map(|kid| wrapped(&engine, kid).unwrap());
    place.token.agrees.store(true, SeqCst);
    let (engine, _) = place.reopen(engine);
    for (kid, envelope) in kids.iter().zip(&envelopes) {
        assert!(!engine.opens_in_token(envelope));
        assert_eq!(unwrapped(&engine, envelope).unwrap(), b"a data key");
        let second = rotate(&engine, kid).unwrap();
        assert!(place.token.kids().contains(&second));
        let fresh = wrapped(&engine, &second).unwrap();
        assert!(engine.opens_in_token(&fresh));
        assert_eq!(unwrapped(&engine, &fresh).unwrap(), b"a data key");
        assert_eq!(unwrapped(&engine, envelope).unwrap(), b"a data key");
    }
    // Not known is not no: no key lands in the store because the token was away.
    place.token.away_ms.store(1, SeqCst);
    let wish = CreateKey { alg: "x25519".into(), purpose: "kem".into(), ..wish("message") };
    let refused = engine.create(&Context::library(), &wish);
    assert_eq!(refusal(refused).0, "StoreUnavailable");
}

#[test]
fn what_is_known_of_a_key_goes_with_its_signatures_and_with_their_replays() {
    let place = Place::new(AttestPolicy::IfAvailable);
    let (engine, _) = place.open();
    let (kid, sealed) =
        (create_as(&engine, "ed25519").unwrap(), create_as(&engine, "ml-dsa").unwrap());
    let signed = |engine: &Arc<Engine>, kid: &str| {
        let body = format!(
            r#"{{"kid_or_set":{{"kid":"{kid}"}},"message_b64":"bQ==","op_id":"{}"}}"#,
            uuid::Uuid::from_u128(5)
        );
        let context = Context::library();
        let needs = crate::wire::needs(engine, Op::Sign, body.as_bytes(), &context);
        let context = presigned(engine, needs);
        let answer = crate::wire::handle(engine, Op::Sign, None, body.as_bytes(), context, true);
        serde_json::from_slice::<serde_json::Value>(&answer.unwrap().unwrap()).unwrap()
    };
    let first = signed(&engine, &kid);
    let evidence = engine.attest(&Context::library(), &kid).unwrap().evidence.unwrap();
    let b3 = base16ct::lower::encode_string(&evidence.hash);
    let expected = serde_json::json!({ "class": "pkcs11-map", "complete": true, "b3": b3 });
    assert_eq!(first["attestation"], expected);
    let (engine, _) = place.reopen(engine);
    assert_eq!(signed(&engine, &kid), first, "the recorded answer is given again, whole");
    let attestation = |engine: &Engine, kid: &str| {
        let wish = SignRequest {
            target: Target::Kid(kid.to_owned()),
            payload: crate::Payload::Local(b"m"),
            context: vec![],
            produce_hybrid: None,
        };
        engine.sign(&Context::library(), &wish).unwrap()[0].attestation.clone()
    };
    // After a restart the first signature has the token asked for it.
    until(|| attestation(&engine, &kid).is_some_and(|it| it.b3() == b3));
    assert_eq!(attestation(&engine, &sealed), None);
    let place = Place::new(AttestPolicy::Never);
    let (engine, _) = place.open();
    let kid = create_as(&engine, "ed25519").unwrap();
    assert_eq!((0..10).find_map(|_| attestation(&engine, &kid)), None);
}
