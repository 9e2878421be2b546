// Results of actions under their idempotency keys, marks of attempts that have an outcome, and locks (the port ActionMemory
// of consumers/attempt-port.ts). Nothing here must survive: flushed at any moment, only repeated work follows.

import { setTimeout as pause } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import type { ActionMemory, AttemptName, Begun, KeptResult } from '../consumers/attempt-port.ts'

export type ActionMemoryOptions = {
  redis: Redis
  /** First part of all keys but the locks'. */
  prefix: string
  worker: string
  /** ms */
  resultsKept: number
}

const LOCK_TTL = 60_000
/** A worker that did not say so for this long is taken for dead, ms: its locks need not run out first. */
const ALIVE_TTL = 6000
const LOCK_WAIT = 5000
const LOCK_POLL = 100
/** A mark outlives every request that may still be on its way, ms. */
const MARK_TTL = 3_600_000

/** Sets a key unless it is there, for so many ms; gives what is held then. */
const KEEP = `
  local held = redis.call('GET', KEYS[1])
  if held then return held end
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return ARGV[1]`

/**
 * One question for all that is asked before an attempt: its mark, the result of its key, else the lock of the key, which is
 * taken when it is free or its owner does not live any more. Whoever takes it lives: it may have started just now, and not have
 * said so yet. KEYS: mark, result, lock. ARGV: owner, life of the lock, prefix of who lives, for how long it does.
 */
const BEGIN = `
  if redis.call('EXISTS', KEYS[1]) == 1 then return {'done'} end
  local kept = redis.call('GET', KEYS[2])
  if kept then return {'kept', kept} end
  local owner = redis.call('GET', KEYS[3])
  if owner and owner ~= ARGV[1] and redis.call('EXISTS', ARGV[3] .. owner) == 1 then return {'busy'} end
  redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
  redis.call('SET', ARGV[3] .. ARGV[1], '1', 'PX', ARGV[4])
  return {'ours'}`

/** KEYS: lock, mark. ARGV: owner, how long the mark lives (0: none). */
const END = `
  if ARGV[2] ~= '0' then redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2]) end
  if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
  return 0`
const RENEW = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0`

const kept = (text: string): KeptResult => {
  const cut = text.indexOf('\n')
  return { parameters: text.slice(0, cut), result: text.slice(cut + 1) }
}

export function createActionMemory({ redis, prefix, worker, resultsKept }: ActionMemoryOptions): ActionMemory & { close(): void } {
  const resultKey = ({ tenant, name, key }: AttemptName) => `${prefix}:result:${JSON.stringify([tenant, name, key])}`
  const markKey = ({ tenant, execution_id, action, attempt }: AttemptName) =>
    `${prefix}:done:${tenant}:${execution_id}:${action}:${attempt}`
  const lockKey = ({ tenant, key }: AttemptName) => `lock:action:${tenant}:${key}`
  const owner = `worker:${worker}`
  const alivePrefix = `${prefix}:alive:`
  /** Keys that are locked in this process: one owner runs one attempt of a key at a time. */
  const own = new Set<string>()
  /** Asked ahead, by their attempts and what these are. */
  const expected = new Map<string, Promise<Begun>>()
  // Also by name and key: of the same number, the decision that stands may be another than the one it was asked for.
  const nameOf = ({ action_id, attempt, name, key }: AttemptName) => JSON.stringify([action_id, attempt, name, key])
  const sayAlive = () => {
    // Not said while Redis is away: locks are not kept then either.
    redis.set(`${alivePrefix}${owner}`, '1', 'PX', ALIVE_TTL).catch(() => undefined)
  }
  const saying = setInterval(sayAlive, ALIVE_TTL / 3)
  redis.on('ready', sayAlive)

  /** Locks held by this process are renewed together. */
  const renewing = setInterval(() => {
    // A renewal that fails leaves the lock to expire: another may then run beside us, and one outcome counts.
    for (const name of own) redis.eval(RENEW, 1, name, owner, LOCK_TTL).catch(() => undefined)
  }, LOCK_TTL / 3)

  async function ask(request: AttemptName): Promise<Begun> {
    const lock = lockKey(request)
    if (own.has(lock)) return { state: 'busy' }
    own.add(lock)
    let state = ''
    try {
      const answer = (await redis.eval(
        BEGIN,
        3,
        markKey(request),
        resultKey(request),
        lock,
        owner,
        LOCK_TTL,
        alivePrefix,
        ALIVE_TTL,
      )) as string[]
      state = answer[0] ?? ''
      if (state === 'kept') return { state, kept: kept(answer[1] ?? '') }
      return state === 'done' || state === 'busy' || state === 'ours' ? { state } : { state: 'ours' }
    } finally {
      if (state !== 'ours') own.delete(lock)
    }
  }

  async function end(request: AttemptName, reported: boolean): Promise<void> {
    own.delete(lockKey(request))
    await redis.eval(END, 2, lockKey(request), markKey(request), owner, reported ? MARK_TTL : 0)
  }

  return {
    expect(attempt) {
      if (own.has(lockKey(attempt)) || expected.has(nameOf(attempt))) return
      const asked = ask(attempt)
      // Its failure is that of whoever begins.
      asked.catch(() => undefined)
      expected.set(nameOf(attempt), asked)
    },
    unexpect(attempt) {
      const asked = expected.get(nameOf(attempt))
      expected.delete(nameOf(attempt))
      // Redis away: it holds no lock then, or one that ends with this worker's life.
      asked?.then(({ state }) => (state === 'ours' ? end(attempt, false) : undefined)).catch(() => undefined)
    },
    async begin(request) {
      const until = performance.now() + LOCK_WAIT
      for (let ahead = expected.get(nameOf(request)); ; ahead = undefined) {
        expected.delete(nameOf(request))
        const begun = await (ahead ?? ask(request))
        if (begun.state !== 'busy' || performance.now() > until) return begun
        await pause(LOCK_POLL)
      }
    },
    async keep(request, { parameters, result }) {
      return kept(String(await redis.eval(KEEP, 1, resultKey(request), `${parameters}\n${result}`, resultsKept)))
    },
    end,
    close() {
      clearInterval(saying)
      clearInterval(renewing)
      redis.del(`${alivePrefix}${owner}`).catch(() => undefined)
    },
  }
}
