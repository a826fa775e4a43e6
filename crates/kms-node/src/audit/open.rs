//! Opening a log: its keys from a root key, its anchor, and what is done where it does not fit.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kms_audit::checkpoint::Origin;
use kms_audit::note::NoteSigner;
use kms_audit::{
    AuditError, AuditLog, Config, Device, Durability, MemoryLog, OnFull, Override, Parts,
};
use kms_core::{Anchor, KmsError, OsEntropy, Result, SystemClock};
use kms_engine::AuditVerify;
use kms_pkcs11::Token;
use kms_store::{StoreError, Unlocked};

use super::AuditOptions;
use super::device::{SETTING, TokenDevice};
use super::note_keys::{Verifier, signers};

/// Records that a log in memory keeps.
const RING: usize = 4096;
/// Who an override of the settings is recorded as.
pub(crate) const OPERATOR: &str = "operator";

impl AuditOptions {
    /// Which verifications are recorded.
    ///
    /// # Errors
    /// `BadRequest`, field `audit.verify`.
    pub(crate) fn verify(&self) -> Result<AuditVerify> {
        match self.verify.as_deref() {
            None | Some("none") => Ok(AuditVerify::None),
            Some("requests") => Ok(AuditVerify::Requests),
            Some("all") => Ok(AuditVerify::All),
            Some(_) => Err(fault("audit.verify", "must be none, requests or all")),
        }
    }

    fn origin(&self) -> Result<Origin> {
        let why = "must be ron-kms/ and one or more names of letters, digits, dots, dashes or _";
        Origin::parse(&self.log).map_err(|_| fault("audit.log", why))
    }

    fn config(&self) -> Result<Config> {
        let mut config = Config::new(self.origin()?);
        config.durability = match self.durability.as_deref() {
            None | Some("queued") => Durability::Queued,
            Some("fsync") => Durability::Fsync,
            Some(_) => return Err(fault("audit.durability", "must be queued or fsync")),
        };
        config.on_full = match self.on_full.as_deref() {
            None | Some("reject") => OnFull::Reject,
            Some("drop-oldest") => OnFull::DropOldest,
            Some(_) => return Err(fault("audit.on_full", "must be reject or drop-oldest")),
        };
        let interval = |ms: Option<u32>, default| {
            ms.map_or(default, |ms| Duration::from_millis(u64::from(ms.max(1))))
        };
        config.flush_interval = interval(self.flush_interval_ms, config.flush_interval);
        config.checkpoint_interval =
            interval(self.checkpoint_interval_ms, config.checkpoint_interval);
        if let Some(ops) = self.checkpoint_interval_ops {
            config.checkpoint_interval_ops = u64::from(ops.max(1));
        }
        config.attested = self.is_attested()?;
        Ok(config)
    }

    fn is_attested(&self) -> Result<bool> {
        match self.sealing.as_deref() {
            None | Some("software") => Ok(false),
            Some("attested") => Ok(true),
            Some(_) => Err(fault(SETTING, "must be software or attested")),
        }
    }

    /// Refuses what would never be sealed.
    ///
    /// # Errors
    /// `BadRequest`, field `audit.sealing`.
    pub(crate) fn check_sealing(&self, token: bool) -> Result<()> {
        match (self.is_attested()?, &self.dir, token) {
            (false, ..) | (true, Some(_), true) => Ok(()),
            (true, None, _) => Err(fault(
                SETTING,
                "attested needs a log in a directory: in memory there are no checkpoints",
            )),
            (true, Some(_), false) => Err(fault(
                SETTING,
                "attested needs the backend pkcs11, with a token that makes Ed25519 keys (a TPM is not in this version)",
            )),
        }
    }

    /// A log that writes nothing.
    pub(crate) fn in_memory(&self) -> Result<MemoryLog> {
        Ok(MemoryLog::new(self.origin()?, RING, Arc::new(SystemClock::new())))
    }

