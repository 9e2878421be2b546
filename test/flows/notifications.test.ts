// Notifications on real servers: at least once, in order within each partition, never before they can be read; dead letters;
// a Python reader; server-sent events.

import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { listDeadLetters, type Notification, redriveDeadLetter, registerConsumer } from '../../reader/index.ts'
import { runNotifications } from '../soak/notifications.ts'
import { doorTo } from '../support/door.ts'
import { usePython } from '../support/python.ts'
import { type Installation, startRefold, useInstallation } from '../support/refold-process.ts'
import { type Rest, restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

t.setTimeout(600_000)

const executionOf = (n: number) => `0b8f1c7e-5d1e-4c3a-9a44-${n.toString(16).padStart(12, '0')}`

type World = { installation: Installation; rest: Rest; redis: Redis; stream: string; url: string }

async function useWorld(t: Test): Promise<World | undefined> {
  const stack = useStack(t, ['kafka', 'registry', 'postgres', 'redis'])
  if (!stack.databaseUrl) return undefined
  const installation = await useInstallation(t, stack, 'token=tenant')
  const { url } = await startRefold(t, installation, 'api,recorder')
  const redisUrl = String(installation.env['REDIS_URL'])
  const redis = new Redis(redisUrl)
  const stream = `${installation.env['REFOLD_TOPIC_PREFIX']}:workflow:events:global`
  t.teardown(async () => {
    await redis.del(stream, `${stream}:sent`, `${stream}:dlq`)
    redis.disconnect()
  })
  return { installation, rest: restOf(url, 'token'), redis, stream, url: redisUrl }
}

const send = async ({ rest }: World, first: number, count: number) => {
  const events = Array.from({ length: count }, (_, i) => ({
    execution_id: executionOf((first + i) % 97),
    event_name: 'thing.happened',
    to_state: `s${first + i}`,
    payload: { n: first + i, text: 'ü"\n' },
  }))
  const answer = await rest.send(events)
  if (answer.status !== 202) throw new Error(`${answer.status} ${answer.text}`)
}

t.test('every accepted event at least once, in order, never unreadable: notifiers die, Redis is flushed and away', async (t) => {
  // A seeded slice of npm run soak -- --only notifications.
  const stack = useStack(t, ['kafka', 'registry', 'postgres', 'redis'])
  if (!stack.databaseUrl) return
  const door = await doorTo(stack.redisUrl)
  t.teardown(() => door.close())
  const { env, database } = await useInstallation(t, stack, 'token=tenant')
  const direct = new Redis(String(env['REDIS_URL']))
  t.teardown(async () => {
    await direct.flushdb()
    direct.disconnect()
  })
  const report = await runNotifications({
    seed: 20_261_127,
    rate: 100,
    kills: 3,
    flushes: 2,
    awaySeconds: 4,
    redis: { flush: () => direct.flushdb(), away: async () => door.shut(), back: () => door.open() },
    env: { ...env, REDIS_URL: door.url },
    databaseUrl: database.url,
    faultLog: path.join(t.testdir(), 'faults'),
    say: (line) => t.comment(line),
  })
  t.strictSame(report.faults.slice(0, 10), [])
  t.ok(report.repeats > 0, `${report.repeats} repeats`)
  t.ok(report.caughtUp.events > 100, `${report.caughtUp.events} came while Redis was away`)
  t.comment(JSON.stringify(report))
})

t.test('a Redis that comes back with an older copy of its data is sent what that copy lacks, in order', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  const { installation, redis, stream } = world
  await startRefold(t, installation, 'notifier')
  const positions = async () =>
    ((await redis.xrange(stream, '-', '+')) as [string, string[]][]).map(([, fields]) => fields[fields.indexOf('position') + 1] ?? '')
  const sent = (count: number) =>
    until(async () => new Set(await positions()).size === count, { within: 30_000, what: () => `${count} in the stream` })
  await send(world, 0, 100)
  await sent(100)
  const keys = [stream, `${stream}:sent`]
  const copy = await Promise.all(keys.map((key) => redis.dumpBuffer(key)))
  await send(world, 100, 100)
  await sent(200)
  const whole = await positions()
  const back = redis.multi()
  for (const [i, key] of keys.entries()) back.restore(key, 0, copy[i] ?? Buffer.alloc(0), 'REPLACE')
  await back.exec()
  t.equal((await positions()).length, 100, 'the copy')
  await sent(200)
  const again = await positions()
  t.equal(again.length, 200, 'none twice')
  const of = (all: string[], partition: number) => all.filter((position) => position.startsWith(`p${partition}:`))
  for (let partition = 0; partition < 12; partition++) t.strictSame(of(again, partition), of(whole, partition))
})

