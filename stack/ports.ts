// Ports on 127.0.0.1: the usual one where it is free, else the next.

import { createServer } from 'node:net'
import { RefoldError } from '../errors.ts'

export const HOST = '127.0.0.1'

/** True when nobody listens on `port`, neither on 127.0.0.1 nor on all addresses of this machine. */
async function isFree(port: number): Promise<boolean> {
  return (await canListen(port, HOST)) && (await canListen(port, '0.0.0.0'))
}

function canListen(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)))
  })
}

/** The first free port from `preferred` on that isn't in `taken`, to which it is added. */
export async function freePort(preferred: number, taken: Set<number>): Promise<number> {
  for (let port = preferred; port < preferred + 200; port++) {
    if (taken.has(port)) continue
    taken.add(port)
    if (await isFree(port)) return port
    taken.delete(port)
  }
  throw new RefoldError('stack-failed', `no port from ${preferred} to ${preferred + 199} is free on ${HOST}`)
}
