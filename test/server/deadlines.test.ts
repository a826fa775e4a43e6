import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Deadlines } from '../../src/server/middleware/deadlines.js'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'performance'] }))
afterEach(() => void vi.useRealTimers())

describe('deadlines of many on one timer', () => {
  it('tells each when its own time is over', () => {
    const deadlines = new Deadlines()
    const late: string[] = []
    deadlines.after(100, () => late.push('first'))
    vi.advanceTimersByTime(40)
    deadlines.after(100, () => late.push('second'))
    vi.advanceTimersByTime(59)
    expect(late).toEqual([])
    vi.advanceTimersByTime(1)
    expect(late).toEqual(['first'])
    vi.advanceTimersByTime(39)
    expect(late).toEqual(['first'])
    vi.advanceTimersByTime(1)
    expect(late).toEqual(['first', 'second'])
  })

  it('tells nobody who is done, and begins anew after all were', () => {
    const deadlines = new Deadlines()
    const late: string[] = []
    deadlines.after(100, () => late.push('done'))()
    vi.advanceTimersByTime(1000)
    deadlines.after(100, () => late.push('later'))
    expect(vi.getTimerCount()).toBe(1)
    vi.advanceTimersByTime(100)
    expect(late).toEqual(['later'])
    expect(vi.getTimerCount()).toBe(0)
  })
})
