//! Key stores in directories: opened for a service, and looked after while none has them open.

use std::path::Path;
use std::time::Duration;

use kms_core::custody::RootKey;
use kms_core::{Entropy, KmsError, Result, Secret, SecretBytes};
use kms_pkcs11::{HsmRootKey, STORE_ROOT, Token};
use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;
use zeroize::Zeroize;

use crate::kms::NativeKms;
use crate::pkcs11::Pkcs11Options;
use crate::task::{guard, spawn};

/// Where the key at the top of a store comes from: a file, or an environment variable.
#[napi(object)]
pub struct RootKeyOptions {
    /// `key-file`, `passphrase` or `age-identity`; `hsm` for a key in the token of the service.
    pub kind: String,
    /// The file that holds it.
    pub file: Option<String>,
    /// The environment variable that holds it.
    pub env: Option<String>,
    /// The token that holds it, where no service has that open.
    pub pkcs11: Option<Pkcs11Options>,
}

/// A key store in a directory.
#[napi(object)]
pub struct FileStoreOptions {
    /// The directory.
    pub dir: String,
    /// What opens it.
    pub root_key: RootKeyOptions,
    /// A file outside the directory that remembers how far the store was, and what was destroyed.
    pub anchor: Option<String>,
    /// Makes the store where there is none.
    pub create: Option<bool>,
    /// Opens a store that is older than its anchor, or whose anchor is missing.
    pub accept_older: Option<bool>,
}

/// The kind of a root key that is in a token.
pub(crate) const HSM: &str = "hsm";
/// Longest that a token may take to seal or open a root.
const ROOT_DEADLINE: Duration = Duration::from_secs(5);

/// Longest root key file or variable in bytes.
const MAX_ROOT_KEY_LEN: u64 = 64 * 1024;

impl RootKeyOptions {
    fn read(&self) -> Result<SecretBytes> {
        let fault = |field, why: &'static str| Err(KmsError::bad_request(why).field(field));
        match (&self.file, &self.env) {
            (Some(file), None) => read_secret(Path::new(file)),
            (None, Some(name)) => read_variable(name),
            _ => fault("root_key", "needs a file or an environment variable, and not both"),
        }
    }

    /// Reads and parses the key; one that is in a token is found there.
    pub(crate) fn load(&self, token: Option<&Token>) -> Result<Box<dyn RootKey>> {
        if self.kind != HSM {
            return imp::root_key(&self.kind, self.read()?);
        }
        let fault = |why: &'static str| KmsError::bad_request(why).field("root_key.kind");
        let (token, own) = match (token, &self.pkcs11) {
            (Some(token), _) => (token.clone(), None),
            (None, Some(options)) => {
                let token = options.open_alone()?;
                (token.clone(), Some(OwnToken(token)))
            }
            (None, None) => {
                return Err(fault("hsm needs a token: that of the service, or one that is named"));
            }
        };
        if !token.capabilities().aes_gcm {
            let why = "the token does not offer AES-GCM: give a key file, a passphrase or an age identity";
            return Err(fault(why));
        }
        let root = HsmRootKey::new(token, STORE_ROOT, ROOT_DEADLINE);
        Ok(Box::new(InToken { root, _own: own }))
    }
}

/// A root key in a token, and the token itself where it was opened for nothing else.
struct InToken {
    root: HsmRootKey,
    _own: Option<OwnToken>,
}

struct OwnToken(Token);

impl Drop for OwnToken {
    /// A library of a token must not be left with a thread inside when the process ends.
    fn drop(&mut self) {
        self.0.close(ROOT_DEADLINE);
    }
}

impl RootKey for InToken {
    fn kind(&self) -> &'static str {
        self.root.kind()
    }

    fn seal(&self, key: &Secret<32>, context: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>> {
        self.root.seal(key, context, entropy)
    }

    fn unseal(&self, sealed: &[u8], context: &[u8]) -> Result<Secret<32>> {
        self.root.unseal(sealed, context)
    }
}

