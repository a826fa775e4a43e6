//! A PKCS#11 module that stands in front of a real one and fails on demand. For tests only.
//!
//! `KMS_FAULT_MODULE` names the real module and `KMS_FAULT_PLAN` a file that says what fails ([`plan`]); the file is
//! read again whenever it is another one. [`Report`] says what was seen, by way of the exported `kms_fault_report`.

#[expect(unsafe_code, reason = "the C interface of PKCS#11")]
mod module;
pub mod plan;
mod state;
#[expect(unsafe_code, reason = "the C interface of PKCS#11")]
mod x25519;

pub use module::{C_GetFunctionList, kms_fault_report};
pub use state::Report;
