import type { IncomingMessage } from 'node:http'

/** The value of a header, by its name in lower case. */
export type Header = (name: string) => string | undefined

/** A request, on a server of Node or on another. */
interface Asked {
  readonly req: { header(name: string): string | undefined }
  readonly env?: { readonly incoming?: IncomingMessage }
}

/** Reads the headers of a request: where Node keeps them, or else those of the Fetch standard. */
export function headersIn({ req, env }: Asked): Header {
  return env?.incoming ? headersOf(env.incoming) : name => req.header(name)
}

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