/// The text of an environment variable.
///
/// # Errors
/// `BadRequest`, field `root_key.env`.
pub(crate) fn read_variable(name: &str) -> Result<SecretBytes> {
    let unset = || KmsError::bad_request("the environment variable is not set, or no text");
    let mut value = std::env::var(name).map_err(|_| unset().field("root_key.env"))?;
    let secret = SecretBytes::copy_of(value.as_bytes());
    value.zeroize();
    Ok(secret)
}

/// The bytes of a small file.
///
/// # Errors
/// `BadRequest`, field `root_key.file`.
pub(crate) fn read_secret(path: &Path) -> Result<SecretBytes> {
    use std::io::Read;
    let unreadable =
        || KmsError::bad_request("the root key file cannot be read").field("root_key.file");
    let mut file = std::fs::File::open(path).map_err(|_| unreadable())?;
    let len = file.metadata().map_err(|_| unreadable())?.len();
    if len > MAX_ROOT_KEY_LEN {
        return Err(KmsError::bad_request("over 64 KiB").field("root_key.file"));
    }
    let mut read = Ok(());
    let secret = SecretBytes::fill(usize::try_from(len).unwrap_or_default(), |out| {
        read = file.read_exact(out);
    });
    read.map(|()| secret).map_err(|_| unreadable())
}

#[cfg(unix)]
mod imp {
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use kms_audit::AuditLog;
    use kms_audit::record::{Body, Override};
    use kms_core::anchor::Anchor;
    use kms_core::custody::{RootKey, StoredKey};
    use kms_core::{AuditSink, KmsError, OsEntropy, Result, SecretBytes};
    use kms_engine::{AttestPolicy, Engine, EngineConfig};
    use kms_pkcs11::Token;
    use kms_store::root_key::{AgeIdentity, Cost, KeyFile, Passphrase};
    use kms_store::{
        FileAnchor, FileStore, OnOverride, OpenReport, Options, Problem, StoreError, Unlocked,
    };

    use super::{FileStoreOptions, HSM, RootKeyOptions};
    use crate::audit::open::{OPERATOR, OpenError, fault};
    use crate::audit::{Audit, AuditOptions};
    use crate::pkcs11::{Opened, Pkcs11Options};

    pub(super) fn root_key(kind: &str, mut content: SecretBytes) -> Result<Box<dyn RootKey>> {
        Ok(match kind {
            "key-file" => Box::new(KeyFile::parse(&content)?),
            "passphrase" => {
                // Editors end a file with a line feed, and nobody means it.
                if content.expose().ends_with(b"\n") {
                    content = SecretBytes::copy_of(&content.expose()[..content.len() - 1]);
                }
                Box::new(Passphrase::new(content, Cost::DEFAULT)?)
            }
            "age-identity" => Box::new(AgeIdentity::parse(&content)?),
            _ => {
                let why = "must be key-file, passphrase, age-identity or hsm";
                return Err(KmsError::bad_request(why).field("root_key.kind"));
            }
        })
    }

    /// Opens a service: its audit log, then its store.
    pub(crate) fn compose(
        mut config: EngineConfig,
        store: Option<&FileStoreOptions>,
        audit: Option<&AuditOptions>,
        pkcs11: Option<&Pkcs11Options>,
        may_only_verify: bool,
    ) -> Result<(Engine, Audit, Kept)> {
        if pkcs11.is_some() && store.is_none() {
            let why = "a token needs one beside it, for what it does not keep";
            return Err(KmsError::bad_request(why).field("store"));
        }
        if let Some(audit) = audit {
            audit.check_sealing(pkcs11.is_some())?;
        }
        let seals = store.is_some_and(|store| store.root_key.kind == HSM);
        let token = pkcs11.map(|options| options.open(&mut config, seals)).transpose()?;
        let held = token.clone().map(Opened::new).unwrap_or_default();
        composed(config, store, audit, token.as_ref(), &held, may_only_verify)
            .inspect_err(|_| held.close())
    }

