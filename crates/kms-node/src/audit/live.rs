//! What can be asked of the log of an open service.

#[cfg(unix)]
use std::sync::Arc;

use kms_audit::checkpoint::{Signed, signed_by};
use kms_audit::note::{Note, NoteKey};
#[cfg(unix)]
use kms_audit::{AuditLog, MemoryLog};
use kms_core::{ErrorCode, KmsError, Result};
use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;

use super::note_keys::Verifier;
use crate::kms::NativeKms;
use crate::task::{guard, spawn};

/// The log of a service.
#[derive(Clone, Default)]
pub(crate) enum Audit {
    /// There is none.
    #[default]
    Off,
    /// The last records, in memory.
    #[cfg(unix)]
    Memory(Arc<MemoryLog>),
    /// In a directory.
    #[cfg(unix)]
    Log(Arc<AuditLog>),
}

/// How the log of a service is.
#[napi(object)]
pub struct AuditStatus {
    /// `off`, `memory`, or `log`.
    pub kind: String,
    /// Records.
    pub size: f64,
    /// Records that the last checkpoint covers.
    pub checkpoint_size: f64,
    /// When that was made, in Unix milliseconds; null where there is none.
    pub checkpoint_at_ms: Option<f64>,
    /// Whether it takes records.
    pub writable: bool,
    /// Summaries of verifications that were dropped.
    pub dropped_verifications: f64,
    /// Records of operations that were not taken: the operations were refused.
    pub refused_records: f64,
    /// Checkpoints that were made by this process.
    pub checkpoints_made: f64,
    /// Attempts of this process to make one that failed.
    pub checkpoints_failed: f64,
    /// The verifier key of the device that seals it, where one does.
    pub device: Option<String>,
    /// Why operations are refused, where the device did not sign the last checkpoint.
    pub unsealed: Option<String>,
    /// Bytes of torn records that were dropped when it was opened.
    pub dropped_bytes: f64,
    /// What an operator's decision overrode when it was opened.
    pub overridden: Vec<String>,
    /// Why private keys are not used and nothing is changed, where what is kept is not what was acknowledged.
    pub refused: Option<String>,
}

#[cfg(unix)]
mod imp {
    use std::sync::Arc;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use kms_audit::reader::{Next, Records};
    use kms_audit::record::{Body, Target};
    use kms_audit::{AuditLog, SignedCheckpoint};
    use kms_core::{Clock, ErrorCode, KmsError, Result, Rights, SystemClock};

    use super::{Audit, absent};

    /// The shortest time between two checkpoints that are made because somebody asks for a proof.
    const CHECKPOINT_GAP_MS: u64 = 100;

    pub(super) fn log(audit: &Audit) -> Result<Arc<AuditLog>> {
        match audit {
            Audit::Log(log) => Ok(Arc::clone(log)),
            Audit::Memory(_) => Err(KmsError::unsupported(
                "this service keeps its audit log in memory: there are no checkpoints and no proofs",
            )),
            Audit::Off => Err(absent()),
        }
    }

    /// Who asks for a record.
    pub(super) struct Caller {
        pub(super) tenant: Option<String>,
        pub(super) rights: Option<Arc<Rights>>,
    }

    impl Caller {
        /// Whether they may see a record of this; an empty tenant is the service's own.
        fn may_see(&self, of: Target<'_>) -> bool {
            let of_own = |tenant: &str| self.tenant.as_deref().is_none_or(|own| own == tenant);
            match (of, &self.rights) {
                (Target::Key(kid), Some(rights)) => {
                    rights.permit_kid(&kid).is_ok() && rights.permit_without_payload().is_ok()
                }
                (Target::Tenant(""), Some(rights)) => rights.covers_service(),
                (Target::Tenant(tenant), Some(rights)) => rights.covers_tenant(tenant),
                (Target::Key(kid), None) => of_own(kid.tenant),
                (Target::Tenant(tenant), None) => of_own(tenant),
            }
        }
    }

    /// A checkpoint that covers record `seq`: the last one, or one that is made now.
    fn covering(log: &AuditLog, seq: u64) -> Result<Arc<SignedCheckpoint>> {
        let latest = log.latest_checkpoint()?;
        if latest.checkpoint.size > seq {
            return Ok(latest);
        }
        if log.status().size <= seq {
            return Err(KmsError::from(kms_audit::AuditError::NotFound("record")));
        }
        // Each costs some syncs and signatures, and stays in the log for ever.
        let made_ms = log.status().checkpoint_at_ms.unwrap_or_default();
        let since_ms = SystemClock::new().unix_ms().saturating_sub(made_ms);
        if since_ms < CHECKPOINT_GAP_MS {
            return Err(soon(CHECKPOINT_GAP_MS - since_ms));
        }
        if log.device().is_some() {
            // No thread of ours waits for a device.
            log.check_sealed()?;
            log.ask_for_checkpoint();
            return Err(soon(CHECKPOINT_GAP_MS));
        }
        Ok(log.checkpoint_now()?)
    }

