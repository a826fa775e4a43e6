import { BASE, type Endpoint } from './endpoint.js'

const ONE = ':kid'
const FOUR = ':tenant/:purpose/:alg/:uuid'

/** An endpoint of one key under both notations of its kid. */
function ofKey(
  endpoint: Pick<Endpoint, 'method' | 'op' | 'body'>,
  stem: string,
  action?: string,
): Endpoint[] {
  const tail = action === undefined ? '' : `/${action}`
  const after = action === undefined ? 0 : 1
  const label = `${BASE}${stem}/{kid}${tail}`
  return [
    { ...endpoint, path: `${stem}/${ONE}${tail}`, label, kid: { count: 1, after } },
    { ...endpoint, path: `${stem}/${FOUR}${tail}`, label, kid: { count: 4, after } },
  ]
}

/** Keys: create, list, import, describe, attest, rotate, derive, change of state, and the export that is always refused. */
export const keyEndpoints: readonly Endpoint[] = [
  { method: 'POST', path: '/keys', label: `${BASE}/keys`, op: 'create', body: true },
  {
    method: 'GET',
    path: '/keys',
    label: `${BASE}/keys`,
    op: 'list',
    body: false,
    query: ['tenant', 'limit', 'after'],
  },
  {
    method: 'POST',
    path: '/keys/import',
    label: `${BASE}/keys/import`,
    op: 'import',
    body: true,
    alone: true,
  },
  ...ofKey({ method: 'GET', op: 'describe', body: false }, '/keys'),
  ...ofKey({ method: 'GET', op: 'attest', body: false }, '/attest'),
  ...ofKey({ method: 'POST', op: 'rotate', body: true }, '/keys', 'rotate'),
  ...ofKey({ method: 'POST', op: 'derive', body: true }, '/keys', 'derive'),
  ...ofKey({ method: 'POST', op: 'disable', body: true }, '/keys', 'disable'),
  ...ofKey({ method: 'POST', op: 'enable', body: true }, '/keys', 'enable'),
  ...ofKey({ method: 'POST', op: 'destroy', body: true }, '/keys', 'destroy'),
  ...ofKey({ method: 'POST', op: 'cancel_destroy', body: true }, '/keys', 'cancel_destroy'),
  // The engine refuses it whatever the body says, so the body is not read.
  ...ofKey({ method: 'POST', op: 'export', body: false }, '/keys', 'export'),
]