    fn composed(
        mut config: EngineConfig,
        store: Option<&FileStoreOptions>,
        audit: Option<&AuditOptions>,
        token: Option<&Token>,
        held: &Opened,
        may_only_verify: bool,
    ) -> Result<(Engine, Audit, Kept)> {
        let mut refused: Option<KmsError> = None;
        // What a person must look at: the service stays up for those who verify, where that is wanted.
        let mut refuse = |error: KmsError| match may_only_verify {
            true => {
                refused.get_or_insert(error);
                Ok(())
            }
            false => Err(error),
        };
        let overridden = Arc::new(Mutex::new(Vec::new()));
        let unlocked = store.map(|store| unlock(store, token)).transpose()?;
        let anchor = match (store, &unlocked) {
            (Some(store), Some(unlocked)) => anchor_of(unlocked, store, audit)?,
            _ => None,
        };
        // Before the log, which writes to the anchor when it begins.
        let no_anchor = match (&unlocked, &anchor) {
            (Some(unlocked), Some(anchor)) => unlocked.check_anchor(&**anchor).err(),
            _ => None,
        };
        let accepts = store.is_some_and(|options| options.accept_older == Some(true));
        if let Some(fault) = no_anchor.as_ref().filter(|_| !accepts) {
            return Err(fault.clone().into());
        }
        let mut mismatch = false;
        let within = config.remote.as_ref().map(|it| it.deadline);
        let device = token.cloned().zip(within);
        let audit = match audit {
            None => Audit::Off,
            Some(options) => {
                config.audit_verify = options.verify()?;
                match options.dir.as_deref().map(Path::new) {
                    None => Audit::Memory(Arc::new(options.in_memory()?)),
                    Some(dir) => {
                        match log_of(options, dir, unlocked.as_ref(), anchor.as_ref(), device) {
                            Ok(log) => Audit::Log(Arc::new(log)),
                            Err(OpenError::Mismatch(error)) => {
                                mismatch = true;
                                refuse(error).map(|()| Audit::Off)?
                            }
                            Err(OpenError::Other(error)) => return Err(error),
                        }
                    }
                }
            }
        };
        config.audit = match &audit {
            Audit::Off => None,
            Audit::Memory(log) => Some(Arc::clone(log) as Arc<dyn AuditSink>),
            Audit::Log(log) => Some(Arc::clone(log) as Arc<dyn AuditSink>),
        };
        let required = config.remote.as_ref().is_some_and(|it| it.attest == AttestPolicy::Required);
        let engine = Engine::new(config);
        let mut open = None;
        if let (Some(options), Some(unlocked)) = (store, unlocked) {
            let mut visit = |key| engine.adopt(key);
            if mismatch {
                // Nothing is written, and nothing overridden, where the log cannot say so.
                FileStore::show(&unlocked, anchor.as_deref(), &mut visit)?;
            } else {
                let mut note = noting(&audit, &overridden);
                if let Some(fault) = &no_anchor {
                    note(fault)?;
                }
                match open_unlocked(options, token, unlocked, anchor, Some(note), &mut visit) {
                    Ok((kept, _)) => open = Some(Arc::new(kept)),
                    Err(Failed { error, older: true }) => refuse(error)?,
                    Err(Failed { error, older: false }) => return Err(error),
                }
            }
        }
        match (refused, &open) {
            // Without the store nothing can be written.
            (Some(refusal), _) => {
                engine.only_verify(refusal);
                open = None;
            }
            (None, Some(store)) => engine.keep_in(Box::new(Arc::clone(store))),
            (None, None) => {}
        }
        if token.is_some() {
            held.begin(&engine, required)?;
        }
        let overridden = overridden.lock().map(|it| it.clone()).unwrap_or_default();
        let token = held.clone();
        Ok((engine, audit, Kept { store: Mutex::new(open), token, overridden }))
    }