    fn soon(wait_ms: u64) -> KmsError {
        let why = "a checkpoint that covers this record is made in a moment";
        let wait_ms = u32::try_from(wait_ms).unwrap_or_default();
        KmsError::new(ErrorCode::Backpressure, why).retry_after_ms(wait_ms)
    }

    /// An inclusion proof as JSON. Of a record of another tenant, or of a key that a capability does not cover, the
    /// caller learns nothing.
    pub(super) fn proof(log: &AuditLog, seq: u64, caller: &Caller) -> Result<String> {
        // First, so that nobody has checkpoints made for what they may not see.
        let record = record(log, seq, caller)?;
        let signed = covering(log, seq)?;
        let size = signed.checkpoint.size;
        let (leaf, path) = log.inclusion_proof(seq, size)?;
        let path: Vec<String> = path.iter().map(|hash| STANDARD.encode(hash)).collect();
        let mut answer = serde_json::json!({
            "log": signed.checkpoint.origin,
            "index": seq,
            "size": size,
            "leaf_hash_b64": STANDARD.encode(leaf),
            "proof_b64": path,
            "checkpoint": signed.note,
        });
        if let Some(record) = record {
            answer["record_b64"] = STANDARD.encode(record).into();
        }
        Ok(answer.to_string())
    }

    /// A consistency proof as JSON.
    pub(super) fn consistency(log: &AuditLog, old: u64, new: u64) -> Result<String> {
        let path = log.consistency_proof(old, new)?;
        let path: Vec<String> = path.iter().map(|hash| STANDARD.encode(hash)).collect();
        Ok(serde_json::json!({ "old": old, "new": new, "proof_b64": path }).to_string())
    }

    /// The bytes of a record; `None` where its segment is gone.
    fn record(log: &AuditLog, seq: u64, caller: &Caller) -> Result<Option<Vec<u8>>> {
        let unknown = || KmsError::from(kms_audit::AuditError::NotFound("record"));
        let mut records = Records::from(log.path(), seq)?;
        let found = match records.next()? {
            Next::Record(entry) if entry.record.seq == seq => {
                let of = match &entry.record.body {
                    Body::Operation(it) => it.target,
                    Body::Continuity(it) => Target::Key(it.from),
                    Body::Verifications(it) => Target::Tenant(it.tenant),
                    _ => Target::Tenant(""),
                };
                if !caller.may_see(of) {
                    return Err(unknown());
                }
                Some(entry.bytes.to_vec())
            }
            _ if !caller.may_see(Target::Tenant("")) => return Err(unknown()),
            _ => None,
        };
        Ok(found)
    }
}

pub(crate) fn absent() -> KmsError {
    KmsError::unsupported("this service has no audit log")
}

