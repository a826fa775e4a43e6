import { chmodSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs'
import { connect, type Server, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { directoryProblem } from '../config/uds.js'
import { requireNative } from '../native.js'
import { BindError } from './bind-error.js'

/** A socket in the file system, and who may connect to it. */
export interface UnixAddress {
  readonly path: string
  /** User ids; the user of this process alone where there are none. */
  readonly allowUids: readonly number[]
}

/** The directory of a socket, which nobody else may enter; made where it is missing. */
export function openDirectory(path: string): void {
  const dir = dirname(path)
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const problem = directoryProblem(dir)
  if (problem !== undefined) throw new BindError(problem)
}

/** Removes the socket of a process that is gone. Anything else that has the name stays, and is an error. */
export async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (!found) return
  if (!found.isSocket()) throw new BindError('another file has this name')
  if (await isServed(path)) throw new BindError('the address is in use')
  unlinkSync(path)
}

function isServed(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = connect(path)
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(false)
      else reject(error)
    })
  })
}

/** Only the owner may connect; the directory has kept all others out until now. */
export function setMode(path: string): void {
  chmodSync(path, 0o600)
}

/**
 * Ends every connection whose process is not of an allowed user, before a byte of it is read. The superuser passes the
 * modes of file and directory, and so this is the only step that stops it.
 */
export function admitPeers(server: Server, allowUids: readonly number[], onRefused: () => void): void {
  const allowed = new Set(allowUids.length > 0 ? allowUids : [process.geteuid?.() ?? -1])
  // Before HTTP's own listener, which finds the socket destroyed.
  server.prependListener('connection', (socket: Socket) => {
    if (allowed.has(uidOf(socket) ?? -1)) return
    onRefused()
    socket.destroy()
  })
}

/** The descriptor of a socket, where it has one. */
export function descriptorOf(socket: Socket): number | undefined {
  // Node has no public name for it.
  const { fd } = (socket as Socket & { _handle?: { fd?: number } })._handle ?? {}
  return fd === undefined || fd < 0 ? undefined : fd
}

/** The user of the process at the other end; none where the system does not say. */
function uidOf(socket: Socket): number | undefined {
  const fd = descriptorOf(socket)
  if (fd === undefined) return undefined
  try {
    return requireNative().peerUid(fd)
  } catch {
    return undefined
  }
}
