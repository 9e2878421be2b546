// Two projector processes that each read every partition, through groups of their own, into one generation: on the same checkpoints.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import type { Test } from 'tap'

export type Rival = {
  /** Path of the application's module. */
  app: string
  /** Its projections that are fought over. */
  names: readonly string[]
  brokers: readonly string[]
  databaseUrl: string
  prefix: string
  rival: string
}

/** `stop` ends both, and tells how many batches each threw away since the other was first. */
export type Rivals = { stop: () => Promise<number[]> }

async function told(child: ChildProcess): Promise<unknown> {
  const ended = once(child, 'exit').then(([code]) => Promise.reject(new Error(`a rival ended with ${code}`)))
  const [message] = (await Promise.race([once(child, 'message'), ended])) as unknown[]
  return message
}

export async function startRivals(t: Test, shared: Omit<Rival, 'rival'>): Promise<Rivals> {
  const children = ['rival-1', 'rival-2'].map((rival) => {
    const child = fork(path.join(import.meta.dirname, 'rival-projector.ts'))
    child.send({ ...shared, rival })
    return child
  })
  t.teardown(() => children.forEach((child) => child.kill('SIGKILL')))
  await Promise.all(children.map(told))
  return {
    stop: () =>
      Promise.all(
        children.map(async (child) => {
          const overtaken = told(child)
          if (child.connected) child.send('stop')
          return Number(await overtaken)
        }),
      ),
  }
}
