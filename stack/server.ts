// What a server of the stack is, and the waiting for one that starts.

import { setTimeout as delay } from 'node:timers/promises'
import { RefoldError } from '../errors.ts'
import type { Say } from './parts.ts'
import { isFree, listens } from './ports.ts'
import { end, lastLines, runs } from './process.ts'
import type { Launch, Launched } from './process.ts'
import type { Secrets, ServerName } from './state.ts'

/** What a server needs to know to start. */
export type Start = {
  /** The stack's own folder, `.refold`. */
  folder: string
  secrets: Secrets
  say: Say
  /** The port a server had when it ended without `down`, or has: its clients still look there, so it is taken again. */
  last: (name: ServerName) => number | undefined
  /** Starts the server's process and remembers it, with its address, at once: also when nobody waits for it any longer. */
  launch: (address: string, launch: Omit<Launch, 'log'>) => Promise<Launched>
  /** True for a server of this stack that runs already. */
  runs: (name: ServerName) => boolean
  /** A free port: the last one if it is given and free, else the usual one or the next. No two servers of one start get the same. */
  port: (usual: number, last?: number) => Promise<number>
}

export type Server = {
  name: ServerName
  /** Environment variable whose URL is used instead of starting this one. */
  env: 'KAFKA_BROKERS' | 'SCHEMA_REGISTRY_URL' | 'DATABASE_URL' | 'REDIS_URL'
  /** Signal that ends it in order, and how long that may take, in milliseconds. */
  stop: { signal: NodeJS.Signals; patience: number }
  /** Fetches what is missing, starts it, waits until it answers. */
  start: (start: Start) => Promise<void>
  /** True when it answers at this address. */
  answers: (address: string) => Promise<boolean>
  /** Folders outside the stack's own that hold its data. */
  elsewhere?: (secrets: Secrets) => string[]
}

/** Somebody else took a port between our choosing it and the server's listening. */
export class PortTaken extends Error {}

type Wait = {
  name: ServerName
  process: Launched
  /** Ports it was told to take; the first is the one that answers. */
  ports: readonly [number, ...number[]]
  answers: () => Promise<boolean>
}

/** Longest start, in milliseconds: a cold, busy machine takes a minute for Kafka. */
const PATIENCE = 120_000

/** Waits until a server answers; fails with the end of its log if it ends first or takes too long. */
export async function untilAnswers({ name, process, ports, answers }: Wait): Promise<void> {
  const deadline = performance.now() + PATIENCE
  const failed = (what: string) => new RefoldError('stack-failed', `${name} ${what}; the end of its log:\n${lastLines(process.log, 12)}\n`)
  const isUp = async () => listens(process.pid, ports[0]) && (await answers()) && runs(process)
  while (!(await isUp())) {
    if (!runs(process)) {
      for (const port of ports) if (!(await isFree(port))) throw new PortTaken(`${port}`)
      throw failed('ended while starting')
    }
    if (performance.now() > deadline) {
      await end(process, 'SIGTERM', 5000)
      throw failed(`did not answer in ${PATIENCE / 1000} s`)
    }
    await delay(50)
  }
}
