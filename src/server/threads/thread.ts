/** A thread that serves the API: its own event loop and app, over the one engine. What `pool.ts` starts. */
import { parentPort, workerData } from 'node:worker_threads'
import { Registry } from 'prom-client'
import { CapabilityVerifier } from '../../capability.js'
import { type TlsMaterial, wipe } from '../../config/tls.js'
import { Kms } from '../../kms.js'
import { createLog } from '../../logging/log.js'
import { PROCESS_METRICS } from '../../metrics/catalog.js'
import { RouteMeter } from '../../metrics/http.js'
import { registerProcessMetrics } from '../../metrics/registry.js'
import { requireNative } from '../../native.js'
import { limitsOf } from '../api-listeners.js'
import { createFront } from '../front.js'
import { type Adopter, adopter } from '../listen.js'
import { capabilities } from '../middleware/auth.js'
import { peerThrough } from '../middleware/peer.js'
import type { FromThread, Order, ThreadData, ToThread } from './messages.js'

const data = workerData as ThreadData
const { config, cells, open, index } = data
const post = (message: FromThread) => parentPort?.postMessage(message)

// Whole lines, in one order: the first thread writes them.
const log = createLog({ ...config.log, write: line => post({ kind: 'line', line }) })
const kms = Kms.attach(data.kms)
const verifier = CapabilityVerifier.attach(data.capabilities)

const questions = new Map<number, (note: string | undefined) => void>()
let asked = 0
/** Witnesses are asked on the first thread, which knows what they said. */
async function checkpoint(): Promise<string> {
  const own = kms.audit.checkpoint()
  if (Object.keys(config.audit.witnesses).length === 0) return own
  asked += 1
  const id = asked
  const answer = new Promise<string | undefined>(resolve => questions.set(id, resolve))
  post({ kind: 'checkpoint', id })
  return (await answer) ?? own
}

const front = createFront({
  config,
  kms,
  authenticate: capabilities(verifier, peerThrough(config.capability.trusted_proxies)),
  log,
  draining: () => Atomics.load(data.draining, 0) !== 0,
  checkpoint,
  place: { index, of: config.workers },
  shared: {
    metrics: {
      rejected: cells.rejected,
      meters: data.meters.map(it => new RouteMeter(it.route, it.method, it.op, it.cells)),
      onMeter: ({ route, method, op, cells }) => post({ kind: 'meter', meter: { route, method, op, cells } }),
    },
    queue: cells.queue,
    spans: cells.spans,
  },
})

// An event loop goes on for a moment after its thread has failed. What comes then is not begun: it finds its connection closed.
let ended = false
process.once('exit', () => {
  ended = true
})
const fetch: typeof front.fetch = (request, env) =>
  ended ? new Promise(() => {}) : front.fetch(request, env)
const { onRefused } = front
const shared = { fetch, onRefused, limits: limitsOf(config) }
const tcp = adopter({ ...shared, tls: data.tls && buffers(data.tls) })
if (data.tls) wipe(buffers(data.tls))
const adopters: readonly Adopter[] = [tcp, ...(config.uds.path === '' ? [] : [adopter(shared)])]

const runtime = new Registry()
registerProcessMetrics(runtime)

parentPort?.on('message', (message: ToThread) => {
  if (message.kind === 'socket') take(message.listener, message.number)
  else if (message.kind === 'checkpoint') answer(message.id, message.note)
  else {
    // What cannot be carried out ends the thread; the one that takes its place begins with the new state.
    const { id, order } = message
    void carryOut(order).then(value => post({ kind: 'done', id, ...(value !== undefined && { value }) }))
  }
})
post({ kind: 'ready' })

function take(listener: number, number: number): void {
  let fd: number
  try {
    fd = requireNative().takeSocket(number)
  } catch {
    // The first thread took it back.
    return
  }
  adopters[listener]?.adopt(fd, () => void Atomics.sub(open, listener, 1))
}

function answer(id: number, note: string | undefined): void {
  questions.get(id)?.(note)
  questions.delete(id)
}

async function carryOut(order: Order): Promise<number | readonly number[] | undefined> {
  switch (order.kind) {
    case 'config':
      for (const listener of adopters) listener.setLimits(limitsOf(order.config))
      front.setConfig(order.config)
      return
    case 'tls':
      takeTls(order.tls)
      return
    case 'drain': {
      let cut = 0
      const onCut = () => {
        cut = Math.max(cut, front.metrics.inflight)
      }
      await Promise.all(adopters.map(listener => listener.close(order.ms, onCut)))
      await front.tracer?.stop()
      return cut
    }
    case 'measure': {
      const metrics = await runtime.getMetricsAsJSON()
      return PROCESS_METRICS.map(name => metrics.find(it => it.name === name)?.values[0]?.value ?? 0)
    }
  }
}

function takeTls(material: TlsMaterial): void {
  const tls = buffers(material)
  try {
    tcp.setTls(tls)
  } finally {
    wipe(tls)
  }
}

/** Between threads a Buffer becomes a bare Uint8Array. */
function buffers(material: TlsMaterial): TlsMaterial {
  const over = ({ buffer, byteOffset, byteLength }: Uint8Array) => Buffer.from(buffer, byteOffset, byteLength)
  return {
    ...material,
    cert: over(material.cert),
    key: over(material.key),
    ca: material.ca && over(material.ca),
  }
}
