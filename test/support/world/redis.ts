// What Redis holds for workers, in memory: marks, results and locks (the port ActionMemory), flushed at any moment.

import { setTimeout as pause } from 'node:timers/promises'
import type { ActionMemory, AttemptName, Begun, KeptResult } from '../../../consumers/attempt-port.ts'

const LOCK_WAIT = 100
const LOCK_POLL = 5

export class MemoryRedis {
  readonly #marks = new Set<string>()
  readonly #results = new Map<string, KeptResult>()
  readonly #locks = new Map<string, string>()
  readonly #alive = new Set<string>()
  /** How often a result was found, how often a lock was. */
  readonly counts = { kept: 0, busy: 0, done: 0, flushed: 0 }

  flush(): void {
    this.counts.flushed++
    this.#marks.clear()
    this.#results.clear()
    this.#locks.clear()
  }

  /** It has not said for a while that it lives. */
  left(worker: string): void {
    this.#alive.delete(worker)
  }

  /** `remote`: how Redis is reached from the worker's process. What that knows by itself is as in redis/action-memory.ts. */
  memoryOf(worker: string, remote: <T>(port: string, work: () => Promise<T>) => Promise<T>): ActionMemory {
    this.#alive.add(worker)
    const nameOf = ({ action_id, attempt }: AttemptName) => `${action_id}/${attempt}`
    const askedOf = ({ action_id, attempt, name, key }: AttemptName) => JSON.stringify([action_id, attempt, name, key])
    const resultOf = ({ tenant, name, key }: AttemptName) => JSON.stringify([tenant, name, key])
    const lockOf = ({ tenant, key }: AttemptName) => JSON.stringify([tenant, key])
    const expected = new Map<string, Promise<Begun>>()
    const own = new Set<string>()
    const begin = (request: AttemptName): Begun => {
      const lock = lockOf(request)
      const owner = this.#locks.get(lock)
      if (this.#marks.has(nameOf(request))) return { state: 'done' }
      const kept = this.#results.get(resultOf(request))
      if (kept) return { state: 'kept', kept }
      if (owner !== undefined && owner !== worker && this.#alive.has(owner)) return { state: 'busy' }
      this.#locks.set(lock, worker)
      return { state: 'ours' }
    }
    const ask = async (request: AttemptName): Promise<Begun> => {
      const lock = lockOf(request)
      if (own.has(lock)) return { state: 'busy' }
      own.add(lock)
      let state = ''
      try {
        const begun = await remote('redis.begin', async () => begin(request))
        state = begun.state
        return begun
      } finally {
        if (state !== 'ours') own.delete(lock)
      }
    }
    const end = async (request: AttemptName, reported: boolean): Promise<void> => {
      own.delete(lockOf(request))
      await remote('redis.end', async () => {
        if (reported) this.#marks.add(nameOf(request))
        if (this.#locks.get(lockOf(request)) === worker) this.#locks.delete(lockOf(request))
      })
    }
    return {
      expect(attempt) {
        if (own.has(lockOf(attempt)) || expected.has(askedOf(attempt))) return
        const asked = ask(attempt)
        asked.catch(() => undefined)
        expected.set(askedOf(attempt), asked)
      },
      unexpect(attempt) {
        const asked = expected.get(askedOf(attempt))
        expected.delete(askedOf(attempt))
        asked?.then(({ state }) => (state === 'ours' ? end(attempt, false) : undefined)).catch(() => undefined)
      },
      begin: async (request) => {
        const until = performance.now() + LOCK_WAIT
        for (let ahead = expected.get(askedOf(request)); ; ahead = undefined) {
          expected.delete(askedOf(request))
          const begun = await (ahead ?? ask(request))
          if (begun.state === 'done' || begun.state === 'kept') this.counts[begun.state]++
          if (begun.state !== 'busy') return begun
          this.counts.busy++
          if (performance.now() > until) return begun
          await pause(LOCK_POLL)
        }
      },
      keep: (request, result) =>
        remote('redis.keep', async () => {
          const held = this.#results.get(resultOf(request)) ?? result
          this.#results.set(resultOf(request), held)
          return held
        }),
      end,
    }
  }
}