impl Audit {
    /// Makes a last checkpoint, and takes no more records.
    pub(crate) fn close(&self) {
        #[cfg(unix)]
        if let Audit::Log(log) = self {
            log.close();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn number(count: u64) -> f64 {
    count as f64
}

#[napi]
impl NativeKms {
    /// How the audit log is.
    #[napi]
    pub fn audit_status(&self) -> napi::Result<AuditStatus> {
        guard("auditStatus", || {
            let mut status = AuditStatus {
                kind: "off".into(),
                size: 0.0,
                checkpoint_size: 0.0,
                checkpoint_at_ms: None,
                writable: false,
                dropped_verifications: 0.0,
                refused_records: 0.0,
                checkpoints_made: 0.0,
                checkpoints_failed: 0.0,
                device: None,
                unsealed: None,
                dropped_bytes: 0.0,
                overridden: self.store.overridden.clone(),
                refused: self.engine.verifies_only().map(|it| it.message.to_string()),
            };
            #[cfg(unix)]
            match &self.audit {
                Audit::Off => {}
                Audit::Memory(log) => {
                    status.kind = "memory".into();
                    status.size = number(log.head()?.0);
                    status.writable = true;
                }
                Audit::Log(log) => {
                    let now = log.status();
                    status.kind = "log".into();
                    status.size = number(now.size);
                    status.checkpoint_size = number(now.checkpoint_size);
                    status.checkpoint_at_ms = now.checkpoint_at_ms.map(number);
                    status.writable = now.writable;
                    status.dropped_verifications = number(now.dropped_verifications);
                    status.refused_records = number(now.refused_records);
                    status.checkpoints_made = number(now.checkpoints_made);
                    status.checkpoints_failed = number(now.checkpoints_failed);
                    status.device = log.device().map(ToString::to_string);
                    status.unsealed = log.check_sealed().err().map(|it| it.message.to_string());
                    status.dropped_bytes = number(log.report().dropped_bytes);
                    status.overridden.extend(log.report().overridden.iter().cloned());
                }
            }
            Ok(status)
        })
    }

    /// Counts a request that was refused before anybody knew whose it was, by its error code.
    #[napi]
    pub fn audit_refused(&self, code: String) -> napi::Result<()> {
        guard("auditRefused", || {
            let known = ErrorCode::ALL.into_iter().find(|it| it.name() == code);
            let code = known.ok_or_else(|| KmsError::bad_request("no such code").field("code"))?;
            self.engine.audit_refused(code);
            Ok(())
        })
    }

    /// The last checkpoint: a signed note of C2SP.
    #[napi]
    pub fn audit_checkpoint(&self) -> napi::Result<String> {
        guard("auditCheckpoint", || {
            #[cfg(unix)]
            return Ok(imp::log(&self.audit)?.latest_checkpoint()?.note.clone());
            #[cfg(not(unix))]
            Err(absent())
        })
    }

    /// The proof that a record is in the log, as JSON: `{"log", "index", "size", "leaf_hash_b64", "proof_b64": [hash],
    /// "checkpoint", "record_b64"?}`. A caller with a tenant sees the records of that tenant only, and one with a grant
    /// those that it covers.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn audit_proof<'env>(
        &self,
        env: &'env Env,
        seq: f64,
        tenant: Option<String>,
        grant: Option<f64>,
    ) -> napi::Result<Object<'env>> {
        let asked = guard("auditProof", || {
            let grant = grant.map(crate::capability::find).transpose()?;
            let rights = grant.map(|grant| std::sync::Arc::clone(&grant.rights));
            Ok((index(seq)?, self.audit.clone(), rights))
        })?;
        let work = move || {
            let (seq, audit, rights) = asked;
            #[cfg(unix)]
            return imp::proof(&*imp::log(&audit)?, seq, &imp::Caller { tenant, rights });
            #[cfg(not(unix))]
            {
                let _ = (seq, audit, tenant, rights);
                Err(absent())
            }
        };
        spawn(env, self.engine.pool(), "auditProof.task", work, |_, proof| Ok(proof))
    }
}

#[napi]
impl NativeKms {
    /// The proof that the log of `old` records is a prefix of the one of `newer`, as JSON: `{"old", "new", "proof_b64"}`.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn audit_prefix_proof<'env>(
        &self,
        env: &'env Env,
        old: f64,
        newer: f64,
    ) -> napi::Result<Object<'env>> {
        let asked =
            guard("auditPrefixProof", || Ok((index(old)?, index(newer)?, self.audit.clone())))?;
        let work = move || {
            let (old, newer, audit) = asked;
            #[cfg(unix)]
            return imp::consistency(&*imp::log(&audit)?, old, newer);
            #[cfg(not(unix))]
            {
                let _ = (old, newer, audit);
                Err(absent())
            }
        };
        spawn(env, self.engine.pool(), "auditPrefixProof.task", work, |_, proof| Ok(proof))
    }

    /// Ends the use of segments that hold only records below `before`: they are moved into `archive`, or removed.
    /// Resolves to the first record that is still there.
    #[napi(ts_return_type = "Promise<number>")]
    pub fn audit_prune<'env>(
        &self,
        env: &'env Env,
        before: f64,
        archive: Option<String>,
    ) -> napi::Result<Object<'env>> {
        let asked = guard("auditPrune", || Ok((index(before)?, self.audit.clone())))?;
        let refused = self.engine.verifies_only().cloned();
        let work = move || {
            let (before, audit) = asked;
            #[cfg(unix)]
            {
                let archive = archive.as_deref().map(std::path::Path::new);
                match refused {
                    Some(refusal) => Err(refusal),
                    None => Ok(number(imp::log(&audit)?.prune(before, archive)?)),
                }
            }
            #[cfg(not(unix))]
            {
                let _ = (before, audit, archive, refused);
                Err(absent())
            }
        };
        spawn(env, self.engine.pool(), "auditPrune.task", work, |_, first| Ok(first))
    }
}

/// When the owner of a verifier key cosigned a note, in Unix seconds: null where it did not, or not validly.
#[napi]
pub fn audit_cosigned_at(note: String, verifier_key: String) -> napi::Result<Option<f64>> {
    guard("auditCosignedAt", || {
        let key = NoteKey::parse(&verifier_key)
            .map_err(|_| KmsError::bad_request("not a verifier key").field("verifierKey"))?;
        let note = Note::parse(note.as_bytes()).map_err(KmsError::from)?;
        Ok(match signed_by(&note, &key, &Verifier) {
            Signed::Yes(at) => at.map(number),
            Signed::No | Signed::Invalid => None,
        })
    })
}

fn index(seq: f64) -> Result<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
    if seq.fract() == 0.0 && (0.0..=9_007_199_254_740_991.0).contains(&seq) {
        Ok(seq as u64)
    } else {
        Err(KmsError::bad_request("must be a whole number from 0").field("seq"))
    }
}