    /// Opens the log in its directory, with keys that `unlocked` gives and nothing else does.
    ///
    /// # Errors
    /// `Mismatch` where the log is not what it was.
    pub(crate) fn open(
        &self,
        dir: &Path,
        unlocked: &Unlocked,
        anchor: &Arc<dyn Anchor>,
        token: Option<(Token, Duration)>,
    ) -> Result<AuditLog, OpenError> {
        let config = self.config()?;
        let device = match token {
            None => None,
            Some((token, within)) => {
                let name = unlocked.subkey("audit/device").map_err(KmsError::from)?;
                let device = TokenDevice::new(token, within, &config.origin, &name);
                Some(Arc::new(device) as Arc<dyn Device>)
            }
        };
        let generation = self.key_generation.unwrap_or(1).max(1);
        let hybrid = self.hybrid == Some(true);
        let wanted = self.signers(&config.origin, unlocked, generation, hybrid)?;
        let decision =
            (self.accept_older == Some(true) || self.accept_keys == Some(true)).then(|| Override {
                actor: OPERATOR.into(),
                rollback: self.accept_older == Some(true),
                audit_key: self.accept_keys == Some(true),
            });
        let open = |signers: &[Arc<dyn NoteSigner>]| {
            let parts = Parts {
                anchor: Arc::clone(anchor),
                signers: signers.to_vec(),
                device: device.clone(),
                verifier: Arc::new(Verifier),
                clock: Arc::new(SystemClock::new()),
            };
            AuditLog::open(dir, config.clone(), parts, decision.as_ref())
        };
        match open(&wanted) {
            // Those that signed until now: the second signature was turned on or off since, or this is the next generation.
            Err(refused @ AuditError::AuditKey(_)) if self.accept_keys != Some(true) => {
                let before =
                    [(generation, !hybrid), (generation - 1, hybrid), (generation - 1, !hybrid)];
                for (generation, hybrid) in before.into_iter().filter(|it| it.0 > 0) {
                    let signers = self.signers(&config.origin, unlocked, generation, hybrid)?;
                    match open(&signers) {
                        Err(AuditError::AuditKey(_)) => {}
                        Err(error) => return Err(error.into()),
                        Ok(log) => {
                            log.rotate_audit_keys(wanted).map_err(OpenError::from)?;
                            return Ok(log);
                        }
                    }
                }
                Err(refused.into())
            }
            opened => opened.map_err(OpenError::from),
        }
    }

    fn signers(
        &self,
        origin: &Origin,
        unlocked: &Unlocked,
        generation: u32,
        hybrid: bool,
    ) -> Result<Vec<Arc<dyn NoteSigner>>> {
        let subkey = |alg: &str| unlocked.subkey(&format!("audit/{generation}/{alg}"));
        let ed25519 = subkey("ed25519")?;
        let ml_dsa = hybrid.then(|| subkey("ml-dsa-44")).transpose()?;
        signers(origin, &ed25519, ml_dsa.as_ref())
    }

    /// The keys of a log that has no store beside it: a header in its own directory, which the root key opens.
    pub(crate) fn own_keys(&self, dir: &Path) -> Result<Unlocked> {
        let missing = || fault("audit.root_key", "is needed for a log without a key store");
        let root = self.root_key.as_ref().ok_or_else(missing)?.load(None)?;
        kms_durable::Dir::open_or_create(dir).map_err(StoreError::from)?;
        let header = dir.join("root");
        match Unlocked::open(&header, &*root) {
            Err(StoreError::NoStore) => Ok(Unlocked::create(&header, &*root, &OsEntropy)?),
            unlocked => Ok(unlocked?),
        }
    }
}

/// Why a log was not opened.
pub(crate) enum OpenError {
    /// It is not what it was: a person must look at it.
    Mismatch(KmsError),
    /// Anything else.
    Other(KmsError),
}

impl From<AuditError> for OpenError {
    fn from(error: AuditError) -> OpenError {
        let error = match error {
            AuditError::Other(error) => return OpenError::Other(error),
            error => error,
        };
        let mismatch = matches!(
            error,
            AuditError::Damaged(_)
                | AuditError::Anchor(_)
                | AuditError::Checkpoint(_)
                | AuditError::AuditKey(_)
                | AuditError::Sealing(_)
                | AuditError::Device(_)
        );
        // The text for operators: it names files and records, and no secret.
        let mut text = error.to_string();
        text += match error {
            AuditError::Device(_) => "; put the token back, or start once with audit.accept_keys",
            AuditError::Sealing(_) => "; copy the log aside, and ask `ronctl audit verify`",
            _ => "",
        };
        let error = KmsError { message: text.into(), ..KmsError::from(error) };
        if mismatch { OpenError::Mismatch(error) } else { OpenError::Other(error) }
    }
}

impl From<KmsError> for OpenError {
    fn from(error: KmsError) -> OpenError {
        OpenError::Other(error)
    }
}

pub(crate) fn fault(field: &'static str, why: &'static str) -> KmsError {
    KmsError::bad_request(why).field(field)
}
