import { describe, expect, it } from 'vitest'
import { headersOf } from '../../src/server/middleware/headers.js'

describe('headers of a request', () => {
  const header = headersOf({
    rawHeaders: ['Host', 'a', 'AUTHORIZATION', 'Bearer one', 'X-Corr-Id', '', 'Authorization', 'Bearer two'],
  })

  it('are found whatever the case of their name', () => {
    expect(header('host')).toBe('a')
  })

  it('are joined where they come twice, so that no second token is overlooked', () => {
    expect(header('authorization')).toBe('Bearer one, Bearer two')
  })

  it('are told apart from those that are not there, also where they are empty', () => {
    expect(header('x-corr-id')).toBe('')
    expect(header('x-corr')).toBeUndefined()
  })
})
