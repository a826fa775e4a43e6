import { openApiDocument } from '../../api/document.js'
import { REFERENCE_POLICY, referencePage } from '../../api/reference.js'
import { VERSION } from '../version.js'
import { auditEndpoints } from './audit.js'
import { capabilityEndpoints } from './capabilities.js'
import { BASE } from './endpoint.js'
import { keyEndpoints } from './keys.js'
import { signatureEndpoints } from './signatures.js'
import { wrappingEndpoints } from './wrapping.js'

/** A text that is the same for everybody, token or not. */
export interface DocumentEndpoint {
  readonly method: 'GET'
  readonly path: string
  readonly text: string
  readonly contentType: string
  /** Beside those of every answer. */
  readonly headers: Readonly<Record<string, string>>
}

/** Another version of the service has others. */
const REVALIDATED = { 'cache-control': 'no-cache' }

/** The OpenAPI document of this version; with `families` of a service that makes keys of these only. */
export function apiDocument(families?: readonly string[]) {
  const endpoints = [
    ...keyEndpoints,
    ...signatureEndpoints,
    ...wrappingEndpoints,
    ...capabilityEndpoints,
    ...auditEndpoints,
  ]
  const routes = endpoints.map(endpoint => ({ ...endpoint, path: BASE + endpoint.path }))
  return openApiDocument(routes, { version: VERSION, ...(families && { families }) })
}

/** The OpenAPI document, and the same as a page. */
export function documentEndpoints(families?: readonly string[]): DocumentEndpoint[] {
  const document = apiDocument(families)
  return [
    {
      method: 'GET',
      path: '/openapi.json',
      text: JSON.stringify(document),
      contentType: 'application/json',
      headers: REVALIDATED,
    },
    {
      method: 'GET',
      path: '/reference',
      text: referencePage(document),
      contentType: 'text/html; charset=utf-8',
      headers: {
        ...REVALIDATED,
        'content-security-policy': REFERENCE_POLICY,
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
      },
    },
  ]
}
