//! A log in a directory of its own, with a clock that stands still and an anchor in memory.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kms_core::{Anchor, AnchorState};
use kms_testkit::anchor::MemoryAnchor;
use kms_testkit::clock::ManualClock;
use kms_testkit::temp_dir::TempDir;

use crate::checkpoint::Origin;
use crate::reader::{Next, Records};
use crate::record::{Body, Operation, Target};
use crate::test_keys::{Crates, Ed25519};
use crate::verify::{Expect, Report, verify};
use crate::{AuditError, AuditLog, Config, Override, Parts};

pub(crate) const ORIGIN: &str = "ron-kms/test";

pub(crate) struct Place {
    pub(crate) root: TempDir,
    pub(crate) anchor: Arc<MemoryAnchor>,
    pub(crate) config: Config,
    pub(crate) parts: Parts,
}

pub(crate) fn config() -> Config {
    let mut config = Config::new(Origin::parse(ORIGIN).unwrap());
    config.segment_bytes = 256 * 1024;
    config.flush_interval = Duration::from_millis(20);
    // Only when asked for, and when the log is opened and closed.
    config.checkpoint_interval = Duration::from_secs(3600);
    config.checkpoint_interval_ops = u64::MAX;
    config
}

pub(crate) fn parts(anchor: Arc<dyn Anchor>) -> Parts {
    Parts {
        anchor,
        signers: vec![Arc::new(Ed25519::new(ORIGIN, 1))],
        device: None,
        verifier: Arc::new(Crates),
        clock: Arc::new(ManualClock::default()),
    }
}

impl Place {
    pub(crate) fn new(name: &str) -> Place {
        let anchor = Arc::new(MemoryAnchor::default());
        let parts = parts(anchor.clone());
        Place { root: TempDir::new(name), anchor, config: config(), parts }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.root.path().join("audit")
    }

    pub(crate) fn open(&self) -> Result<AuditLog, AuditError> {
        self.open_with(None)
    }

    /// Tries again where it is locked: the children of another test hold its lock between fork and exec.
    pub(crate) fn open_with(&self, decision: Option<&Override>) -> Result<AuditLog, AuditError> {
        for _ in 0..1000 {
            match self.try_open(decision) {
                Err(AuditError::Locked) => std::thread::sleep(Duration::from_millis(1)),
                opened => return opened,
            }
        }
        self.try_open(decision)
    }

    pub(crate) fn try_open(&self, decision: Option<&Override>) -> Result<AuditLog, AuditError> {
        AuditLog::open(&self.dir(), self.config.clone(), self.parts.clone(), decision)
    }

    /// What is on disk now, as a killed process would leave it, with the anchor as it is now.
    pub(crate) fn snapshot(&self, name: &str) -> Place {
        let anchor = Arc::new(MemoryAnchor::holding(self.anchor.load().unwrap()));
        let parts = Parts { anchor: anchor.clone(), ..self.parts.clone() };
        let copy = Place { root: TempDir::new(name), anchor, config: self.config.clone(), parts };
        copy_dir(&self.dir(), &copy.dir());
        copy
    }

    pub(crate) fn verify(&self) -> Report {
        verify(&self.dir(), &Crates, Expect::default(), &mut |_| ControlFlow::Continue(())).unwrap()
    }

    /// The bytes of every record.
    pub(crate) fn records(&self) -> Vec<Vec<u8>> {
        let mut records = Records::first(&self.dir()).unwrap();
        let mut all = Vec::new();
        while let Next::Record(entry) = records.next().unwrap() {
            all.push(entry.bytes.to_vec());
        }
        all
    }
}

/// An anchor in memory that does something before it takes a checkpoint; what fails there, fails.
pub(crate) struct Hooked<F> {
    pub(crate) inner: MemoryAnchor,
    pub(crate) before: F,
}

impl<F> Anchor for Hooked<F>
where
    F: Fn(u64, &[u8; 32]) -> kms_core::Result<()> + Send + Sync,
{
    fn load(&self) -> kms_core::Result<Option<AnchorState>> {
        self.inner.load()
    }
    fn advance_log(&self, size: u64, root: &[u8; 32]) -> kms_core::Result<()> {
        (self.before)(size, root)?;
        self.inner.advance_log(size, root)
    }
    fn advance_store(&self, revision: u64) -> kms_core::Result<()> {
        self.inner.advance_store(revision)
    }
    fn add_tombstone(&self, kid: &str) -> kms_core::Result<()> {
        self.inner.add_tombstone(kid)
    }
    fn override_with(
        &self,
        log: Option<(u64, [u8; 32])>,
        store: Option<u64>,
    ) -> kms_core::Result<()> {
        self.inner.override_with(log, store)
    }
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        // The next segment may be in the making.
        if !entry.file_name().to_string_lossy().starts_with(".tmp-") {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// An operation that is told apart by its request.
pub(crate) fn operation(request_id: &str) -> Body<'_> {
    Body::Operation(Operation {
        op: "sign",
        op_id: None,
        request_id,
        actor: "test",
        target: Target::Tenant("core"),
        input_hash: Some([7; 32]),
        refusal: None,
        attestation: None,
    })
}
