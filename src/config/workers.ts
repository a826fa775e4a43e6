import { type Fault, show } from './faults.js'
import type { Config } from './schema.js'

/** Everything wrong with `workers` event loops. Each needs a part of every queue. */
export function workersFaults({ queue }: Config, workers: number): Fault[] {
  if (workers === 1) return []
  if (process.platform === 'win32') {
    const rule = 'must be 1 on Windows, where no thread can hand a connection to another'
    return [{ key: 'workers', value: show(workers), rule }]
  }
  const rule = `must be at least the number of workers, which is ${workers}`
  return (['max_inflight_sign', 'max_inflight_verify'] as const)
    .filter(name => queue[name] < workers)
    .map(name => ({ key: `queue.${name}`, value: show(queue[name]), rule }))
}
