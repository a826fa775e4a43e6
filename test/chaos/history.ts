// What a client saw of one life of a key service: the lines that its driver said before it ended.

/** A refusal, as the driver says it. */
export interface Refusal {
  readonly code: string
  readonly message: string
  readonly retryable: boolean
  readonly field?: string
}

/** Whether a refusal leaves the outcome open; any other promises that nothing was changed. */
export const isInDoubt = ({ message }: Refusal): boolean => message.includes('left the outcome open')

/** An answer of the service. */
export type Answer = Readonly<Record<string, unknown>> & { readonly kid: string }

/** What became of one operation. */
export type Outcome =
  | { readonly kind: 'done'; readonly answer: Answer }
  | { readonly kind: 'refused'; readonly error: Refusal }
  /** Sent, and no answer came. */
  | { readonly kind: 'open' }

/** One version of a key as it was found. */
export interface FoundVersion {
  readonly state: string
  readonly public: string
}

/** A key as it was found. */
export interface FoundKey {
  readonly kid: string
  readonly error?: Refusal
  readonly state: string
  readonly head: string
  readonly pending?: string
  readonly versions: readonly FoundVersion[]
  /** Of the known message, or the code of the refusal. */
  readonly signature: string
}

/** All keys, and the verdicts on the recorded signatures. */
export interface Found {
  readonly keys: readonly FoundKey[]
  readonly signatures: readonly unknown[]
}

/** A proof that a record is in the audit log, with the checkpoint that it leads to. */
export interface Proved {
  readonly proved: number
  readonly size: number
  /** Hashes in hex. */
  readonly leaf: string
  readonly path: readonly string[]
  readonly checkpoint: string
}

/** One life. */
export interface Life {
  readonly opened: boolean
  readonly closed: boolean
  /** By index; an operation that is missing was not sent. */
  readonly outcomes: ReadonlyMap<number, Outcome>
  /** What came of operations that were sent again. */
  readonly repeated: ReadonlyMap<number, Outcome>
  readonly proofs: readonly Proved[]
  readonly found?: Found
  readonly after?: Found
  /** Verdicts on the recorded signatures at the end. */
  readonly verified: readonly unknown[]
}

// biome-ignore lint/suspicious/noExplicitAny: lines of several shapes, told apart below
type Line = any

/** Reads what a driver said. A last line that was cut is as if it had not been said. */
export function readLife(text: string): Life {
  const lines: Line[] = text
    .split('\n')
    .slice(0, -1)
    .map(line => JSON.parse(line))
  const outcomes = new Map<number, Outcome>()
  const repeated = new Map<number, Outcome>()
  const verified: unknown[] = []
  let [opened, closed] = [false, false]
  const shown: { found?: Found; after?: Found } = {}
  const outcome = ({ answer, error }: Line): Outcome =>
    error ? { kind: 'refused', error } : { kind: 'done', answer }
  for (const line of lines) {
    opened ||= line.opened === true
    closed ||= line.closed === true
    if ('tried' in line) outcomes.set(line.tried, { kind: 'open' })
    if ('done' in line) outcomes.set(line.done, outcome(line))
    if ('refused' in line) outcomes.set(line.refused, outcome(line))
    if ('repeated' in line) repeated.set(line.repeated, outcome(line))
    if ('verified' in line) verified.push(line.verified)
    for (const name of ['found', 'after'] as const)
      if (name in line) shown[name] = { keys: line[name], signatures: line.signatures }
  }
  const proofs = lines.filter(line => 'proved' in line)
  return { opened, closed, outcomes, repeated, verified, proofs, ...shown }
}
