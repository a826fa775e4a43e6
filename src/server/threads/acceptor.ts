import { createServer } from 'node:net'
import { bind, type Listener, type ListenerParts, refuseBelow } from '../listen.js'
import { FULL, PEER } from '../raw-refusals.js'
import { admitPeers, descriptorOf } from '../unix-socket.js'

/** What an acceptor needs of the pool. */
export interface AcceptorHost {
  /** Connections that threads have of this listener, those on their way included. */
  connections(): number
  /** Hands a duplicate of a socket to a thread; throws where there is no descriptor for it. */
  pass(fd: number): void
}

/** Binds an address, and hands every connection on before a byte of it is read. */
export async function accept(
  parts: Pick<ListenerParts, 'key' | 'address' | 'limits' | 'onRefused'>,
  host: AcceptorHost,
): Promise<Pick<Listener, 'address' | 'setLimits' | 'close'>> {
  const { address } = parts
  let { limits } = parts
  const server = createServer({ pauseOnConnect: true })
  server.on('connection', socket => {
    const fd = descriptorOf(socket)
    socket.on('error', () => {})
    // Whoever may not connect has been cut off.
    if (socket.destroyed || fd === undefined) return
    try {
      if (host.connections() >= limits.maxConns) refuseBelow(parts, socket.remoteAddress, FULL)
      else host.pass(fd)
    } catch {
      refuseBelow(parts, socket.remoteAddress, FULL)
    } finally {
      // The thread has a duplicate.
      socket.destroy()
    }
  })
  if ('path' in address) admitPeers(server, address.allowUids, () => refuseBelow(parts, undefined, PEER))
  return {
    address: await bind(server, parts),
    setLimits: next => {
      limits = next
    },
    close: () => new Promise(resolve => server.close(() => resolve())),
  }
}
