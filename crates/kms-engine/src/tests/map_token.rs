//! A token that is a map in memory, and fails on demand; and a place for a service that has it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use kms_core::custody::RootKey;
use kms_core::signer::{
    AgreeKeys, AttestKeys, DestroyKeys, FindKeys, GenerateKeys, KeyEvidence, ListKeys, Signer,
};
use kms_core::{Algorithm, Anchor, ErrorCode, KeyId, KmsError, OsEntropy, Result, Secret, Version};
use kms_crypto::ed25519::{SignLane, SigningKey};
use kms_crypto::x25519;
use kms_store::root_key::KeyFile;
use kms_store::{FileStore, Options, Unlocked};
use kms_testkit::anchor::MemoryAnchor;
use kms_testkit::temp_dir::TempDir;

use super::*;
use crate::{AttestPolicy, Need, Reconciled, Remote, RotateKey};

pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// A token in memory.
#[derive(Default)]
pub(super) struct Token {
    pub(super) keys: Mutex<HashMap<Kid, SigningKey>>,
    /// It is away for so long, in milliseconds; 0 while it is there.
    pub(super) away_ms: AtomicU64,
    pub(super) lies: AtomicBool,
    pub(super) incomplete: AtomicBool,
    pub(super) fails_after_generating: AtomicBool,
    /// X25519 keys, where it makes them.
    pub(super) agreeing: Mutex<HashMap<Kid, Secret<32>>>,
    pub(super) agrees: AtomicBool,
    /// How often it agreed.
    pub(super) agreed: AtomicU64,
    /// Versions of which a crash left half.
    pub(super) torn: Mutex<Vec<Kid>>,
}

impl Token {
    fn reached(&self) -> Result<()> {
        match self.away_ms.load(SeqCst) {
            0 => Ok(()),
            _ => Err(KmsError::new(ErrorCode::StoreUnavailable, "away").retry_after_ms(100)),
        }
    }

    pub(super) fn kids(&self) -> Vec<String> {
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

pub(super) struct Place {
    pub(super) dir: TempDir,
    pub(super) clock: Arc<ManualClock>,
    pub(super) token: Arc<Token>,
    pub(super) attest: AttestPolicy,
    pub(super) anchor: Option<Arc<MemoryAnchor>>,
}

impl Place {
    pub(super) fn new(attest: AttestPolicy) -> Place {
        let (clock, token) = (Arc::default(), Arc::default());
        Place { dir: TempDir::new("remote"), clock, token, attest, anchor: Some(Arc::default()) }
    }

    /// Of the store.
    pub(super) fn data(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(super) fn open(&self) -> (Arc<Engine>, Reconciled) {
        self.open_with(false)
    }

    pub(super) fn open_with(&self, accept_older: bool) -> (Arc<Engine>, Reconciled) {
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
        let path = self.data();
        let root: Box<dyn RootKey> =
            Box::new(KeyFile::parse(&kms_core::SecretBytes::copy_of(&[7; 32])).unwrap());
        let unlocked = match path.exists() {
            true => Unlocked::open(&path, &*root),
            false => Unlocked::create(&path, &*root, &OsEntropy),
        };
        let anchor = self.anchor.clone().map(|anchor| anchor as Arc<dyn Anchor>);
        let clock = self.clock.clone();
        let options = Options { clock, anchor, accept_older, ..Options::default() };
        let visit = &mut |stored| engine.adopt(stored);
        let (store, _) = FileStore::open(unlocked.unwrap(), options, visit).unwrap();
        engine.keep_in(Box::new(store));
        let found = engine.reconcile(MINUTE).unwrap();
        (Arc::new(engine), found)
    }

    pub(super) fn reopen(&self, engine: Arc<Engine>) -> (Arc<Engine>, Reconciled) {
        engine.close();
        drop(engine);
        self.open()
    }
}

pub(super) fn create_as(engine: &Engine, alg: &str) -> kms_core::Result<String> {
    let wish = CreateKey { alg: alg.into(), ..wish("message") };
    engine.create(&Context::library(), &wish).map(|created| created.kid.to_string())
}

pub(super) fn rotate(engine: &Engine, kid: &str) -> kms_core::Result<String> {
    let rotated = engine.rotate(&Context::library(), kid, &RotateKey::default());
    rotated.map(|rotated| rotated.kid.to_string())
}

/// As a caller signs that does not wait.
pub(super) fn presigned(engine: &Engine, needs: Vec<Need>) -> Context {
    let (made, ready) = std::sync::mpsc::channel();
    let go_on = Box::new(move |context| made.send(context).unwrap());
    engine.presign(Context::library(), needs, go_on);
    ready.recv().unwrap()
}

pub(super) fn sign_later(engine: &Engine, kid: &str, message: &[u8]) -> kms_core::Result<Vec<u8>> {
    let needs = engine.needs_of_one(&Context::library(), ItemKid::Named(kid), message);
    let context = presigned(engine, needs);
    let signature = engine.sign_one(&context, ItemKid::Named(kid), message, true)?;
    Ok(signature.as_bytes().to_vec())
}

pub(super) fn until(done: impl Fn() -> bool) {
    while !done() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(super) fn parsed(kid: &str) -> Kid {
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
