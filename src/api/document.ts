/** The OpenAPI 3.1 document, made of the routes that are served and of what `operations.ts` and the schemas say. */

import { OPERATIONS, type OperationDoc, type OperationName } from './operations.js'
import { ALGORITHMS, PATTERNS } from './schemas/common.js'
import { SCHEMAS } from './schemas.js'

/** A route as the document needs it. */
export interface DocumentedRoute {
  readonly method: 'GET' | 'POST'
  /** In the router's notation, such as `/v1/kms/keys/:kid`. */
  readonly path: string
  readonly op: OperationName
  readonly query?: readonly string[]
}

/** What differs from service to service. */
export interface DocumentOptions {
  readonly version: string
  /** Families of algorithms that keys may be made of; all unless said. */
  readonly families?: readonly string[]
  /** The longest life of a capability that is minted on line, in seconds; 30 days unless said. */
  readonly maxLifeS?: number
}

type Json = { readonly [name: string]: unknown }

const PARAMETERS: Readonly<Record<string, Json>> = {
  tenant: { description: 'The part of the kid.', schema: { type: 'string', pattern: PATTERNS.name } },
  purpose: { description: 'The part of the kid.', schema: { type: 'string', pattern: PATTERNS.name } },
  alg: { description: 'The part of the kid.', schema: { $ref: '#/components/schemas/Algorithm' } },
  uuid: {
    description: 'The part of the kid; `#vN` after it, percent-encoded, names a version.',
    schema: { type: 'string', pattern: PATTERNS.uuidMaybeVersion },
  },
  seq: {
    description: 'The index of a record, as an operation was answered with it.',
    schema: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
  },
}

const QUERY: Readonly<Record<string, Json>> = {
  tenant: { required: true, schema: { type: 'string', pattern: PATTERNS.name } },
  limit: {
    description: 'Most keys in a page.',
    schema: { type: 'integer', minimum: 1, maximum: 512, default: 100 },
  },
  after: {
    description: '`next` of the page before. It must be of the same tenant.',
    schema: { type: 'string', pattern: PATTERNS.kidMaybeVersion },
  },
}

const DESCRIPTIONS: Readonly<Record<number, string>> = {
  400: 'The request is malformed (`BadRequest`, with the field), or asks for what this key or service does not do (`Unsupported`).',
  401: 'The token is missing or not valid.',
  403: 'The token does not allow this (`NoCapability`), or nobody may do it (`ExportForbidden`, `AttestationMissing`).',
  404: 'No such key, version or record, or none that the caller may know of.',
  408: 'The body did not arrive in time.',
  409: 'The state of the key forbids it, or the `op_id` is in flight (retryable) or was used with another body.',
  413: 'The body, an array or a message is over its limit.',
  415: 'The body is not unencoded `application/json`.',
  429: 'Refused before any work, because the service is full.',
  500: 'A fault of the service.',
  503: 'The custody of keys, the audit log or the service itself cannot be used now.',
  504: 'The deadline passed before work began.',
}
const ALWAYS = [400, 401, 403, 429, 500, 503, 504]
const WITH_BODY = [408, 413, 415]

/** How a path names a key. */
const PARTS = '{tenant}/{purpose}/{alg}/{uuid}'
const ALIAS = 'The path may hold the whole kid percent-encoded instead of its four parts (`x-alias`).'

const ID_HEADERS = {
  'X-Request-ID': { $ref: '#/components/headers/XRequestId' },
  'X-Corr-ID': { $ref: '#/components/headers/XCorrId' },
}

/** Builds the document. */
export function openApiDocument(routes: readonly DocumentedRoute[], options: DocumentOptions): Json {
  const paths: Record<string, Json> = {}
  for (const route of routes) {
    // A parameter of a path holds no slash for most tools, and a kid has three: the notation with a segment for each
    // part is the one that works everywhere.
    if (route.path.includes(':kid')) continue
    const path = route.path.replaceAll(/:([a-z]+)/g, '{$1}')
    const alias = path.replace(PARTS, '{kid}')
    paths[path] = {
      ...paths[path],
      [route.method.toLowerCase()]: operation(route),
      ...(alias !== path && { 'x-alias': alias }),
    }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'ron-kms',
      version: options.version,
      license: { name: 'MIT OR Apache-2.0' },
      description:
        'Keys that never leave, signatures, and data keys. Every answer that is not 2xx has the schema `ErrorEnvelope`; a path that is not here is answered with 404, and a method that a path does not have with 405 and `Allow`. Unknown fields are refused. Requests that change something take an `op_id`, or the header `Idempotency-Key`, which means the same.',
    },
    servers: [{ url: '/' }],
    tags: [...new Set(Object.values(OPERATIONS).map(({ tag }) => tag)), OWN_TAG].map(name => ({ name })),
    paths: { ...paths, ...OWN_PATHS },
    components: {
      schemas: schemas(options),
      headers: HEADERS,
      responses: Object.fromEntries(
        Object.keys(DESCRIPTIONS).map(status => [`E${status}`, errorResponse(Number(status))]),
      ),
      parameters: PARAMETER_COMPONENTS,
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: 'A capability, or the token of `--dev`.' },
      },
    },
    security: [{ bearer: [] }],
  }
}

