import { type DocumentOptions, openApiDocument } from '../../api/document.js'
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

/** The OpenAPI document of this version, and of a service that differs in this from others. */
export function apiDocument(own: Omit<DocumentOptions, 'version'> = {}) {
  const endpoints = [
    ...keyEndpoints,
    ...signatureEndpoints,
    ...wrappingEndpoints,
    ...capabilityEndpoints,
    ...auditEndpoints,
  ]
  const routes = endpoints.map(endpoint => ({ ...endpoint, path: BASE + endpoint.path }))
  return openApiDocument(routes, { version: VERSION, ...own })
}

/** The OpenAPI document, and the same as a page. */
export function documentEndpoints(own?: Omit<DocumentOptions, 'version'>): DocumentEndpoint[] {
  const document = apiDocument(own)
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
