/** What a service is opened with: the options of {@link Kms.open}, checked, as the addon takes them. */
import type { NativeKms } from '../index.js'
import { auditOptions } from './audit.js'
import { KmsError } from './errors.js'
import { fileStore } from './file-store.js'
import type { Backend, KmsOptions } from './kms-types.js'
import { pkcs11Options } from './pkcs11.js'
import { pqPolicyJson } from './pq-policy.js'

type NativeOptions = ConstructorParameters<typeof NativeKms>[0]

/**
 * Checks that the parts of custody fit together, before the addon is needed.
 *
 * @throws KmsError `Unsupported`, `BadRequest`.
 */
export function checkCustody(options: KmsOptions): void {
  const { backend } = options ?? {}
  if (backend !== 'inmem' && backend !== 'file' && backend !== 'pkcs11') {
    const why = 'only the backends `inmem`, `file` and `pkcs11` are in this version'
    throw new KmsError('Unsupported', why, { field: 'backend' })
  }
  if ((backend !== 'inmem') !== (options.store !== undefined)) {
    const why = 'is needed with the backends `file` and `pkcs11`, and only there'
    throw new KmsError('BadRequest', why, { field: 'store' })
  }
  if ((backend === 'pkcs11') !== (options.pkcs11 !== undefined)) {
    throw new KmsError('BadRequest', 'is needed with the backend `pkcs11`, and only there', {
      field: 'pkcs11',
    })
  }
  otherBackends(backend, options.multiBackends)
}

/** Whether an audit log, or a token, is waited for: then nothing that it is needed for is done on the event loop. */
export function isWaitedFor({ backend, audit }: KmsOptions): boolean {
  return backend === 'pkcs11' || (audit?.durability === 'fsync' && audit.dir !== undefined)
}

/** The same for the addon. */
export function nativeOptions(options: KmsOptions): NativeOptions {
  const { backend } = options
  const others = otherBackends(backend, options.multiBackends)
  const { allowedAlgs, minDestroyDelayMs } = options
  if (allowedAlgs !== undefined && !Array.isArray(allowedAlgs)) {
    throw new KmsError('BadRequest', 'must be an array', { field: 'allowedAlgs' })
  }
  if (minDestroyDelayMs !== undefined && !Number.isSafeInteger(minDestroyDelayMs)) {
    throw new KmsError('BadRequest', 'must be a whole number', { field: 'minDestroyDelayMs' })
  }
  return {
    ...(allowedAlgs && { allowedAlgs: [...allowedAlgs] }),
    ...(options.lanes?.sign && { signLane: options.lanes.sign }),
    ...(options.lanes?.verify && { verifyLane: options.lanes.verify }),
    ...(options.lanes?.pq && { pqLane: options.lanes.pq }),
    ...(options.pq !== undefined && { pqPolicy: pqPolicyJson(options.pq) }),
    ...(minDestroyDelayMs !== undefined && { minDestroyDelayMs }),
    ...(options.store && {
      store: fileStore(options.store, backend === 'pkcs11' ? { kind: 'hsm' } : undefined),
    }),
    ...(options.pkcs11 && {
      pkcs11: pkcs11Options(options.pkcs11, {
        withFile: others,
        allowSignFallback: options.allowSignFallback === true,
      }),
    }),
    ...(backend === 'file' && others && { withPkcs11: true }),
    ...(options.audit !== undefined && { audit: auditOptions(options.audit) }),
    verifyOnlyOnMismatch: options.onMismatch === 'verify-only',
    ...(options.verifyAfterSign !== undefined && { verifyAfterSign: options.verifyAfterSign }),
    ...(options.allowImport !== undefined && { allowImport: options.allowImport }),
    ...(options.requireMlock !== undefined && { requireMlock: options.requireMlock }),
  }
}

/** Whether the keys of another backend are in the store too. */
function otherBackends(backend: Backend, listed: readonly Backend[] | undefined): boolean {
  const field = 'multiBackends'
  if (listed === undefined) return false
  if (!Array.isArray(listed) || listed[0] !== backend) {
    throw new KmsError('BadRequest', 'must begin with the backend', { field })
  }
  const known = (other: Backend) => other === 'file' || other === 'pkcs11'
  if (listed.length > 2 || new Set(listed).size !== listed.length || (listed[1] && !listed.every(known))) {
    throw new KmsError('Unsupported', 'only `file` and `pkcs11` can be together', { field })
  }
  return listed.length === 2
}
