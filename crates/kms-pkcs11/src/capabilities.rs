//! What a token can do, asked once when it is opened.

use std::fmt;

use cryptoki::mechanism::MechanismType;
use cryptoki::slot::Limit;

use crate::calls::Function;
use crate::error::Result;
use crate::session::Live;

/// Who the token is and what it offers. Its `Display` is for the log: one line, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Who it is.
    pub identity: Identity,
    /// Makes Ed25519 keys (CKM_EC_EDWARDS_KEY_PAIR_GEN) and signs with them (CKM_EDDSA).
    pub ed25519: bool,
    /// Makes X25519 keys and agrees with them (CKM_ECDH1_DERIVE), as it was tried with keys of a session; `None` where
    /// that did not tell.
    pub x25519: Option<bool>,
    /// Makes AES keys (CKM_AES_KEY_GEN) and seals under them (CKM_AES_GCM).
    pub aes_gcm: bool,
    /// Wraps keys under AES keys (CKM_AES_KEY_WRAP).
    pub aes_key_wrap: bool,
    /// Makes ML-DSA keys and signs with them (CKM_ML_DSA, PKCS#11 v3.2).
    pub ml_dsa: bool,
    /// Makes ML-KEM keys and decapsulates with them (CKM_ML_KEM, PKCS#11 v3.2).
    pub ml_kem: bool,
    /// Most sessions that the token allows; `None` where it does not say, or has no limit.
    pub max_sessions: Option<u64>,
    /// Whether keys can be made in it.
    pub writable: bool,
    /// Whether one more wrong PIN may lock it.
    pub pin_near_lock: bool,
}

/// What a token and its module say about themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Number of the slot; may change when the token comes back.
    pub slot: u64,
    /// Label of the token.
    pub label: String,
    /// Manufacturer of the token.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// Firmware as `major.minor`.
    pub firmware: String,
    /// Hardware as `major.minor`.
    pub hardware: String,
    /// The module's own description.
    pub library: String,
    /// The module's version as `major.minor`.
    pub library_version: String,
    /// The version of PKCS#11 that the module speaks.
    pub cryptoki: String,
}

impl Identity {
    pub(crate) fn ask(live: &mut Live) -> Result<Identity> {
        let (slot, context) = (live.slot()?, live.module().context());
        let token = live.calls().time(Function::GetTokenInfo, || context.get_token_info(slot))?;
        let library = live.calls().time(Function::GetInfo, || context.get_library_info())?;
        Ok(Identity {
            slot: slot.id(),
            label: token.label().to_owned(),
            manufacturer: token.manufacturer_id().to_owned(),
            model: token.model().to_owned(),
            serial: token.serial_number().to_owned(),
            firmware: token.firmware_version().to_string(),
            hardware: token.hardware_version().to_string(),
            library: library.library_description().to_owned(),
            library_version: library.library_version().to_string(),
            cryptoki: library.cryptoki_version().to_string(),
        })
    }

    /// `pkcs11-` and the model in lower-case letters and digits: `pkcs11-softhsmv2`, `pkcs11-yubihsm`.
    pub fn class(&self) -> String {
        let letters = self.model.chars().filter(char::is_ascii_alphanumeric);
        format!("pkcs11-{}", letters.collect::<String>().to_ascii_lowercase())
    }

    /// The class of what is sealed under a wrapping key of the token and used outside of it, such as the post-quantum
    /// companion of a key: `pkcs11-softhsmv2-sealed`.
    pub fn sealed_class(&self) -> String {
        format!("{}-sealed", self.class())
    }
}

impl Capabilities {
    pub(crate) fn ask(live: &mut Live) -> Result<Capabilities> {
        let identity = Identity::ask(live)?;
        let (slot, context) = (live.slot()?, live.module().context());
        let info = live.calls().time(Function::GetTokenInfo, || context.get_token_info(slot))?;
        let mechanisms = live.mechanisms()?;
        let all = |wanted: &[MechanismType]| wanted.iter().all(|it| mechanisms.contains(it));
        Ok(Capabilities {
            identity,
            ed25519: all(&[MechanismType::ECC_EDWARDS_KEY_PAIR_GEN, MechanismType::EDDSA]),
            x25519: None,
            aes_gcm: all(&[MechanismType::AES_KEY_GEN, MechanismType::AES_GCM]),
            aes_key_wrap: all(&[MechanismType::AES_KEY_GEN, MechanismType::AES_KEY_WRAP]),
            ml_dsa: all(&[MechanismType::ML_DSA_KEY_PAIR_GEN, MechanismType::ML_DSA]),
            ml_kem: all(&[MechanismType::ML_KEM_KEY_PAIR_GEN, MechanismType::ML_KEM]),
            max_sessions: match info.max_session_count() {
                Limit::Max(sessions) => Some(sessions),
                Limit::Unavailable | Limit::Infinite => None,
            },
            writable: !info.write_protected(),
            pin_near_lock: info.user_pin_final_try(),
        })
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity { manufacturer, model, firmware, library, .. } = &self.identity;
        write!(f, "{manufacturer} {model}, firmware {firmware}, module {library}:")?;
        for (name, offered) in [
            ("ed25519", Some(self.ed25519)),
            ("x25519", self.x25519),
            ("aes-gcm", Some(self.aes_gcm)),
            ("aes-key-wrap", Some(self.aes_key_wrap)),
            ("ml-dsa", Some(self.ml_dsa)),
            ("ml-kem", Some(self.ml_kem)),
            ("new keys", Some(self.writable)),
        ] {
            let said = offered.map_or("unknown", |offered| if offered { "yes" } else { "no" });
            write!(f, " {name} {said};")?;
        }
        match self.max_sessions {
            Some(sessions) => write!(f, " at most {sessions} sessions"),
            None => f.write_str(" no limit of sessions known"),
        }
    }
}