function operation({ path, op, query }: DocumentedRoute): Json {
  const doc: OperationDoc = OPERATIONS[op]
  const names = [...path.matchAll(/:([a-z]+)/g)].map(([, name]) => name as string)
  const statuses = [...ALWAYS, ...doc.errors, ...(doc.request ? WITH_BODY : [])].sort((a, b) => a - b)
  return {
    operationId: doc.id,
    tags: [doc.tag],
    summary: doc.summary,
    description: [doc.description, names.length > 1 && ALIAS, `Capability: \`${doc.scope}\`.`]
      .filter(Boolean)
      .join(' '),
    parameters: [
      ...names.map(name => ({ name, in: 'path', required: true, ...PARAMETERS[name] })),
      ...(query ?? []).map(name => ({ name, in: 'query', ...QUERY[name] })),
      { $ref: '#/components/parameters/XCorrId' },
    ],
    ...(doc.request && {
      requestBody: {
        required: doc.bodyOptional !== true,
        content: { 'application/json': { schema: ref(doc.request) } },
      },
    }),
    responses: {
      ...(doc.response && { 200: success(doc.response) }),
      ...Object.fromEntries(statuses.map(status => [status, { $ref: `#/components/responses/E${status}` }])),
    },
  }
}

function success(response: NonNullable<OperationDoc['response']>): Json {
  const content =
    response === 'text/plain'
      ? { 'text/plain': { schema: { type: 'string' } } }
      : { 'application/json': { schema: ref(response) } }
  return { description: 'Done.', headers: ID_HEADERS, content }
}

function errorResponse(status: number): Json {
  return {
    description: DESCRIPTIONS[status],
    headers: {
      ...ID_HEADERS,
      ...((status === 429 || status === 503) && {
        'Retry-After': { $ref: '#/components/headers/RetryAfter' },
      }),
      ...(status === 401 && { 'WWW-Authenticate': { $ref: '#/components/headers/WwwAuthenticate' } }),
    },
    content: { 'application/json': { schema: ref('ErrorEnvelope') } },
  }
}

function ref(name: string): Json {
  return { $ref: `#/components/schemas/${name}` }
}

/** The schemas, with only the algorithms that the service makes keys of, and its bound on lives. */
function schemas({ families, maxLifeS }: DocumentOptions): Json {
  const { NewAlgorithm, MintCapabilityRequest: mint } = SCHEMAS
  const ttl = { ...mint.properties.ttl_s, ...(maxLifeS !== undefined && { maximum: maxLifeS }) }
  return {
    ...SCHEMAS,
    ...(families && { NewAlgorithm: { ...NewAlgorithm, enum: newAlgorithms(families) } }),
    MintCapabilityRequest: { ...mint, properties: { ...mint.properties, ttl_s: ttl } },
  }
}

function newAlgorithms(families: readonly string[]): string[] {
  const allowed = ALGORITHMS.filter(alg =>
    families.some(family => alg === family || alg.startsWith(`${family}-`)),
  )
  const hybrid = families.includes('ed25519') && families.includes('ml-dsa')
  return [...allowed, ...(hybrid ? ['hybrid'] : [])]
}

const HEADERS = {
  XRequestId: {
    description: 'Names the request in the log and in the audit log.',
    required: true,
    schema: { type: 'string', pattern: '^r-[0-9a-z]+$' },
  },
  XCorrId: {
    description: 'The one that was sent, where it is a UUID; else a new one.',
    required: true,
    schema: { type: 'string', format: 'uuid' },
  },
  RetryAfter: { description: 'Seconds.', required: true, schema: { type: 'integer', minimum: 1 } },
  WwwAuthenticate: { required: true, schema: { type: 'string' } },
}

const PARAMETER_COMPONENTS = {
  XCorrId: {
    name: 'X-Corr-ID',
    in: 'header',
    description: 'A UUID, version 7 best, that joins this request with others; any other text is ignored.',
    schema: { type: 'string' },
  },
}

const OWN_TAG = 'This document'

const text = (type: string, description: string) => ({
  tags: [OWN_TAG],
  security: [],
  responses: {
    200: {
      description,
      content: { [type]: { schema: { type: type === 'text/html' ? 'string' : 'object' } } },
    },
  },
})

/** Routes that describe the others. */
const OWN_PATHS = {
  '/openapi.json': {
    get: {
      operationId: 'openapi',
      summary: 'This document',
      ...text('application/json', 'OpenAPI 3.1.'),
    },
  },
  '/reference': {
    get: { operationId: 'reference', summary: 'This document, as a page', ...text('text/html', 'HTML.') },
  },
}
