// Locks and results of actions in a real Redis.

import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createActionMemory } from '../../redis/action-memory.ts'
import { createRedis } from '../../redis/client.ts'
import type { ActionRequest } from '../../schemas/generated.ts'
import { newId } from '../../workflow/ids.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

/** Makes memories of workers, by their names, on one Redis; undefined without one. */
async function useMemories(t: Test): Promise<((worker: string) => ReturnType<typeof createActionMemory>) | undefined> {
  const { redisUrl } = useStack(t, ['redis'])
  if (!redisUrl) return undefined
  const redis = createRedis(redisUrl, () => undefined)
  await once(redis, 'ready')
  t.teardown(() => redis.disconnect())
  const prefix = `test-${newId()}`
  return (worker) => {
    const memory = createActionMemory({ redis, prefix, worker, resultsKept: 60_000 })
    t.teardown(() => memory.close())
    return memory
  }
}

function requestOf(): ActionRequest {
  const id = newId()
  return {
    action_id: id,
    tenant: 'test',
    execution_id: newId(),
    action: 1,
    attempt: 1,
    name: 'act',
    key: id,
    scheduled: '{}',
    user_id: null,
    requested_at: 0,
  }
}

t.test('a worker that has just started keeps the lock it took', async (t) => {
  const memoryOf = await useMemories(t)
  if (!memoryOf) return
  const request = requestOf()
  // Its connection was ready before: it has not said yet that it lives.
  const [first, second] = [memoryOf('first'), memoryOf('second')]
  t.match(await first.begin(request), { state: 'ours' })
  const other = second.begin(request)
  t.equal(await Promise.race([other, pause(500, 'waits')]), 'waits')
  await first.end(request, false)
  t.match(await other, { state: 'ours' }, 'as soon as it is free')
  await second.end(request, true)
  t.match(await first.begin(request), { state: 'done' })
})

t.test('what is asked ahead is there when the attempt begins, and given back when it does not', async (t) => {
  const memoryOf = await useMemories(t)
  if (!memoryOf) return
  const [first, second] = [memoryOf('first'), memoryOf('second')]
  const one = requestOf()
  first.expect(one)
  first.expect(one)
  const other = second.begin(one)
  t.equal(await Promise.race([other, pause(300, 'waits')]), 'waits', 'its lock is taken')
  t.match(await first.begin(one), { state: 'ours' })
  first.unexpect(one)
  t.equal(await Promise.race([other, pause(300, 'waits')]), 'waits', 'given up too late: it has begun')
  await first.end(one, true)
  t.match(await other, { state: 'done' })

  const two = requestOf()
  first.expect(two)
  first.unexpect(two)
  t.match(await second.begin(two), { state: 'ours' }, 'given back')
  await second.end(two, false)
  t.match(await first.begin(two), { state: 'ours' }, 'to be begun like any other')
})

t.test('what is asked ahead for an action that another took the place of is nothing to that one', async (t) => {
  const memoryOf = await useMemories(t)
  if (!memoryOf) return
  const [first, second] = [memoryOf('first'), memoryOf('second')]
  const done = { ...requestOf(), key: newId() }
  await first.keep(done, { result: '"of another key"', parameters: 'p' })
  // The decision made ahead had this key; the one that stands, of the same number, has another.
  const one = requestOf()
  const ahead = { ...one, key: done.key }
  first.expect(ahead)
  t.match(await first.begin(one), { state: 'ours' }, 'not the result of the other key')
  first.unexpect(ahead)
  const free = { ...requestOf(), key: newId() }
  const two = requestOf()
  first.expect({ ...two, key: free.key })
  t.match(await first.begin(two), { state: 'ours' })
  first.unexpect({ ...two, key: free.key })
  t.match(await second.begin(free), { state: 'ours' }, 'the lock of the other key was given back')
})

t.test('many questions at once are each answered, also when Redis does not know the script', async (t) => {
  const { redisUrl } = useStack(t, ['redis'])
  if (!redisUrl) return
  const redis = createRedis(redisUrl, () => undefined)
  await once(redis, 'ready')
  t.teardown(() => redis.disconnect())
  const memory = createActionMemory({ redis, prefix: `test-${newId()}`, worker: 'one', resultsKept: 60_000 })
  t.teardown(() => memory.close())
  await redis.script('FLUSH')
  const all = Array.from({ length: 250 }, requestOf)
  const begun = await Promise.all(all.map((request) => memory.begin(request)))
  t.ok(begun.every(({ state }) => state === 'ours'))
  const kept = await Promise.all(
    all.map(async (request, i) => {
      const [own, second] = await Promise.all([
        memory.keep(request, { parameters: 'p', result: `${i}` }),
        memory.keep(request, { parameters: 'p', result: 'later' }),
        ...(i % 2 === 0 ? [memory.end(request, true)] : []),
      ])
      return [own?.result, second?.result]
    }),
  )
  t.strictSame(
    kept,
    all.map((_, i) => [`${i}`, `${i}`]),
    'in the order in which they were asked',
  )
  const again = await Promise.all(all.filter((_, i) => i % 2 === 0).map((request) => memory.begin(request)))
  t.ok(again.every(({ state }) => state === 'done'))
})

t.test('a lock that is held is renewed, and only while it is ours', async (t) => {
  const { redisUrl } = useStack(t, ['redis'])
  if (!redisUrl) return
  const redis = createRedis(redisUrl, () => undefined)
  await once(redis, 'ready')
  t.teardown(() => redis.disconnect())
  const lockLife = 600
  const of = { redis, prefix: `test-${newId()}`, resultsKept: 60_000, lockLife }
  const [first, second] = [createActionMemory({ ...of, worker: 'first' }), createActionMemory({ ...of, worker: 'second' })]
  for (const memory of [first, second]) t.teardown(() => memory.close())
  const request = requestOf()
  const lock = `lock:action:${request.tenant}:${request.key}`
  t.match(await first.begin(request), { state: 'ours' })
  let [renewals, before] = [0, Infinity]
  await until(
    async () => {
      const left = await redis.pttl(lock)
      if (left < 0) throw new Error(`the lock ran out after ${renewals} renewals`)
      if (left > before) renewals++
      before = left
      return renewals === 6
    },
    { what: 'six renewals, twice the life of a lock' },
  )
  const other = second.begin(request)
  t.equal(await Promise.race([other, pause(300, 'waits')]), 'waits', 'it is held')
  // Ran out while its worker was frozen, say, and taken by somebody else: theirs is not renewed, nor given back.
  await redis.set(`${of.prefix}:alive:worker:third`, '1', 'PX', 60_000)
  await redis.set(lock, 'worker:third', 'PX', lockLife)
  await first.end(request, false)
  t.equal(await redis.get(lock), 'worker:third')
  t.match(await other, { state: 'ours' }, 'as soon as it has run out')
  const lost = requestOf()
  const lostLock = `lock:action:${lost.tenant}:${lost.key}`
  t.match(await first.begin(lost), { state: 'ours' })
  await redis.set(lostLock, 'worker:third', 'PX', lockLife)
  await until(async () => (await redis.exists(lostLock)) === 0, { what: 'the lock of another to run out' })
  await first.end(lost, false)
})
