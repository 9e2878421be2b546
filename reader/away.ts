// Tells that Redis is away: once each time, however many connections try it again.

import type { Redis } from 'ioredis'

/** Nobody is told of a Redis that is away for less, ms: one that restarts. */
const SOON = 1000

/** `away` is told when a connection has been of no use for a second, and again only after all were ready; until `end`. */
export function tellAway(connections: readonly Redis[], away: (error: Error) => void): { end(): void } {
  const lost = new Set(connections)
  let reason = ''
  let timer: NodeJS.Timeout | undefined
  let ended = false
  const wait = () => {
    if (ended) return
    timer ??= setTimeout(() => {
      const [{ path, host, port } = {}] = [...lost].map(({ options }) => options)
      const help = 'check its address and that it runs; reading goes on by itself when it is there'
      away(new Error(`Redis at ${path ?? `${host}:${port}`} is not ready${reason}: ${help}`))
    }, SOON)
  }
  const rest = () => {
    clearTimeout(timer)
    timer = undefined
    reason = ''
  }
  for (const connection of connections) {
    connection.on('error', ({ message }: Error) => (reason = ` (${message})`))
    connection.on('close', () => {
      lost.add(connection)
      wait()
    })
    connection.on('ready', () => {
      lost.delete(connection)
      if (lost.size === 0) rest()
    })
  }
  wait()
  return {
    end() {
      ended = true
      rest()
    },
  }
}