    fn log_of(
        options: &AuditOptions,
        dir: &Path,
        unlocked: Option<&Unlocked>,
        anchor: Option<&Arc<dyn Anchor>>,
        device: Option<(Token, Duration)>,
    ) -> Result<AuditLog, OpenError> {
        let missing = || fault("anchor", "an audit log needs one");
        match unlocked {
            Some(unlocked) => options.open(dir, unlocked, anchor.ok_or_else(missing)?, device),
            None => {
                let own = options.own_keys(dir)?;
                let path = options.anchor.as_ref().ok_or_else(missing)?;
                options.open(dir, &own, &self::anchor(&own, &[dir], path)?, device)
            }
        }
    }

    /// Puts what is overridden into the log, durably, before the store writes anything.
    fn noting(audit: &Audit, overridden: &Arc<Mutex<Vec<String>>>) -> OnOverride {
        let (audit, overridden) = (audit.clone(), Arc::clone(overridden));
        Box::new(move |fault| {
            let refused = fault.to_string();
            if let Audit::Log(log) = &audit {
                let body = Override {
                    actor: OPERATOR,
                    refused: &refused,
                    anchor_size: 0,
                    anchor_root: [0; 32],
                };
                let index = log.append(Body::Override(body))?;
                log.wait_durable(index)?;
            }
            overridden.lock().unwrap_or_else(PoisonError::into_inner).push(refused);
            Ok(())
        })
    }

    /// The store of a service that is open.
    pub(crate) struct Kept {
        store: Mutex<Option<Arc<FileStore>>>,
        pub(crate) token: Opened,
        /// What an operator's decision overrode when it was opened.
        pub(crate) overridden: Vec<String>,
    }

    impl Kept {
        pub(crate) fn close(&self) {
            self.store.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.token.close();
        }

        pub(super) fn store(&self) -> Result<Arc<FileStore>> {
            let store = self.store.lock().unwrap_or_else(PoisonError::into_inner).clone();
            store.ok_or_else(|| {
                KmsError::unsupported("this service has no open store in files").field("backend")
            })
        }
    }

    pub(super) fn rekey_open(
        store: &FileStore,
        token: Option<&Token>,
        new: &RootKeyOptions,
    ) -> Result<()> {
        Ok(store.rekey(&*new.load(token)?, &mut |_, _| {})?)
    }

    pub(super) fn backup_open(store: &FileStore, to: &str) -> Result<usize> {
        Ok(store.backup(Path::new(to))?)
    }

    struct Failed {
        error: KmsError,
        /// The store is sound, and older than its anchor.
        older: bool,
    }

    impl From<KmsError> for Failed {
        fn from(error: KmsError) -> Failed {
            Failed { error, older: false }
        }
    }

    impl From<StoreError> for Failed {
        fn from(error: StoreError) -> Failed {
            let older = matches!(error, StoreError::OlderThanAnchor { .. });
            Failed { error: error.into(), older }
        }
    }

    fn unlock(options: &FileStoreOptions, token: Option<&Token>) -> Result<Unlocked> {
        unlock_with(options, &*options.root_key.load(token)?)
    }

    fn unlock_with(options: &FileStoreOptions, root: &dyn RootKey) -> Result<Unlocked> {
        let dir = Path::new(&options.dir);
        Ok(match Unlocked::open(dir, root) {
            Err(StoreError::NoStore) if options.create == Some(true) => {
                Unlocked::create(dir, root, &OsEntropy)?
            }
            unlocked => unlocked?,
        })
    }

    fn anchor_of(
        unlocked: &Unlocked,
        options: &FileStoreOptions,
        audit: Option<&AuditOptions>,
    ) -> Result<Option<Arc<dyn Anchor>>> {
        let mut dirs = vec![Path::new(&options.dir)];
        dirs.extend(audit.and_then(|audit| audit.dir.as_deref()).map(Path::new));
        options.anchor.as_ref().map(|path| anchor(unlocked, &dirs, path)).transpose()
    }

