import { isUuid, requestId, uuidv7 } from '../../ids.js'

/** The two ids of a request, in its log lines and in its answer. */
export interface Ids {
  readonly requestId: string
  readonly corrId: string
}

/** Honours a correlation id that is a UUID, makes a UUIDv7 otherwise; the request id is always ours. */
export function openIds(corrHeader: string | undefined): Ids {
  const corrId = corrHeader !== undefined && isUuid(corrHeader) ? corrHeader : uuidv7()
  return { requestId: requestId(), corrId }
}

/** The headers that carry the ids back. */
export function idHeaders({ requestId: id, corrId }: Ids): Record<string, string> {
  return { 'x-request-id': id, 'x-corr-id': corrId }
}
