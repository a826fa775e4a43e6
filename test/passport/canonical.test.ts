// canonicalJson against the files of the author of RFC 8785 and against JavaScript itself, whose numbers and strings
// the RFC borrows.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { canonicalJson } from 'ron-kms/primitives'
import { describe, expect, it } from 'vitest'

const vectors = new URL('../vectors/jcs/', import.meta.url)
const canonical = (text: string) => Buffer.from(canonicalJson(Buffer.from(text))).toString()
const code = (bytes: string | Uint8Array) => {
  try {
    canonicalJson(Buffer.from(bytes))
    return 'taken'
  } catch (error) {
    return (error as { code: string }).code
  }
}

/** RFC 8785 in a few lines of JavaScript, for text that has no name twice. */
function reference(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(reference).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([name, each]) => `${JSON.stringify(name)}:${reference(each)}`).join(',')}}`
}

describe('canonicalJson', () => {
  it.each(readdirSync(new URL('input', vectors)))('gives the expected bytes of %s', name => {
    const input = readFileSync(new URL(`input/${name}`, vectors))
    const output = readFileSync(new URL(`output/${name}`, vectors))
    expect(Buffer.from(canonicalJson(input)).equals(output)).toBe(true)
  })

  it('writes the ten thousand numbers of the test file as JavaScript does', () => {
    // The generator of test/vectors/jcs/README.md.
    const staticU64s = [
      0x0000000000000000n,
      0x8000000000000000n,
      0x0000000000000001n,
      0x8000000000000001n,
      0xc46696695dbd1cc3n,
      0xc43211ede4974a35n,
      0xc3fce97ca0f21056n,
      0xc3c7213080c1a6acn,
      0xc39280f39a348556n,
      0xc35d9b1f5d20d557n,
    ]
    const numbers: number[] = []
    const view = new DataView(new ArrayBuffer(8))
    const add = (bits: bigint) => {
      view.setBigUint64(0, bits)
      const number = view.getFloat64(0)
      if (Number.isFinite(number)) numbers.push(number)
    }
    for (const bits of staticU64s) add(bits)
    let state = createHash('sha256').update('').digest()
    while (numbers.length < 10_000) {
      state = createHash('sha256').update(state).digest()
      for (let at = 0; at < 32; at += 8) add(state.readBigUInt64LE(at))
    }
    // In more digits than needed, so that reading rounds, too.
    const given = numbers.map(number => (number === 0 ? '-0.0' : number.toExponential(20)))
    expect(canonical(`[${given.join(',')}]`)).toBe(JSON.stringify(numbers))
  })

  it('agrees with JavaScript on any JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6, stringUnit: 'binary' }), value => {
        // What JSON.stringify wrote of lone surrogates is refused; that is another test.
        const text = JSON.stringify(value)
        fc.pre(!/\\ud[89a-f]/.test(text))
        expect(canonical(text)).toBe(reference(JSON.parse(text)))
        expect(canonical(JSON.stringify(value, null, 3))).toBe(reference(JSON.parse(text)))
      }),
      { numRuns: 500 },
    )
  })

  it('is stable: its output is its own canonical form', () => {
    fc.assert(
      fc.property(fc.json({ stringUnit: 'grapheme' }), text => {
        const once = canonical(text)
        expect(canonical(once)).toBe(once)
      }),
    )
  })

  it.each([
    ['a name twice', '{"a":1,"\\u0061":2}'],
    ['a lone surrogate', '["\\ud83d"]'],
    ['a number beyond doubles', '1e400'],
    ['a byte order mark', '\ufeff{}'],
    ['nesting without end', '['.repeat(100_000)],
    ['something after the value', '{} {}'],
    ['nothing', ''],
  ])('refuses %s', (_, text) => {
    expect(code(text)).toBe('BadRequest')
  })

  it('refuses bytes that are no UTF-8, and more than a MiB', () => {
    expect(code(Uint8Array.of(0x22, 0xff, 0x22))).toBe('BadRequest')
    expect(code(Buffer.alloc(2 ** 20 + 1, ' '))).toBe('TooLarge')
    const names = Array.from({ length: 70_000 }, (_, i) => `"${i}":1`)
    expect(code(`{${names.join(',')}}`)).toBe('BadRequest')
  })

  it('keeps names that mean something to JavaScript as what they are', () => {
    expect(canonical('{"b":1,"__proto__":{"x":1}}')).toBe('{"__proto__":{"x":1},"b":1}')
  })
})
