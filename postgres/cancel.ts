// Ends what runs on a connection, on the server: a socket that is closed stops no statement there.
//
// By the cancel request of the protocol, not pg_cancel_backend: it needs no right and no free connection, and its key is of this very
// connection. It names no statement, so one that comes late would end the next: whoever sent one does not use the connection again.

import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { PoolClient } from 'pg'

const CANCEL_REQUEST = 80_877_102
/** Answered within, or sent again, ms. */
const WAIT = 500
/** What was queued behind the first runs next, and code of the server may catch it. */
const TRIES = 4

/** What a server is asked to cancel by: pg keeps it, and its types don't tell. */
function keyOf(client: PoolClient): { pid: number; key: number } {
  if (!('processID' in client && typeof client.processID === 'number' && 'secretKey' in client && typeof client.secretKey === 'number'))
    throw new TypeError('This version of pg does not tell the key of a connection')
  return { pid: client.processID, key: client.secretKey }
}

/** Resolves when the server has closed: it has sent its signal then. Sent in the clear, as servers take it, whatever they ask of others. */
function sendCancel(client: PoolClient): Promise<void> {
  const { pid, key } = keyOf(client)
  const message = Buffer.alloc(16)
  for (const [i, part] of [message.length, CANCEL_REQUEST, pid, key].entries()) message.writeInt32BE(part, i * 4)
  const { host, port } = client
  const socket = host.startsWith('/') ? connect(`${host}/.s.PGSQL.${port}`) : connect(port, host)
  return new Promise((resolve) => {
    socket.setTimeout(WAIT, () => socket.destroy())
    // A server that cannot be reached ends it by the limits that it was given.
    socket.on('error', () => undefined)
    socket.once('close', () => resolve())
    socket.resume().write(message)
  })
}

/** Ends the statements that were sent on this connection, `settled` when they have an answer. To be thrown away then, in any case. */
export async function endStatements(client: PoolClient, settled: () => Promise<unknown>): Promise<void> {
  const all = settled()
  for (let tries = 0; tries < TRIES; tries++) {
    await sendCancel(client)
    const late = new AbortController()
    const waited = pause(WAIT, 'late', { signal: late.signal }).catch(() => undefined)
    const isLate = (await Promise.race([all, waited])) === 'late'
    late.abort()
    if (!isLate) return
  }
}
