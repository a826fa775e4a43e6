/** What each operation of the HTTP API is, beside its route: the other half of the OpenAPI document. */
import type { Operation } from '../kms-types.js'
import type { SchemaName } from './schemas.js'

/** Operations that are no operation of the engine. */
export type AuditOperation = 'audit_checkpoint' | 'audit_proof'

/** One operation, for documents and for the client. */
export interface OperationDoc {
  /** The `operationId`, and the name of the client's method. */
  readonly id: string
  readonly tag: 'Keys' | 'Signatures' | 'Data keys' | 'Capabilities' | 'Audit log'
  readonly summary: string
  readonly description?: string
  /** The capability that it takes. */
  readonly scope: string
  readonly request?: SchemaName
  /** Whether no body means `{}`. */
  readonly bodyOptional?: true
  /** What 200 is; without it there is no 200. */
  readonly response?: SchemaName | 'text/plain'
  /** Statuses of errors beside those that every operation has. */
  readonly errors: readonly (404 | 409)[]
}

const WRAPPING = 'A wish that is tried again would make another data key: an `op_id` is refused.'

/** A new operation does not compile until it is described here. */
export const OPERATIONS = {
  create: {
    id: 'createKey',
    tag: 'Keys',
    summary: 'Make a key',
    scope: 'kms:rotate',
    request: 'CreateKeyRequest',
    response: 'CreatedKey',
    errors: [404, 409],
  },
  import: {
    id: 'importKey',
    tag: 'Keys',
    summary: 'Make a key of a private key that was made elsewhere',
    description:
      'Only where the setting `security.allow_import` says so. The public key must be the private key’s own. A copy of the private key is elsewhere still: rotate soon.',
    scope: 'kms:import',
    request: 'ImportKeyRequest',
    response: 'CreatedKey',
    errors: [404, 409],
  },
  list: {
    id: 'listKeys',
    tag: 'Keys',
    summary: 'List the keys of a tenant',
    description:
      'A page at a time, in an order that stays: every key that was there before the first page is in exactly one. A key that is made meanwhile may be left out.',
    scope: 'kms:read',
    response: 'KeyList',
    errors: [404],
  },
  describe: {
    id: 'describeKey',
    tag: 'Keys',
    summary: 'Show the public side of a key',
    scope: 'kms:read',
    response: 'KeyDescription',
    errors: [404],
  },
  attest: {
    id: 'attestKey',
    tag: 'Keys',
    summary: 'Say where a key is held',
    scope: 'kms:read',
    response: 'KeyAttestation',
    errors: [404],
  },
  rotate: {
    id: 'rotateKey',
    tag: 'Keys',
    summary: 'Add a version',
    description:
      'Signatures of every earlier version go on verifying. A kid with `#vN` is rotated only while N is the head.',
    scope: 'kms:rotate',
    request: 'RotateKeyRequest',
    bodyOptional: true,
    response: 'RotatedKey',
    errors: [404, 409],
  },
  derive: {
    id: 'deriveKey',
    tag: 'Keys',
    summary: 'Make a key from a key and a context',
    description: 'The same version and context give the same key again.',
    scope: 'kms:rotate',
    request: 'DeriveKeyRequest',
    response: 'CreatedKey',
    errors: [404, 409],
  },
  disable: {
    id: 'disableKey',
    tag: 'Keys',
    summary: 'Take a key or a version out of use',
    scope: 'kms:destroy',
    request: 'ChangeStateRequest',
    bodyOptional: true,
    response: 'StateChange',
    errors: [404, 409],
  },
  enable: {
    id: 'enableKey',
    tag: 'Keys',
    summary: 'Take a key or a version into use again',
    scope: 'kms:destroy',
    request: 'ChangeStateRequest',
    bodyOptional: true,
    response: 'StateChange',
    errors: [404, 409],
  },
  destroy: {
    id: 'destroyKey',
    tag: 'Keys',
    summary: 'Schedule the destruction of a key or a version',
    description: 'Out of use at once; the private half is gone for good when the delay is over.',
    scope: 'kms:destroy',
    request: 'DestroyKeyRequest',
    bodyOptional: true,
    response: 'StateChange',
    errors: [404, 409],
  },
  cancel_destroy: {
    id: 'cancelDestroy',
    tag: 'Keys',
    summary: 'Cancel a destruction that is scheduled',
    description: 'The key or version is disabled then.',
    scope: 'kms:destroy',
    request: 'ChangeStateRequest',
    bodyOptional: true,
    response: 'StateChange',
    errors: [404, 409],
  },
  export: {
    id: 'exportKey',
    tag: 'Keys',
    summary: 'Refused, always: private keys never leave',
    scope: 'any',
    errors: [404],
  },
  sign: {
    id: 'sign',
    tag: 'Signatures',
    summary: 'Sign under a key, or under a set of keys',
    description:
      'Only the head signs: of a version that is not the head the answer is 409. A digest is signed with a key whose `signs` is `digest`, a message with one whose `signs` is `message`; messages that begin with `ron-kms/` are refused.',
    scope: 'kms:sign',
    request: 'SignRequest',
    response: 'SignResponse',
    errors: [404, 409],
  },
  verify: {
    id: 'verify',
    tag: 'Signatures',
    summary: 'Verify the signatures over one payload',
    description:
      '`ok` is the verdict. What could not be checked, such as an unknown kid, is an error and no verdict.',
    scope: 'kms:verify',
    request: 'VerifyRequest',
    response: 'VerifyResponse',
    errors: [404, 409],
  },
  sign_batch: {
    id: 'signBatch',
    tag: 'Signatures',
    summary: 'Sign many',
    description: 'An answer or an error for each item, in order, whatever becomes of the others.',
    scope: 'kms:sign',
    request: 'SignBatchRequest',
    response: 'SignBatchResponse',
    errors: [],
  },
  verify_batch: {
    id: 'verifyBatch',
    tag: 'Signatures',
    summary: 'Verify many',
    description: 'A verdict or an error for each item, in order, whatever becomes of the others.',
    scope: 'kms:verify',
    request: 'VerifyBatchRequest',
    response: 'VerifyBatchResponse',
    errors: [],
  },
  wrap: {
    id: 'wrap',
    tag: 'Data keys',
    summary: 'Encrypt a data key to the head of a key',
    description: WRAPPING,
    scope: 'kms:wrap',
    request: 'WrapRequest',
    response: 'WrapResponse',
    errors: [404, 409],
  },
  unwrap: {
    id: 'unwrap',
    tag: 'Data keys',
    summary: 'Decrypt a data key',
    scope: 'kms:unwrap',
    request: 'UnwrapRequest',
    response: 'UnwrapResponse',
    errors: [404, 409],
  },
  rewrap: {
    id: 'rewrap',
    tag: 'Data keys',
    summary: 'Encrypt a data key anew, to the head',
    description: `The data key never leaves the service. ${WRAPPING}`,
    scope: 'kms:unwrap and kms:wrap',
    request: 'UnwrapRequest',
    response: 'WrapResponse',
    errors: [404, 409],
  },
  mint_capability: {
    id: 'mintCapability',
    tag: 'Capabilities',
    summary: 'Mint a capability within one’s own',
    description:
      'The new one has all caveats of its minter beside those named here. Asked again it would be another one: an `op_id` is refused.',
    scope: 'kms:admin',
    request: 'MintCapabilityRequest',
    response: 'MintedCapability',
    errors: [],
  },
  audit_checkpoint: {
    id: 'auditCheckpoint',
    tag: 'Audit log',
    summary: 'The last checkpoint, with the cosignatures of witnesses',
    description: 'A signed note (C2SP tlog-checkpoint). 404 where the service has no log in a directory.',
    scope: 'kms:read',
    response: 'text/plain',
    errors: [404],
  },
  audit_proof: {
    id: 'auditProof',
    tag: 'Audit log',
    summary: 'The proof that a record is in the log',
    scope: 'kms:read',
    response: 'InclusionProof',
    errors: [404],
  },
} as const satisfies Record<Operation | AuditOperation, OperationDoc>

/** The name of an operation. */
export type OperationName = keyof typeof OPERATIONS
