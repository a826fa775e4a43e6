//! What a token says of a key: that it was made there and cannot leave.
//!
//! This is the token's word, read over the same session that signs. It is not a statement that the device signed;
//! PKCS#11 has none.

use std::time::Duration;

use cryptoki::object::{Attribute, AttributeType};
use kms_core::signer::KeyEvidence;
use kms_core::{ErrorCode, Kid, KmsError};

use crate::calls::Function;
use crate::capabilities::Identity;
use crate::error::Result;
use crate::object_id::ObjectId;
use crate::token::Token;

/// What the token says. An attribute that it does not give is `None`, and proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The attestation class, [`Identity::class`].
    pub class: String,
    /// The token and its module.
    pub identity: Identity,
    /// CKA_LOCAL: made on this token, not brought there.
    pub local: Option<bool>,
    /// CKA_SENSITIVE: its value is not shown.
    pub sensitive: Option<bool>,
    /// CKA_ALWAYS_SENSITIVE: nor was it ever.
    pub always_sensitive: Option<bool>,
    /// CKA_EXTRACTABLE: it can be wrapped and taken out.
    pub extractable: Option<bool>,
    /// CKA_NEVER_EXTRACTABLE: nor could it ever.
    pub never_extractable: Option<bool>,
}

impl Evidence {
    /// Whether the token says all of it: made there, never shown, never to be taken out.
    pub fn is_complete(&self) -> bool {
        self.local == Some(true)
            && self.sensitive == Some(true)
            && self.always_sensitive == Some(true)
            && self.extractable == Some(false)
            && self.never_extractable == Some(true)
    }

    /// For policies that require evidence.
    ///
    /// # Errors
    /// `AttestationMissing` unless [`Evidence::is_complete`].
    pub fn require(&self) -> Result<(), KmsError> {
        if self.is_complete() {
            return Ok(());
        }
        let message = "the token does not say that this key was made in it and cannot leave";
        Err(KmsError::new(ErrorCode::AttestationMissing, message))
    }
}

impl From<Evidence> for KeyEvidence {
    fn from(evidence: Evidence) -> KeyEvidence {
        let complete = evidence.is_complete();
        let said = |it: Option<bool>| it.map_or("unknown".to_owned(), |it| it.to_string());
        let identity = evidence.identity;
        let facts = vec![
            ("slot", identity.slot.to_string()),
            ("token_label", identity.label),
            ("token_manufacturer", identity.manufacturer),
            ("token_model", identity.model),
            ("token_serial", identity.serial),
            ("token_firmware", identity.firmware),
            ("token_hardware", identity.hardware),
            ("module", identity.library),
            ("module_version", identity.library_version),
            ("cryptoki_version", identity.cryptoki),
            ("cka_local", said(evidence.local)),
            ("cka_sensitive", said(evidence.sensitive)),
            ("cka_always_sensitive", said(evidence.always_sensitive)),
            ("cka_extractable", said(evidence.extractable)),
            ("cka_never_extractable", said(evidence.never_extractable)),
        ];
        KeyEvidence { class: evidence.class, complete, facts }
    }
}

impl Token {
    /// What the token says of this version now.
    ///
    /// # Errors
    /// [`crate::Error::NoSuchKey`], and those of every call.
    pub fn evidence(&self, kid: &Kid, within: Duration) -> Result<Evidence> {
        self.evidence_of(ObjectId::private(kid), within)
    }

    pub(crate) fn evidence_of(&self, id: ObjectId, within: Duration) -> Result<Evidence> {
        self.run(within, true, move |live| {
            let key = live.object(&id)?;
            let asked = [
                AttributeType::Local,
                AttributeType::Sensitive,
                AttributeType::AlwaysSensitive,
                AttributeType::Extractable,
                AttributeType::NeverExtractable,
            ];
            let call = Function::GetAttributeValue;
            let got = live.call(call, |session| session.get_attributes(key, &asked))?;
            let identity = Identity::ask(live)?;
            let mut evidence = Evidence {
                class: identity.class(),
                identity,
                local: None,
                sensitive: None,
                always_sensitive: None,
                extractable: None,
                never_extractable: None,
            };
            for attribute in got {
                match attribute {
                    Attribute::Local(it) => evidence.local = Some(it),
                    Attribute::Sensitive(it) => evidence.sensitive = Some(it),
                    Attribute::AlwaysSensitive(it) => evidence.always_sensitive = Some(it),
                    Attribute::Extractable(it) => evidence.extractable = Some(it),
                    Attribute::NeverExtractable(it) => evidence.never_extractable = Some(it),
                    _ => {}
                }
            }
            Ok(evidence)
        })
    }
}