    fn open_unlocked(
        options: &FileStoreOptions,
        token: Option<&Token>,
        unlocked: Unlocked,
        anchor: Option<Arc<dyn Anchor>>,
        on_override: Option<OnOverride>,
        visit: &mut dyn FnMut(StoredKey) -> Result<()>,
    ) -> Result<(FileStore, OpenReport), Failed> {
        let accept_older = options.accept_older.unwrap_or(false);
        let opened = Options { anchor, accept_older, on_override, ..Options::default() };
        let (store, report) = FileStore::open(unlocked, opened, visit)?;
        if report.unfinished_rekey {
            let ended = store.finish_rekey(&*options.root_key.load(token)?, &mut |_, _| {});
            // A full disk does not keep a store from being opened: the next start ends it, or the next rekey.
            if let Err(error) = ended.map_err(KmsError::from)
                && !error.retryable
            {
                return Err(error.into());
            }
        }
        Ok((store, report))
    }

    fn opened(options: &FileStoreOptions) -> Result<FileStore> {
        let unlocked = unlock(options, None)?;
        let anchor = anchor_of(&unlocked, options, None)?;
        let opened = open_unlocked(options, None, unlocked, anchor, None, &mut |_| Ok(()));
        opened.map(|(store, _)| store).map_err(|failed| failed.error)
    }

    /// What is not sound, and how many keys and versions are.
    pub(super) fn check(options: &FileStoreOptions) -> Result<(usize, u64, Vec<String>)> {
        let report = kms_store::check(Path::new(&options.dir), &*options.root_key.load(None)?)?;
        let problem = |it: &Problem| format!("{}: {}", it.path, it.error);
        Ok((report.keys, report.versions, report.problems.iter().map(problem).collect()))
    }

    pub(super) fn backup(options: &FileStoreOptions, to: &str) -> Result<usize> {
        Ok(opened(options)?.backup(Path::new(to))?)
    }

    pub(super) fn restore(from: &str, root_key: &RootKeyOptions, dir: &str) -> Result<usize> {
        Ok(kms_store::restore(Path::new(from), Path::new(dir), &*root_key.load(None)?)?)
    }

    pub(super) fn rekey(options: &FileStoreOptions, new: &RootKeyOptions) -> Result<()> {
        let new = new.load(None)?;
        Ok(opened(options)?.rekey(&*new, &mut |_, _| {})?)
    }

    fn anchor(unlocked: &Unlocked, dirs: &[&Path], path: &str) -> Result<Arc<dyn Anchor>> {
        let path = PathBuf::from(path);
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // Beside what it watches over it would be restored together with it.
        let inside = |parent: PathBuf| {
            dirs.iter().any(|dir| dir.canonicalize().is_ok_and(|dir| parent.starts_with(dir)))
        };
        if parent.canonicalize().is_ok_and(inside) {
            let why = "must lie outside the directories of store and audit log";
            return Err(KmsError::bad_request(why).field("anchor"));
        }
        Ok(Arc::new(FileAnchor::open(&path, unlocked.subkey("anchor")?)?))
    }
}

#[cfg(not(unix))]
mod imp {
    use kms_core::custody::RootKey;
    use kms_core::{KmsError, Result, SecretBytes};
    use kms_engine::{Engine, EngineConfig};

    use kms_pkcs11::Token;

    use super::{FileStoreOptions, RootKeyOptions};
    use crate::audit::{Audit, AuditOptions};
    use crate::pkcs11::{Opened, Pkcs11Options};

    fn absent<T>() -> Result<T> {
        let why = "the file backend needs a Unix system";
        Err(KmsError::unsupported(why).field("backend"))
    }

    /// No store can be open.
    #[derive(Default)]
    pub(crate) struct Kept {
        pub(crate) token: Opened,
        pub(crate) overridden: Vec<String>,
    }

    /// Nor is there one.
    pub(super) enum Store {}

    impl Kept {
        pub(crate) fn close(&self) {}

        pub(super) fn store(&self) -> Result<std::sync::Arc<Store>> {
            absent()
        }
    }

    pub(super) fn rekey_open(store: &Store, _: Option<&Token>, _: &RootKeyOptions) -> Result<()> {
        match *store {}
    }

