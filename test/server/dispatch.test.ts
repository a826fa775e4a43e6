import { describe, expect, it } from 'vitest'
import { type Dispatcher, dispatchOf } from '../../src/server/dispatch.js'
import { FairQueue, QUEUE_LIMITS } from '../../src/server/fair-queue.js'
import { signatureEndpoints } from '../../src/server/routes/signatures.js'

/** Where a service with so many threads beside its event loop works on a body of so many bytes. */
async function placeOf(op: string, bytes: number, threads: number, tooLong = false): Promise<string> {
  const kms: Dispatcher = {
    dispatch: () => (tooLong ? null : 'here'),
    dispatchAsync: async () => 'thread',
    verifyCoalesced: batch => batch.map(() => ({ answer: tooLong ? null : 'here' })),
  }
  const endpoint = signatureEndpoints.find(it => it.op === op)
  if (!endpoint) throw new Error(`no ${op}`)
  const place = new FairQueue(QUEUE_LIMITS).enter('a', 'verify')
  const context = { requestId: 'r', actor: 'a' }
  return dispatchOf(endpoint, kms, threads)({ target: null, body: new Uint8Array(bytes), context, place })
}

describe('a request is worked on', () => {
  it('on the event loop, where it is short', async () => {
    expect(await placeOf('sign', 300, 4)).toBe('here')
    expect(await placeOf('verify', 300, 4)).toBe('here')
    expect(await placeOf('verify_batch', 8192, 4)).toBe('here')
  })

  it('on a thread, where it is long', async () => {
    expect(await placeOf('sign', 16_385, 4)).toBe('thread')
    expect(await placeOf('verify_batch', 8193, 4)).toBe('thread')
    expect(await placeOf('sign_batch', 4097, 4)).toBe('thread')
  })

  it('on the event loop up to a batch of some length, where the only thread would take turns with it', async () => {
    expect(await placeOf('verify_batch', 32_768, 1)).toBe('here')
    expect(await placeOf('verify_batch', 32_769, 1)).toBe('thread')
    expect(await placeOf('sign_batch', 4097, 1)).toBe('thread')
  })

  it('on a thread after all, where the engine says that it takes too long', async () => {
    for (const op of ['sign', 'verify', 'verify_batch'])
      expect(await placeOf(op, 300, 1, true)).toBe('thread')
  })
})
