// Loaded into a server by --import: writes down when its sockets send and receive, for the hop-by-hop account of workflows.ts.
// Knows no code of ours; what travels is told by the peer's port and the first bytes.

import { subscribe } from 'node:diagnostics_channel'
import { appendFileSync } from 'node:fs'
import { Socket } from 'node:net'

/** `at`: performance.now() of this process, ms. `id`: what pairs a question with its answer, where the protocol has one. */
export type Traced = { at: number; what: Hop | 'http'; way: 'out' | 'in'; id?: number }
export type Hop = 'kafka' | 'redis' | 'postgres'

const PORTS: ReadonlyMap<number, Hop> = new Map(
  (process.env['TRACE_PORTS'] ?? '').split(',').map((one) => {
    const [port, hop] = one.split('=')
    return [Number(port), hop as Hop]
  }),
)
const traced: Traced[] = []
const PRODUCE = 0
const sent = new WeakMap<Socket, Set<number>>()

function outgoing(socket: Socket, bytes: unknown): void {
  const what = PORTS.get(socket.remotePort ?? 0)
  if (what === undefined) return
  if (what !== 'kafka') return void traced.push({ at: performance.now(), what, way: 'out' })
  // Only what is appended counts: fetches wait at the broker for something to come.
  if (!Buffer.isBuffer(bytes) || bytes.length < 12 || bytes.readInt16BE(4) !== PRODUCE) return
  const id = bytes.readInt32BE(8)
  sent.set(socket, (sent.get(socket) ?? new Set()).add(id))
  traced.push({ at: performance.now(), what, way: 'out', id })
}

function incoming(socket: Socket, bytes: unknown): void {
  const what = PORTS.get(socket.remotePort ?? 0)
  if (what === undefined || !Buffer.isBuffer(bytes)) return
  if (what !== 'kafka') return void traced.push({ at: performance.now(), what, way: 'in' })
  const id = bytes.length < 8 ? -1 : bytes.readInt32BE(4)
  if (sent.get(socket)?.delete(id)) traced.push({ at: performance.now(), what, way: 'in', id })
}

// The real methods, called on.
// eslint-disable-next-line @typescript-eslint/unbound-method -- called with the socket as this
const { write, push } = Socket.prototype
Object.assign(Socket.prototype, {
  write(this: Socket, ...args: Parameters<typeof write>) {
    outgoing(this, args[0])
    return write.apply(this, args)
  },
  push(this: Socket, ...args: Parameters<typeof push>) {
    incoming(this, args[0])
    return push.apply(this, args)
  },
})
subscribe('http.server.request.start', () => void traced.push({ at: performance.now(), what: 'http', way: 'in' }))
subscribe('http.server.response.finish', () => void traced.push({ at: performance.now(), what: 'http', way: 'out' }))

process.on('SIGUSR2', () => appendFileSync(process.env['TRACE_FILE'] ?? 'trace.log', `${JSON.stringify(traced.splice(0))}\n`))
