// Results of actions under their idempotency keys, marks of attempts that have an outcome, and locks (the port ActionMemory
// of consumers/run-attempt.ts). Nothing here must survive: flushed at any moment, only repeated work follows.

import { setTimeout as pause } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import type { ActionMemory, Lock } from '../consumers/run-attempt.ts'
import type { ActionRequest } from '../schemas/generated.ts'

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

/** Takes a lock that is free, or whose owner is not alive any more. */
const LOCK = `
  local owner = redis.call('GET', KEYS[1])
  if owner and owner ~= ARGV[1] and redis.call('EXISTS', ARGV[3] .. owner) == 1 then return 0 end
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1`

const RELEASE = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`
const RENEW = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0`

type Kept = { result: string; parameters: string }

const kept = (text: string): Kept => {
  const cut = text.indexOf('\n')
  return { parameters: text.slice(0, cut), result: text.slice(cut + 1) }
}

export function createActionMemory({ redis, prefix, worker, resultsKept }: ActionMemoryOptions): ActionMemory & { close(): void } {
  const resultKey = ({ tenant, name, key }: ActionRequest) => `${prefix}:result:${JSON.stringify([tenant, name, key])}`
  const markKey = ({ tenant, execution_id, action, attempt }: ActionRequest) =>
    `${prefix}:done:${tenant}:${execution_id}:${action}:${attempt}`
  const lockKey = ({ tenant, key }: ActionRequest) => `lock:action:${tenant}:${key}`
  const owner = `worker:${worker}`
  const alivePrefix = `${prefix}:alive:`
  /** Keys that are locked in this process: one owner runs one attempt of a key at a time. */
  const own = new Set<string>()
  const sayAlive = () => {
    // Not said while Redis is away: locks are not kept then either.
    redis.set(`${alivePrefix}${owner}`, '1', 'PX', ALIVE_TTL).catch(() => undefined)
  }
  const saying = setInterval(sayAlive, ALIVE_TTL / 3)
  redis.on('ready', sayAlive)

  async function held(name: string): Promise<Lock> {
    const renewing = setInterval(() => {
      // A renewal that fails leaves the lock to expire: another may then run beside us, and one outcome counts.
      redis.eval(RENEW, 1, name, owner, LOCK_TTL).catch(() => undefined)
    }, LOCK_TTL / 3)
    return {
      async release() {
        clearInterval(renewing)
        own.delete(name)
        await redis.eval(RELEASE, 1, name, owner)
      },
    }
  }

  return {
    async recall(request) {
      const [mark, text] = await redis.mget(markKey(request), resultKey(request))
      return { done: mark !== null && mark !== undefined, ...(text ? { kept: kept(text) } : {}) }
    },
    async keep(request, { parameters, result }) {
      return kept(String(await redis.eval(KEEP, 1, resultKey(request), `${parameters}\n${result}`, resultsKept)))
    },
    async markDone(request) {
      await redis.set(markKey(request), owner, 'PX', MARK_TTL)
    },
    async lock(request) {
      const name = lockKey(request)
      const until = performance.now() + LOCK_WAIT
      for (;;) {
        if (!own.has(name)) {
          own.add(name)
          const taken = await redis.eval(LOCK, 1, name, owner, LOCK_TTL, alivePrefix).catch((error: unknown) => {
            own.delete(name)
            throw error
          })
          if (taken === 1) return held(name)
          own.delete(name)
        }
        if (performance.now() > until) return 'busy'
        await pause(LOCK_POLL)
      }
    },
    close() {
      clearInterval(saying)
      redis.del(`${alivePrefix}${owner}`).catch(() => undefined)
    },
  }
}
