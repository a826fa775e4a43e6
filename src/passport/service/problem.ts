import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { type Ids, idHeaders } from '../../server/middleware/ids.js'
import { type Problem, retryAfterMs } from '../../server/problem.js'

/** The error envelope of this service: flat, with the codes of the whole package. */
export function envelope(problem: Problem) {
  const { code, message, retryable } = problem
  // JSON.stringify leaves out what is undefined.
  return { code, message, retryable, retry_after_ms: retryAfterMs(problem) }
}

/** Makes every error answer. */
export function problemResponse(
  problem: Problem,
  status: ContentfulStatusCode,
  ids: Ids,
  headers: Readonly<Record<string, string>> = {},
): Response {
  const wait = retryAfterMs(problem)
  return new Response(JSON.stringify(envelope(problem)), {
    status,
    headers: {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      ...(wait !== undefined && { 'retry-after': String(Math.max(1, Math.ceil(wait / 1000))) }),
      ...idHeaders(ids),
      ...headers,
    },
  })
}
