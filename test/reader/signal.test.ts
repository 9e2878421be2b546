// Told to stop by a signal, which there is before Redis is: registering ends, and so does all that it opened.

import t from 'tap'
import { useStream } from '../support/reader-stream.ts'
import { until } from '../support/wait.ts'

const SOON = 1000

const GONE = { within: 5000, what: 'no connection to be left' }

t.test('before Redis is there, registering rejects with its reason, soon, and nothing is tried again', async (t) => {
  const here = await useStream(t)
  if (!here) return
  here.door.shut()
  const stop = new AbortController()
  const told: string[] = []
  const registering = here.register(() => undefined, { signal: stop.signal, failed: ({ message }) => told.push(message) })
  await until(() => told.length > 0, { within: 5000, what: 'it to look for Redis' })
  const began = performance.now()
  stop.abort(new Error('the service ends'))
  await t.rejects(registering, { message: 'the service ends' })
  t.ok(performance.now() - began < SOON)
  await here.door.open()
  // Longer than between two tries.
  const end = performance.now() + 2500
  await until(async () => (await here.isConnected()) || performance.now() > end)
  t.notOk(await here.isConnected())
  t.equal(await here.direct.exists(here.stream), 0, 'no group was made')
})

t.test('one that fired before is heard too', async (t) => {
  const here = await useStream(t)
  if (!here) return
  await t.rejects(
    here.register(() => undefined, { signal: AbortSignal.abort(new Error('over')) }),
    { message: 'over' },
  )
  t.notOk(await here.isConnected())
})

t.test('later it is a stop(): the handler in hand is waited for, and nothing is handled after it', async (t) => {
  const here = await useStream(t)
  if (!here) return
  const first = Promise.withResolvers<void>()
  const handled: string[] = []
  const stop = new AbortController()
  const consumer = await here.register(
    async ({ position }) => {
      handled.push(position)
      await first.promise
    },
    { signal: stop.signal },
  )
  const add = (position: string) => here.direct.xadd(here.stream, '*', 'event_name', 'e', 'position', position)
  const id = await add('p0:1')
  await until(() => handled.length === 1)
  await add('p0:2')
  stop.abort()
  const stopped = consumer.stop()
  t.ok(await here.isConnected(), 'to acknowledge it')
  first.resolve()
  await stopped
  await until(async () => !(await here.isConnected()), GONE)
  t.strictSame(handled, ['p0:1'])
  const pending = (await here.direct.xpending(here.stream, 'g', '-', '+', 10)) as [string][]
  t.notOk(
    pending.some(([one]) => one === id),
    'it is acknowledged',
  )
})

t.test('what is no stream is refused, and no connection is left', async (t) => {
  const here = await useStream(t)
  if (!here) return
  await here.direct.set(here.stream, 'text')
  await t.rejects(
    here.register(() => undefined),
    { message: /WRONGTYPE/ },
  )
  await until(async () => !(await here.isConnected()), GONE)
})
