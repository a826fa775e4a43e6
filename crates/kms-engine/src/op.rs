//! The operations, by the names that metrics, audit and transports use, and the scopes that they need.

use kms_core::Scopes;

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Makes a key.
    Create,
    /// Makes a key of a private key that was made elsewhere.
    Import,
    /// Shows a key's public side.
    Describe,
    /// Shows the keys of a tenant, a page at a time.
    List,
    /// Shows where a key's private side is held.
    Attest,
    /// Makes a version.
    Rotate,
    /// Signs once.
    Sign,
    /// Verifies once.
    Verify,
    /// Signs an array of requests.
    SignBatch,
    /// Verifies an array of requests.
    VerifyBatch,
    /// Encrypts a data key.
    Wrap,
    /// Decrypts a data key.
    Unwrap,
    /// Encrypts a data key anew, to the head.
    Rewrap,
    /// Makes a key from a key.
    Derive,
    /// Asks for a private key, and is refused.
    Export,
    /// Takes a key or a version out of use.
    Disable,
    /// Takes a key or a version into use again.
    Enable,
    /// Schedules the destruction of a key or a version.
    Destroy,
    /// Cancels a destruction that is scheduled.
    CancelDestroy,
    /// Mints a capability within the caller's own.
    MintCapability,
}

impl Op {
    /// Every operation; the position is `op as usize`.
    pub const ALL: [Op; 20] = [
        Op::Create,
        Op::Import,
        Op::Describe,
        Op::List,
        Op::Attest,
        Op::Rotate,
        Op::Sign,
        Op::Verify,
        Op::SignBatch,
        Op::VerifyBatch,
        Op::Wrap,
        Op::Unwrap,
        Op::Rewrap,
        Op::Derive,
        Op::Export,
        Op::Disable,
        Op::Enable,
        Op::Destroy,
        Op::CancelDestroy,
        Op::MintCapability,
    ];

    /// The name in metrics and audit records.
    pub const fn name(self) -> &'static str {
        match self {
            Op::Create => "create",
            Op::Import => "import",
            Op::Describe => "describe",
            Op::List => "list",
            Op::Attest => "attest",
            Op::Rotate => "rotate",
            Op::Sign => "sign",
            Op::Verify => "verify",
            Op::SignBatch => "sign_batch",
            Op::VerifyBatch => "verify_batch",
            Op::Wrap => "wrap",
            Op::Unwrap => "unwrap",
            Op::Rewrap => "rewrap",
            Op::Derive => "derive",
            Op::Export => "export",
            Op::Disable => "disable",
            Op::Enable => "enable",
            Op::Destroy => "destroy",
            Op::CancelDestroy => "cancel_destroy",
            Op::MintCapability => "mint_capability",
        }
    }

    /// The scopes that a capability must have, all of them.
    pub const fn scopes(self) -> Scopes {
        match self {
            Op::Describe | Op::List | Op::Attest => Scopes::READ,
            Op::Import => Scopes::IMPORT,
            Op::Sign | Op::SignBatch => Scopes::SIGN,
            Op::Verify | Op::VerifyBatch => Scopes::VERIFY,
            Op::Wrap => Scopes::WRAP,
            Op::Unwrap => Scopes::UNWRAP,
            Op::Rewrap => Scopes::UNWRAP.union(Scopes::WRAP),
            Op::Create | Op::Rotate | Op::Derive => Scopes::ROTATE,
            Op::Disable | Op::Enable | Op::Destroy | Op::CancelDestroy => Scopes::DESTROY,
            Op::MintCapability => Scopes::ADMIN,
            // Whoever asks is refused.
            Op::Export => Scopes::NONE,
        }
    }

    /// Whether the audit log has a record of each.
    pub(crate) const fn is_recorded(self) -> bool {
        !self.only_reads() && !matches!(self, Op::SignBatch)
    }

    /// Whether it changes nothing and uses no private key.
    pub const fn only_reads(self) -> bool {
        matches!(self, Op::Describe | Op::List | Op::Attest | Op::Verify | Op::VerifyBatch)
    }

    /// Looks an operation up by name.
    pub fn parse(name: &str) -> Option<Op> {
        Op::ALL.into_iter().find(|op| op.name() == name)
    }
}
