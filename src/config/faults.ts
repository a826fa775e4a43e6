/** Exit code for a configuration that is refused (EX_CONFIG of sysexits). */
export const EXIT_CONFIG = 78

/** One reason to refuse a configuration. */
export interface Fault {
  readonly key: string
  /** Already fit to be printed: see {@link show} and {@link HIDDEN}. */
  readonly value: string
  readonly rule: string
}

/** Stands for a value that may be a secret. */
export const HIDDEN = '(not shown)'

const LONGEST_VALUE = 80

/** A value on one line, without control characters, cut when long. */
export function show(value: unknown): string {
  if (Array.isArray(value)) return clip(value.map(item => (isScalar(item) ? String(item) : '…')).join(','))
  return isScalar(value) ? clip(String(value)) : '(a table)'
}

function isScalar(value: unknown): boolean {
  return value === null || typeof value !== 'object'
}

function clip(text: string): string {
  const line = text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '?')
  return line.length > LONGEST_VALUE ? `${line.slice(0, LONGEST_VALUE)}…` : line || '(empty)'
}

/** The line that is printed for a fault. */
export function formatFault({ key, value, rule }: Fault): string {
  return `config: ${key} = ${value}: ${rule}`
}