t.test(
  'a handler that fails three times makes a dead letter; others are not kept waiting; redrive gives it back byte for byte',
  async (t) => {
    const world = await useWorld(t)
    if (!world) return
    const { installation, redis, stream, url } = world
    await startRefold(t, installation, 'notifier')
    const handled: Notification[] = []
    let mended = false
    const consumer = await registerConsumer(
      stream,
      async (notification, { seen, delivery }) => {
        if (await seen(notification.position)) return
        if (!mended && notification.payloadJson.includes('"n":3,')) throw new Error(`delivery ${delivery} failed`)
        handled.push(notification)
      },
      { url, group: 'service', from: '0', backOff: () => 300 },
    )
    t.teardown(() => consumer.stop())
    await send(world, 0, 40)
    await until(() => handled.length === 39, { within: 30_000, what: () => `39 handled, not ${handled.length}` })
    const letters = await until(
      async () => {
        const found = await listDeadLetters(redis, stream)
        return found.length > 0 && found
      },
      { within: 30_000, what: 'the dead letter' },
    )
    t.equal(letters.length, 1)
    const [letter] = letters
    t.match(letter, { errorMessage: /delivery 3 failed/, errorStack: /notifications.test.ts/, sourceStream: stream, movedAt: /^20.*Z$/ })
    const [[, original]] = (await redis.xrange(stream, letter!.originalId, letter!.originalId)) as [[string, string[]]]
    t.strictSame(letter?.fields, original, 'kept whole')
    mended = true
    const entry = await redriveDeadLetter(redis, stream, letter!.id)
    await until(() => handled.length === 40, { within: 30_000, what: 'the redriven entry to be handled' })
    const [[, again]] = (await redis.xrange(stream, entry!, entry!)) as [[string, string[]]]
    t.strictSame(again, original, 'byte for byte')
    t.strictSame(await listDeadLetters(redis, stream), [])
    t.equal(handled.at(-1)?.payloadJson, '{"n":3,"text":"ü\\"\\n"}')
    // A repeat is recognised.
    await redriveAgain(redis, stream, original)
    await send(world, 40, 1)
    await until(() => handled.length === 41, { within: 30_000, what: 'the next one' })
    t.equal(new Set(handled.map(({ position }) => position)).size, 41, 'the repeat was passed over')
  },
)

const redriveAgain = (redis: Redis, stream: string, fields: string[]) => redis.xadd(stream, '*', ...fields)

t.test('a Python reader with redis-py that knows only the contract', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  const python = await usePython(t)
  if (!python) return
  const { installation, stream, url } = world
  await startRefold(t, installation, 'notifier')
  await send(world, 0, 30)
  const entries = (await python.run('consume.py', [url, stream, `python-${randomBytes(3).toString('hex')}`, '30'], [])) as Record<
    string,
    string
  >[]
  t.equal(entries.length, 30)
  t.match(entries[0], { event_name: 'thing.happened', tenant: 'tenant', user_id: '', payload_json: /^\{"n":\d+,"text":"ü\\"\\n"\}$/ })
})

t.test('server-sent events: what comes, by filter, and on after Last-Event-ID', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  const read = async (query: string, count: number, lastEventId?: string) => {
    const stopping = new AbortController()
    const headers = { authorization: 'Bearer token', ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }) }
    const response = await fetch(new URL(`/v1/stream${query}`, world.rest.base), { headers, signal: stopping.signal })
    t.equal(response.headers.get('content-type'), 'text/event-stream; charset=utf-8')
    const events: { id: string; data: { to_state: string; execution_id: string } }[] = []
    let text = ''
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const lines = text.slice(0, end).split('\n')
        text = text.slice(end + 2)
        const id = lines.find((line) => line.startsWith('id: '))?.slice(4)
        const data = lines.find((line) => line.startsWith('data: '))?.slice(6)
        if (id !== undefined && data !== undefined)
          events.push({ id, data: JSON.parse(data) as { to_state: string; execution_id: string } })
      }
      if (events.length >= count) break
    }
    stopping.abort()
    return events
  }
  await send(world, 0, 97)
  const first = await read('?after=', 50)
  const rest = await read('', 47, first[49]!.id)
  t.equal(new Set([...first.slice(0, 50), ...rest].map(({ data }) => data.to_state)).size, 97, 'no gap, none twice')
  const live = read(`?execution_id=${executionOf(5)}`, 1)
  await until(
    async () => {
      await send(world, 5 + 97 * Math.floor(Math.random() * 1e6), 1)
      return Promise.race([live.then(() => true), new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 200))])
    },
    { within: 20_000, what: 'a live event' },
  )
  const [one] = await live
  t.equal(one?.data.execution_id, executionOf(5))
})
