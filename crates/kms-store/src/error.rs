//! What stops a store, each with its own name: an operator acts on it.

use std::fmt;

use kms_core::{ErrorCode, KmsError};

/// `Result` with [`StoreError`].
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// The kinds of file in a store. Messages name the kind; the path would name a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `store`: who may open it, and with what.
    Header,
    /// `head`: what belongs to the store.
    Head,
    /// `keys/…/key`.
    Key,
    /// `keys/…/vN`.
    Version,
    /// `answers/…`.
    Answer,
    /// The anchor.
    Anchor,
    /// The tombstones beside the anchor.
    Tombstones,
    /// The secret in a version, or the data key in a key.
    Sealed,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Role::Header => "the header of the store",
            Role::Head => "the head of the store",
            Role::Key => "the file of a key",
            Role::Version => "the file of a key version",
            Role::Answer => "a recorded answer",
            Role::Anchor => "the anchor",
            Role::Tombstones => "the anchor's list of tombstones",
            Role::Sealed => "a sealed secret",
        }
    }
}

/// Why a store cannot be opened, read or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Below the files.
    #[cfg(unix)]
    Disk(kms_durable::Error),
    /// There is no store in this directory.
    NoStore,
    /// The directory holds a store, or something else, where an empty one is needed.
    NotEmpty,
    /// The root key is another one, or what it sealed is damaged.
    WrongRootKey,
    /// A file was made by a newer version of the service.
    Newer {
        /// Which file.
        role: Role,
        /// Its format version.
        format: u8,
    },
    /// A file is not what was written: torn, flipped, swapped or forged.
    Damaged {
        /// Which file.
        role: Role,
        /// What does not fit.
        why: &'static str,
    },
    /// Keys or versions were removed from the directory, put back from an older copy, or added to it.
    Altered,
    /// The whole store is an older copy.
    OlderThanAnchor {
        /// Its revision.
        store: u64,
        /// The revision that was acknowledged.
        anchor: u64,
    },
    /// The store had an anchor, which is not there or was not given.
    AnchorMissing,
    /// A rekey failed after the new root key came into force, or may have.
    RekeyUnfinished {
        /// Whether it did. Otherwise either root key opens the store, and only trying tells which.
        in_force: bool,
        /// What went wrong.
        reason: Box<StoreError>,
    },
    /// An earlier failure left the outcome of a change open.
    ReadOnly,
    /// Any other, from below or above.
    Kms(KmsError),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(unix)]
            StoreError::Disk(error) => write!(f, "key store: {error}"),
            StoreError::NoStore => f.write_str("there is no key store in this directory"),
            StoreError::NotEmpty => f.write_str("the directory is not empty"),
            StoreError::WrongRootKey => f.write_str(
                "the root key does not open this store: it is another one, or the header is damaged",
            ),
            StoreError::Newer { role, format } => write!(
                f,
                "{} has format {format}, which this version does not know: use a newer one",
                role.name()
            ),
            StoreError::Damaged { role, why } => write!(f, "{} is damaged: {why}", role.name()),
            StoreError::Altered => f.write_str(
                "the files of the store do not belong together: some were removed, added or put back \
                 from an older copy",
            ),
            StoreError::OlderThanAnchor { store, anchor } => write!(
                f,
                "store older than anchor: it is at revision {store}, and revision {anchor} was acknowledged"
            ),
            StoreError::AnchorMissing => f.write_str(
                "the anchor of this store is missing: without it an older copy would not be found out",
            ),
            StoreError::RekeyUnfinished { in_force: true, reason } => write!(
                f,
                "the new root key is in force, and the rekey is not finished: {reason}"
            ),
            StoreError::RekeyUnfinished { in_force: false, reason } => write!(
                f,
                "the root key in force is the old one or the new one, so keep both until a check tells: \
                 {reason}"
            ),
            StoreError::ReadOnly => f.write_str(
                "the key store takes no changes: a sync failed earlier; check the disk, then restart",
            ),
            StoreError::Kms(error) => f.write_str(&error.message),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<KmsError> for StoreError {
    fn from(error: KmsError) -> StoreError {
        StoreError::Kms(error)
    }
}

#[cfg(unix)]
impl From<kms_durable::Error> for StoreError {
    fn from(error: kms_durable::Error) -> StoreError {
        StoreError::Disk(error)
    }
}

impl From<StoreError> for KmsError {
    fn from(error: StoreError) -> KmsError {
        let code = match &error {
            StoreError::Kms(error) => return error.clone(),
            StoreError::RekeyUnfinished { reason, .. } => {
                let mut made = KmsError::from((**reason).clone());
                made.message = error.to_string().into();
                return made;
            }
            StoreError::Damaged { .. } | StoreError::Altered => ErrorCode::Internal,
            _ => ErrorCode::StoreUnavailable,
        };
        #[cfg(unix)]
        let retryable = matches!(error, StoreError::Disk(kms_durable::Error::DiskFull { .. }));
        #[cfg(not(unix))]
        let retryable = false;
        let made = KmsError::new(code, error.to_string()).retryable(retryable);
        if retryable { made.retry_after_ms(1_000) } else { made }
    }
}
