// Results of actions under their idempotency keys, marks of attempts that have an outcome, and locks (the port ActionMemory
// of consumers/attempt-port.ts). Nothing here must survive: flushed at any moment, only repeated work follows.

import { createHash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import { asError } from '../errors.ts'
import type { ActionMemory, AttemptName, Begun, KeptResult } from '../consumers/attempt-port.ts'
import { createBatch } from './batch.ts'

export type ActionMemoryOptions = {
  redis: Redis
  /** First part of all keys but the locks'. */
  prefix: string
  worker: string
  /** ms */
  resultsKept: number
  /** How long a lock lasts that is not renewed, ms; it is, three times in that. Of tests. */
  lockLife?: number
}

const LOCK_TTL = 60_000
/** A worker that did not say so for this long is taken for dead, ms: its locks need not run out first. */
const ALIVE_TTL = 6000
const LOCK_WAIT = 5000
const LOCK_POLL = 100
/** A mark outlives every request that may still be on its way, ms. */
const MARK_TTL = 3_600_000

/** Questions that Redis answers in one go at most: nobody else is answered meanwhile. */
const TOGETHER = 100

/**
 * Questions, one after the other; an answer each, an array of texts.
 *
 * ARGV: owner, life of a lock, prefix of who lives, for how long it does, life of a mark, life of a result; then of each question its name
 * and what else it needs. KEYS: of each question in turn.
 * begin (mark, result, lock)  all that is asked before an attempt: its mark, the result of its key, else the lock of the key, which is
 *                             taken when it is free or its owner does not live any more. Whoever takes it lives: it may have started
 *                             just now, and not have said so yet.
 * keep (result; text)         sets it unless it is there; gives what is held then.
 * end (lock, mark; 0 or 1)    gives the lock back, if it is ours. 1: marks the attempt.
 */
const SCRIPT = `
  local owner, lockLife, lives, ownerLife, markLife, resultLife = unpack(ARGV, 1, 6)
  local answers, k, a = {}, 0, 6
  local function key() k = k + 1 return KEYS[k] end
  local function arg() a = a + 1 return ARGV[a] end
  local function begin(mark, result, lock)
    if redis.call('EXISTS', mark) == 1 then return {'done'} end
    local kept = redis.call('GET', result)
    if kept then return {'kept', kept} end
    local other = redis.call('GET', lock)
    if other and other ~= owner and redis.call('EXISTS', lives .. other) == 1 then return {'busy'} end
    redis.call('SET', lock, owner, 'PX', lockLife)
    redis.call('SET', lives .. owner, '1', 'PX', ownerLife)
    return {'ours'}
  end
  while a < #ARGV do
    local name, first, answer = arg(), key(), {}
    if name == 'begin' then
      local result = key()
      answer = begin(first, result, key())
    elseif name == 'keep' then
      local text = arg()
      local held = redis.call('GET', first)
      if not held then redis.call('SET', first, text, 'PX', resultLife) end
      answer = {held or text}
    else
      local mark = key()
      if arg() == '1' then redis.call('SET', mark, owner, 'PX', markLife) end
      if redis.call('GET', first) == owner then redis.call('DEL', first) end
    end
    answers[#answers + 1] = answer
  end
  return answers`
const SHA = createHash('sha1').update(SCRIPT).digest('hex')
const RENEW = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0`

type Question = { name: 'begin' | 'keep' | 'end'; keys: readonly string[]; rest?: string }

const kept = (text: string): KeptResult => {
  const cut = text.indexOf('\n')
  return { parameters: text.slice(0, cut), result: text.slice(cut + 1) }
}

export function createActionMemory(options: ActionMemoryOptions): ActionMemory & { close(): void } {
  const { redis, prefix, worker, resultsKept, lockLife = LOCK_TTL } = options
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
    for (const name of own) redis.eval(RENEW, 1, name, owner, lockLife).catch(() => undefined)
  }, lockLife / 3)

  const question = createBatch<Question, readonly string[]>(async (questions) => {
    const keys = questions.flatMap((one) => one.keys)
    const always = [owner, lockLife, alivePrefix, ALIVE_TTL, MARK_TTL, resultsKept]
    const args = [...keys, ...always, ...questions.flatMap(({ name, rest }) => (rest === undefined ? [name] : [name, rest]))]
    const answered = redis.evalsha(SHA, keys.length, ...args).catch((error: unknown) => {
      // Redis does not know it yet, or was started anew.
      if (!asError(error).message.startsWith('NOSCRIPT')) throw error
      return redis.eval(SCRIPT, keys.length, ...args)
    })
    return (await answered) as string[][]
  }, TOGETHER)

  async function ask(request: AttemptName): Promise<Begun> {
    const lock = lockKey(request)
    if (own.has(lock)) return { state: 'busy' }
    own.add(lock)
    let state = ''
    try {
      const answer = await question({ name: 'begin', keys: [markKey(request), resultKey(request), lock] })
      state = answer[0] ?? ''
      if (state === 'kept') return { state, kept: kept(answer[1] ?? '') }
      return state === 'done' || state === 'busy' || state === 'ours' ? { state } : { state: 'ours' }
    } finally {
      if (state !== 'ours') own.delete(lock)
    }
  }

  async function end(request: AttemptName, reported: boolean): Promise<void> {
    own.delete(lockKey(request))
    await question({ name: 'end', keys: [lockKey(request), markKey(request)], rest: reported ? '1' : '0' })
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
      const [held = ''] = await question({ name: 'keep', keys: [resultKey(request)], rest: `${parameters}\n${result}` })
      return kept(held)
    },
    end,
    close() {
      clearInterval(saying)
      clearInterval(renewing)
      redis.del(`${alivePrefix}${owner}`).catch(() => undefined)
    },
  }
}
