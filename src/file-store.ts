/** Key stores in directories, as the addon takes them. */
import type {
  FileStoreOptions as NativeFileStore,
  NativeKms,
  RootKeyOptions as NativeRootKey,
} from '../index.js'
import { requireObject, requireString } from './bytes.js'
import { attemptAsync } from './errors.js'
import type { FileStoreOptions, RootKeyOptions } from './kms-types.js'
import { pkcs11Options } from './pkcs11.js'

/** A token that is opened for a root key and nothing else. */
const ALONE = { withFile: false, allowSignFallback: false } as const

/** The store of an open service. */
export class KeyStore {
  readonly #native: NativeKms

  /** Made by `Kms.open`. */
  constructor(native: NativeKms) {
    this.#native = native
  }

  /**
   * Has another root key open the store from the next time on, and no longer the one before. The service goes on
   * meanwhile; what a crash interrupts, the next start ends. A failure after which the new root key is in force, or may
   * be, says so; the same call goes on then.
   *
   * @throws KmsError (as a rejection) `Unsupported` without the backend `file`; `Conflict` while another, to another root
   * key, is not finished; `BadRequest` for a root key that cannot be read; `StoreUnavailable`.
   */
  async rekey(newRootKey: RootKeyOptions): Promise<void> {
    const key = rootKey(newRootKey, 'newRootKey')
    await attemptAsync(() => this.#native.rekeyStore(key))
  }

  /**
   * Copies the store to a directory that is missing or empty, while the service goes on: every change that was answered
   * before this call is in the copy. The audit log is not.
   *
   * @returns How many keys are in the copy.
   * @throws KmsError (as a rejection) `Unsupported` without the backend `file`; `StoreUnavailable`, also for a directory that is not empty.
   */
  async backup(directory: string): Promise<number> {
    requireString(directory, 'directory')
    return attemptAsync(() => this.#native.backupStore(directory))
  }
}

/**
 * @throws KmsError `BadRequest` naming the field of a wrong type.
 */
export function fileStore(options: FileStoreOptions, otherwise?: RootKeyOptions): NativeFileStore {
  requireObject(options, 'store')
  const { dir, rootKey: key = otherwise, anchor, create, acceptOlder } = options
  requireString(dir, 'store.dir')
  if (anchor !== undefined) requireString(anchor, 'store.anchor')
  return {
    dir,
    rootKey: rootKey(key),
    ...(anchor !== undefined && { anchor }),
    create: create === true,
    acceptOlder: acceptOlder === true,
  }
}

/**
 * @throws KmsError `BadRequest` naming the field of a wrong type.
 */
export function rootKey(options: RootKeyOptions | undefined, field = 'store.rootKey'): NativeRootKey {
  requireObject(options, field)
  const { kind, file, env, pkcs11 } = options
  requireString(kind, `${field}.kind`)
  if (file !== undefined) requireString(file, `${field}.file`)
  if (env !== undefined) requireString(env, `${field}.env`)
  return {
    kind,
    ...(file !== undefined && { file }),
    ...(env !== undefined && { env }),
    ...(pkcs11 !== undefined && { pkcs11: pkcs11Options(pkcs11, ALONE) }),
  }
}
