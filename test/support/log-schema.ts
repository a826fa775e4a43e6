// Holds lines of the log to docs/operations/log-line.schema.json.
import { readFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { expect } from 'vitest'

const schema = JSON.parse(
  readFileSync(new URL('../../docs/operations/log-line.schema.json', import.meta.url), 'utf8'),
)
const ajv = new Ajv2020({ strict: true, discriminator: false })
addFormats.default(ajv)

/** The schema of each event, by its name: an error then is of one event, not of all of them. */
const byEvent = new Map<string, ReturnType<typeof ajv.compile>>()
for (const event of schema.oneOf) {
  const check = ajv.compile({ ...event, $defs: schema.$defs })
  const { const: one, enum: many } = event.properties.event
  for (const name of many ?? [one]) byEvent.set(name, check)
}

/** Every event that the schema has. */
export const EVENTS: ReadonlySet<string> = new Set(byEvent.keys())

/** One line, parsed: an event of the schema, with its fields and no other. */
export function expectLogLine(line: Record<string, unknown>): void {
  const check = byEvent.get(String(line.event))
  expect(check, `no such event: ${JSON.stringify(line)}`).toBeDefined()
  expect(check?.(line) ? [] : check?.errors, JSON.stringify(line)).toEqual([])
}
