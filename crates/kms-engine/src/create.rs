//! Creating a key.

use std::sync::Arc;

use kms_core::{Algorithm, Context, KeyId, Kid, KmsError, Name, Result, Signs, Version};
use kms_crypto::ed25519::{KeyHandle, PublicKey, SigningKey};
use uuid::{Builder, Uuid};

use crate::engine::Engine;
use crate::key::{Key, KeyVersion};
use crate::op::Op;

/// A wish for a new key.
#[derive(Clone, Debug, Hash)]
pub struct CreateKey {
    /// Who it belongs to; the tenant `ron-kms` is reserved.
    pub tenant: String,
    /// What it is for.
    pub purpose: String,
    /// The name of its algorithm.
    pub alg: String,
    /// What its signatures cover; fixed for ever.
    pub signs: Option<String>,
    /// A JSON object that is kept and shown.
    pub policy_hints: Option<Box<str>>,
}

impl Engine {
    /// Makes a key with version 1 as its head.
    ///
    /// # Errors
    /// `BadRequest` naming the field, `Unsupported` for an algorithm that is not allowed here.
    pub fn create(&self, context: &Context, wish: &CreateKey) -> Result<(Kid, PublicKey)> {
        self.run(Op::Create, context, |trace| {
            let tenant = Name::parse_tenant(&wish.tenant)?;
            let purpose = Name::parse(&wish.purpose, "purpose")?;
            let alg = Algorithm::parse(&wish.alg)?;
            if !self.config.allowed_algs.contains(&alg) {
                return Err(KmsError::unsupported("algorithm is not allowed here").field("alg"));
            }
            trace.alg = Some(alg);
            let signs = wish.signs.as_deref().map_or(Ok(Signs::Digest), Signs::parse)?;
            context.permit(tenant.as_str()).map_err(|error| error.field("tenant"))?;

            let id = KeyId { tenant, purpose, alg, uuid: self.fresh_uuid()? };
            let kid = id.at(Version::MIN);
            let (version, public) = self.fresh_version()?;
            self.audit(Op::Create, context, &kid, alg, None)?;
            let created = self.config.clock.unix_ms();
            let key = Key::new(id, signs, created, wish.policy_hints.clone(), version);
            self.keys.insert(Arc::new(key))?;
            Ok((kid, public))
        })
    }

    /// Draws a private key into the arena.
    pub(crate) fn fresh_version(&self) -> Result<(KeyVersion, PublicKey)> {
        let signing = SigningKey::generate(self.config.sign_lane, &*self.config.entropy)?;
        let public = *signing.public();
        let secret = self.arena.insert(signing)?;
        Ok((KeyVersion { public: KeyHandle::new(public), secret }, public))
    }

    /// A random UUID (RFC 9562, version 4).
    fn fresh_uuid(&self) -> Result<Uuid> {
        let mut bytes = [0; 16];
        self.config.entropy.fill(&mut bytes)?;
        Ok(Builder::from_random_bytes(bytes).into_uuid())
    }
}
