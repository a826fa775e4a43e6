/** Canonical JSON. */
import { requireBytes } from '../bytes.js'
import { attempt } from '../errors.js'
import { requireNative } from '../native.js'

/**
 * The canonical form of a JSON text (RFC 8785): names sorted by UTF-16, strings and numbers as ECMAScript writes them, no
 * white space. Takes I-JSON (RFC 7493) with any finite number.
 *
 * @param text UTF-8, at most 1 MiB.
 * @throws KmsError `TooLarge`; `BadRequest`, field `json`, for what is not JSON, UTF-8 or well-formed Unicode, begins with
 * a byte order mark, has a name twice in one object, a number beyond doubles, nesting over 100 or over 65,536 values;
 * `Unsupported` without a native binary for this platform.
 */
export function canonicalJson(text: Uint8Array): Uint8Array {
  requireBytes(text, 'text')
  const native = requireNative()
  return attempt(() => native.canonicalJson(text))
}
