//! The audit log of a service: how it is opened, what can be asked of it, and what can be done with its files alone.

mod continuity;
#[cfg(unix)]
pub(crate) mod device;
mod live;
pub(crate) mod note_keys;
mod offline;
#[cfg(unix)]
pub(crate) mod open;

use napi_derive::napi;

pub(crate) use live::Audit;

use crate::store::RootKeyOptions;

/// The audit log of a key service.
#[napi(object)]
pub struct AuditOptions {
    /// The log's name: `ron-kms/<instance>`.
    pub log: String,
    /// Its directory; without one the last records are kept in memory only, and no proofs.
    pub dir: Option<String>,
    /// What the audit keys are made of, where there is no store whose root key they are.
    pub root_key: Option<RootKeyOptions>,
    /// The second place, where there is no store with an anchor.
    pub anchor: Option<String>,
    /// `queued` by default, or `fsync`.
    pub durability: Option<String>,
    /// `reject` by default, or `drop-oldest`.
    pub on_full: Option<String>,
    /// The longest that a record of a `queued` log waits for the disk, in milliseconds; 100 by default.
    pub flush_interval_ms: Option<u32>,
    /// Records after which a checkpoint is made; 5,000 by default.
    pub checkpoint_interval_ops: Option<u32>,
    /// Time after which a checkpoint is made of what none covers, in milliseconds; 10,000 by default.
    pub checkpoint_interval_ms: Option<u32>,
    /// Which verifications are recorded: `none` by default, `requests`, or `all`.
    pub verify: Option<String>,
    /// Whether ML-DSA-44 signs checkpoints beside Ed25519; no by default.
    pub hybrid: Option<bool>,
    /// `software` by default, or `attested`: the token of the service signs every checkpoint too.
    pub sealing: Option<String>,
    /// Which audit keys sign, counted from 1, the default: a higher number makes new ones, which those before sign.
    pub key_generation: Option<u32>,
    /// Goes on with a log that is older than its anchor or disagrees with it. That is recorded in it.
    pub accept_older: Option<bool>,
    /// Goes on with audit keys, and with a device, that those before did not sign. That is recorded too.
    pub accept_keys: Option<bool>,
}