    pub(super) fn backup_open(store: &Store, _: &str) -> Result<usize> {
        match *store {}
    }

    pub(super) fn root_key(_: &str, _: SecretBytes) -> Result<Box<dyn RootKey>> {
        absent()
    }

    pub(crate) fn compose(
        config: EngineConfig,
        store: Option<&FileStoreOptions>,
        audit: Option<&AuditOptions>,
        pkcs11: Option<&Pkcs11Options>,
        _: bool,
    ) -> Result<(Engine, Audit, Kept)> {
        if pkcs11.is_some() {
            return absent();
        }
        match (store, audit) {
            (None, None) => Ok((Engine::new(config), Audit::Off, Kept::default())),
            (None, Some(_)) => {
                let why = "the audit log needs a Unix system";
                Err(KmsError::unsupported(why).field("audit"))
            }
            (Some(_), _) => absent(),
        }
    }

    pub(super) fn check(_: &FileStoreOptions) -> Result<(usize, u64, Vec<String>)> {
        absent()
    }

    pub(super) fn backup(_: &FileStoreOptions, _: &str) -> Result<usize> {
        absent()
    }

    pub(super) fn restore(_: &str, _: &RootKeyOptions, _: &str) -> Result<usize> {
        absent()
    }

    pub(super) fn rekey(_: &FileStoreOptions, _: &RootKeyOptions) -> Result<()> {
        absent()
    }
}

pub(crate) use imp::{Kept, compose};

#[napi]
impl NativeKms {
    /// Has another root key open the store of this service from the next time on, and no longer the one before; the
    /// service goes on meanwhile.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn rekey_store<'env>(
        &self,
        env: &'env Env,
        new_root_key: RootKeyOptions,
    ) -> napi::Result<Object<'env>> {
        let store = guard("rekeyStore", || self.store.store())?;
        let token = self.store.token.token();
        let work = move || imp::rekey_open(&store, token.as_ref(), &new_root_key);
        spawn(env, self.engine.pool(), "rekeyStore.task", work, |_, ()| Ok(()))
    }

    /// Copies the store of this service to a directory that is missing or empty, while it goes on. Resolves to how many
    /// keys are in the copy.
    #[napi(ts_return_type = "Promise<number>")]
    pub fn backup_store<'env>(&self, env: &'env Env, to: String) -> napi::Result<Object<'env>> {
        let store = guard("backupStore", || self.store.store())?;
        let work = move || imp::backup_open(&store, &to).map(count);
        spawn(env, self.engine.pool(), "backupStore.task", work, |_, keys| Ok(keys))
    }
}

/// Looks at every file of a store that no service has open. JSON: `{"keys", "versions", "problems": [text]}`.
#[napi]
pub fn store_check(options: FileStoreOptions) -> napi::Result<String> {
    guard("storeCheck", || {
        let (keys, versions, problems) = imp::check(&options)?;
        let report = serde_json::json!({
            "keys": keys,
            "versions": versions,
            "problems": problems,
        });
        Ok(report.to_string())
    })
}

/// Copies a store that no service has open to a directory that is missing or empty. Returns how many keys it has.
#[napi]
pub fn store_backup(options: FileStoreOptions, to: String) -> napi::Result<u32> {
    guard("storeBackup", || imp::backup(&options, &to).map(count))
}

/// Checks a backup whole and copies it to a directory that is missing or empty. Returns how many keys it has.
#[napi]
pub fn store_restore(from: String, root_key: RootKeyOptions, to: String) -> napi::Result<u32> {
    guard("storeRestore", || imp::restore(&from, &root_key, &to).map(count))
}

/// Has another root key open a store from now on, and no longer the one before. No service has it open.
#[napi]
pub fn store_rekey(options: FileStoreOptions, new_root_key: RootKeyOptions) -> napi::Result<()> {
    guard("storeRekey", || imp::rekey(&options, &new_root_key))
}

fn count(keys: usize) -> u32 {
    u32::try_from(keys).unwrap_or(u32::MAX)
}
