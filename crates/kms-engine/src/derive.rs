//! Derivation: keys that are made from keys, by name.

use kms_core::{Context, KeyId, KmsError, Result, SecretBytes, Version};
use kms_crypto::kdf::{self, Hash};
use uuid::{Builder, Uuid};

use crate::create::{Created, PublicHalves};
use crate::engine::Engine;
use crate::key::KeyFacts;
use crate::material::SecretHalf;
use crate::op::Op;

/// HKDF's `info` for the UUID of a derived key is this, then the label.
const UUID_PREFIX: &str = "ron-kms/derived-uuid/v1";

impl Engine {
    /// Makes a key from the head of another (or of the version that the kid names) and a context, under the same
    /// tenant, purpose and algorithms: HKDF-SHA-512 of the version's seed, with the label
    /// `ron-kms::<tenant>::<purpose>::<context>`. The same version and context give the same key, so asking again gives
    /// its kid again.
    ///
    /// The bytes of the derived key never leave: it is a key like any other.
    ///
    /// # Errors
    /// `NotFound`; `BadRequest`, field `context`, unless it has 1 to 256 bytes without control characters; `Conflict`
    /// for a version that is not in use, and where the derived key is not.
    pub fn derive(&self, context: &Context, kid: &str, name: &str) -> Result<Created> {
        self.run(Op::Derive, context, |trace| {
            let kid = self.know(context, kid)?;
            let parent = &kid.key;
            trace.key = Some(std::sync::Arc::clone(parent));
            parent.check_sound()?;
            let head = self.head_of(parent)?;
            let version = kid.version.unwrap_or(head.active);
            let held = parent.version(&head, version).ok_or_else(KmsError::not_found)?;
            let suite = held.suite;
            trace.alg = suite.label();
            self.check_enabled(parent, &head, version)?;
            self.check_authority(held)?;
            if held.is_remote() {
                let why = "keys are not derived from one that is in a token";
                return Err(KmsError::unsupported(why).field("kid"));
            }
            self.check_allowed(suite)?;
            self.check_signs(self.demand(parent), suite)?;
            let id = parent.id();
            let label = kdf::derive_label(&id.tenant, &id.purpose, name)?;
            let uuid_label = format!("{UUID_PREFIX}{label}");
            let derive = |secret: &SecretHalf| -> Result<(SecretBytes, SecretBytes)> {
                let seed = secret.seed().expose();
                let derived =
                    kdf::derive(Hash::Sha512, b"", seed, label.as_bytes(), suite.seed_len())?;
                let uuid = kdf::derive(Hash::Sha512, b"", seed, uuid_label.as_bytes(), 16)?;
                Ok((derived, uuid))
            };
            let (seed, uuid) = self.with_secret(parent, version, derive)??;
            let uuid: [u8; 16] = uuid
                .expose()
                .try_into()
                .map_err(|_| KmsError::internal("a derived UUID has a wrong length"))?;
            let uuid = Builder::from_custom_bytes(uuid).into_uuid();
            if let Some(known) = self.derived(&uuid)? {
                // No key is made, but the parent was used.
                let audit = self.end_use(Op::Derive, context, parent, version, label.as_bytes())?;
                return Ok(Created { audit, ..known });
            }
            let made = SecretHalf::from_seed(suite, self.lanes(), seed)?;
            let fresh = self.hold(suite, made)?;
            let id = KeyId { alg: suite.named_by(), uuid, ..id.clone() };
            let KeyFacts { signs, policy_hints, policy, .. } = &parent.facts;
            let facts = self.facts(id, *signs, policy_hints.clone(), *policy);
            // As every use of the parent: recorded while it still is in use, or not at all.
            let recording = parent
                .record_use()
                .and_then(|recording| parent.check_enabled(version).map(|()| recording))
                .inspect_err(|_| self.arena.remove(fresh.secret))?;
            let published = self.publish(Op::Derive, context, facts, fresh);
            drop(recording);
            match (published, self.derived(&uuid)?) {
                // Another call derived it meanwhile.
                (Err(_), Some(known)) => Ok(known),
                (published, _) => published,
            }
        })
    }

    fn derived(&self, uuid: &Uuid) -> Result<Option<Created>> {
        let Some(key) = self.keys.get(uuid) else { return Ok(None) };
        self.check_enabled(&key, &key.load(), Version::MIN)?;
        let public = PublicHalves::of(key.published(Version::MIN)?);
        Ok(Some(Created { kid: key.id().at(Version::MIN), public, audit: None }))
    }
}
