// Ports on 127.0.0.1: the usual one where it is free, else the next.

import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { RefoldError } from '../errors.ts'

export const HOST = '127.0.0.1'

/** True when nobody listens on `port`, neither on 127.0.0.1 nor on all addresses of this machine. */
export async function isFree(port: number): Promise<boolean> {
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

/**
 * True when the process itself listens on the port, so that another server's answer isn't taken for its own: two stacks
 * that start at once may choose the same port. Where the system doesn't show it, the process is believed.
 */
export function listens(pid: number, port: number): boolean {
  const tables = ['/proc/net/tcp', '/proc/net/tcp6'].filter((file) => existsSync(file))
  if (tables.length === 0) return true
  const sockets = new Set(tables.flatMap((file) => listeners(readFileSync(file, 'utf8'), port)))
  const open = openFiles(pid)
  return open === null ? sockets.size > 0 : open.some((file) => sockets.has(file))
}

/** Of the kernel's table the sockets that listen on `port`: local address in field 2, state 0A, inode in field 10. */
function listeners(table: string, port: number): string[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const rows = table.split('\n').map((line) => line.trim().split(/\s+/))
  return rows.filter((row) => row[3] === '0A' && row[1]?.endsWith(suffix)).map((row) => `socket:[${row[9]}]`)
}

/** What a process has open, or null when it may not be seen (another user's, in a container). */
function openFiles(pid: number): string[] | null {
  const folder = `/proc/${pid}/fd`
  try {
    return readdirSync(folder).map((name) => fileBehind(`${folder}/${name}`))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [] // it ended
    return null
  }
}

/** Where a link leads; '' when it was closed meanwhile. */
function fileBehind(link: string): string {
  try {
    return readlinkSync(link)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
}
