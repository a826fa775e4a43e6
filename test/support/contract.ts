// Holds answers to the OpenAPI document: the helpers of the server's tests pass every answer through here.
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { expect } from 'vitest'
import { apiDocument } from '../../src/server/routes/documents.js'

// biome-ignore lint/suspicious/noExplicitAny: OpenAPI documents are of many shapes
type Any = any

export const document: Any = apiDocument()

const ajv = new Ajv2020({ strict: true, allErrors: true, strictRequired: false })
addFormats.default(ajv)
ajv.addKeyword({ keyword: 'components' })
ajv.addSchema({ $id: 'api', components: document.components })

/** What is wrong with a value by a schema of the document; nothing where it fits. */
export function faultsOf(schema: Any, value: unknown): string[] {
  const text = JSON.stringify(schema).replaceAll('"#/components/', '"api#/components/')
  const check = ajv.compile(JSON.parse(text))
  if (check(value)) return []
  return (check.errors ?? []).map(
    ({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`,
  )
}

/** The template of the document that a path is of: the one with the fewest parameters. */
export function templateOf(path: string): string | undefined {
  const segments = (path.split('?', 1)[0] ?? '').split('/')
  const fits = Object.keys(document.paths).filter(template => {
    const alias: string = document.paths[template]['x-alias'] ?? template
    return isOf(template) || isOf(alias)
  })
  function isOf(template: string): boolean {
    const parts = template.split('/')
    const isFit = (part: string, i: number) =>
      part === segments[i] || (part.startsWith('{') && segments[i] !== '')
    return parts.length === segments.length && parts.every(isFit)
  }
  const parameters = (template: string) => template.split('{').length
  return fits.sort((a, b) => parameters(a) - parameters(b))[0]
}

function follow(it: Any): Any {
  const [, , kind, name] = it?.$ref?.split('/') ?? []
  return name ? document.components[kind][name] : it
}

/** An answer of the API as the document has it: its status, type, headers and body. */
export function expectDocumented(
  method: string,
  path: string,
  answer: { status: number; headers: Record<string, unknown>; json: unknown; text: string },
): void {
  const where = `${method} ${path.split('?', 1)[0]} ${answer.status}`
  const template = templateOf(path)
  const operation = template && document.paths[template][method === 'HEAD' ? 'get' : method.toLowerCase()]
  const asError = follow({ $ref: '#/components/responses/E400' })
  // What is no operation is 404 or 405, in the words of all errors.
  const response = operation ? follow(operation.responses[answer.status]) : asError
  expect(response, `${where} is not documented`).toBeDefined()
  if (!operation) expect([401, 404, 405, 503], where).toContain(answer.status)
  for (const [name, header] of Object.entries(response.headers ?? {})) {
    const { required, schema } = follow(header)
    const value = answer.headers[name.toLowerCase()]
    if (required) expect(value, `${where}: header ${name}`).toBeDefined()
    if (typeof value === 'string' && schema.pattern) expect(value).toMatch(new RegExp(schema.pattern))
  }
  const type = String(answer.headers['content-type']).split(';')[0] ?? ''
  const content = response.content[type]
  expect(content, `${where}: ${type} is not documented`).toBeDefined()
  if (method === 'HEAD' || type !== 'application/json') return
  expect(faultsOf(content.schema, answer.json), `${where}: ${answer.text.slice(0, 500)}`).toEqual([])
}
