import { Refusal } from '../problem.js'

/**
 * The query of a URL as the JSON that the engine reads. Digits become a number where `numbers` names the field; the engine checks
 * what the values say.
 */
export function queryBody(url: string, names: readonly string[], numbers: ReadonlySet<string>): Uint8Array {
  const start = url.indexOf('?')
  const fields: Record<string, string | number> = {}
  for (const [name, value] of new URLSearchParams(start === -1 ? '' : url.slice(start))) {
    if (!names.includes(name)) throw new Refusal('BadRequest', 'unknown parameter', { field: '(query)' })
    if (Object.hasOwn(fields, name))
      throw new Refusal('BadRequest', 'parameter appears twice', { field: name })
    fields[name] = numbers.has(name) ? wholeNumber(name, value) : value
  }
  return Buffer.from(JSON.stringify(fields))
}

function wholeNumber(name: string, text: string): number {
  if (/^(0|[1-9][0-9]{0,8})$/.test(text)) return Number(text)
  throw new Refusal('BadRequest', 'must be a whole number', { field: name })
}
