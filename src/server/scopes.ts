import type { Scope } from '../capability.js'
import type { Operation } from '../kms.js'

const READ = ['kms:read'] as const
const SIGN = ['kms:sign'] as const
const VERIFY = ['kms:verify'] as const
const ROTATE = ['kms:rotate'] as const
const DESTROY = ['kms:destroy'] as const

/**
 * What each operation needs; all of them. A new operation does not compile until it has a row. The key service holds
 * every call to the same table of its own.
 */
export const SCOPES = {
  create: ROTATE,
  import: ['kms:import'],
  describe: READ,
  list: READ,
  attest: READ,
  rotate: ROTATE,
  sign: SIGN,
  verify: VERIFY,
  sign_batch: SIGN,
  verify_batch: VERIFY,
  wrap: ['kms:wrap'],
  unwrap: ['kms:unwrap'],
  rewrap: ['kms:unwrap', 'kms:wrap'],
  derive: ROTATE,
  // Whoever asks is refused.
  export: [],
  disable: DESTROY,
  enable: DESTROY,
  destroy: DESTROY,
  cancel_destroy: DESTROY,
  mint_capability: ['kms:admin'],
  audit_checkpoint: READ,
  audit_proof: READ,
} as const satisfies Record<Operation | 'audit_checkpoint' | 'audit_proof', readonly Scope[]>
