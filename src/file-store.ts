/** Key stores in directories, as the addon takes them. */
import type { FileStoreOptions as NativeFileStore, RootKeyOptions as NativeRootKey } from '../index.js'
import { requireObject, requireString } from './bytes.js'
import type { FileStoreOptions, RootKeyOptions } from './kms-types.js'

/**
 * @throws KmsError `BadRequest` naming the field of a wrong type.
 */
export function fileStore(options: FileStoreOptions): NativeFileStore {
  requireObject(options, 'store')
  const { dir, rootKey: key, anchor, create, acceptOlder } = options
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
export function rootKey(options: RootKeyOptions, field = 'store.rootKey'): NativeRootKey {
  requireObject(options, field)
  const { kind, file, env } = options
  requireString(kind, `${field}.kind`)
  if (file !== undefined) requireString(file, `${field}.file`)
  if (env !== undefined) requireString(env, `${field}.env`)
  return { kind, ...(file !== undefined && { file }), ...(env !== undefined && { env }) }
}
