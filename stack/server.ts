// What a server of the stack is, and the waiting for one that starts.

import { setTimeout as delay } from 'node:timers/promises'
import { RefoldError } from '../errors.ts'
import type { Say } from './parts.ts'
import { lastLines, runs } from './process.ts'
import type { ProcessMark } from './process.ts'
import type { Secrets, ServerName } from './state.ts'

/** What a server needs to know to start. */
export type Start = {
  /** The stack's own folder, `.refold`. */
  folder: string
  secrets: Secrets
  log: string
  say: Say
  /** A free port, the preferred one if possible. No two servers of one start get the same. */
  port: (preferred: number) => Promise<number>
}

export type Started = { pid: number; mark: ProcessMark; address: string }

export type Server = {
  name: ServerName
  /** Environment variable whose URL is used instead of starting this one. */
  env: 'KAFKA_BROKERS' | 'SCHEMA_REGISTRY_URL' | 'DATABASE_URL' | 'REDIS_URL'
  /** Signal that ends it in order, and how long that may take, in milliseconds. */
  stop: { signal: NodeJS.Signals; patience: number }
  /** Fetches what is missing, starts it, waits until it answers. */
  start: (start: Start) => Promise<Started>
  /** True when it answers at this address. */
  answers: (address: string) => Promise<boolean>
  /** Folders outside the stack's own that hold its data. */
  elsewhere?: (secrets: Secrets) => string[]
}

/** Waits until a server answers; fails with the end of its log if it ends first or takes longer than `patience` milliseconds. */
export async function untilAnswers(
  name: ServerName,
  process: { pid: number; mark: ProcessMark },
  log: string,
  answers: () => Promise<boolean>,
  patience = 90_000,
): Promise<void> {
  const deadline = performance.now() + patience
  while (!(await answers())) {
    if (!runs(process)) throw new RefoldError('stack-failed', `${name} ended while starting; the end of its log:\n${lastLines(log, 12)}\n`)
    if (performance.now() > deadline)
      throw new RefoldError('stack-failed', `${name} did not answer in ${patience / 1000} s; the end of its log:\n${lastLines(log, 12)}\n`)
    await delay(50)
  }
}
