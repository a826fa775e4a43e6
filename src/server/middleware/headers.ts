import type { IncomingMessage } from 'node:http'

/** The value of a header, by its name in lower case. */
export type Header = (name: string) => string | undefined

/**
 * Reads headers where Node keeps them. What comes several times is joined with commas, as in the Fetch standard: Node
 * itself would take the first `Authorization` of two.
 */
export function headersOf({ rawHeaders }: Pick<IncomingMessage, 'rawHeaders'>): Header {
  return name => {
    let value: string | undefined
    for (let i = 0; i < rawHeaders.length; i += 2) {
      const raw = rawHeaders[i] as string
      if (raw.length !== name.length || raw.toLowerCase() !== name) continue
      const one = rawHeaders[i + 1] as string
      value = value === undefined ? one : `${value}, ${one}`
    }
    return value
  }
}
