import { createHash } from 'node:crypto'

/** A text for everybody, and the name of this state of it. */
export interface Published {
  readonly text: string
  readonly etag: string
}

export function toPublished(text: string): Published {
  return { text, etag: `"${createHash('sha256').update(text).digest('base64url').slice(0, 27)}"` }
}
