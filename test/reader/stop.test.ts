// stop(): waits for the handler in hand, whatever that takes, and for Redis hardly at all.

import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Handler } from '../../reader/index.ts'
import { useStream } from '../support/reader-stream.ts'
import { until } from '../support/wait.ts'

const SOON = 2000

async function endsSoon(t: Test, stopping: Promise<void>, what: string) {
  const began = performance.now()
  const ended = await Promise.race([stopping.then(() => true), pause(2 * SOON, false)])
  t.ok(ended && performance.now() - began < SOON, `${what}: ${Math.round(performance.now() - began)} ms`)
}

t.test('while Redis is away it does not wait for it', async (t) => {
  const here = await useStream(t)
  if (!here) return
  const consumer = await here.register(() => undefined)
  here.door.shut()
  // Both of its connections ask by then.
  await pause(700)
  await endsSoon(t, consumer.stop(), 'with nothing in hand')
})

t.test('what was handled and could not be acknowledged comes again', async (t) => {
  const here = await useStream(t)
  if (!here) return
  const handled: string[] = []
  const consumer = await here.register(({ position }) => {
    here.door.shut()
    handled.push(position)
  })
  const id = await here.add(1)
  await until(() => handled.length === 1)
  await endsSoon(t, consumer.stop(), 'in the middle of an acknowledgement')
  t.strictSame(await here.pending(), [id])
})

t.test('nor in the middle of a claim', async (t) => {
  const here = await useStream(t)
  if (!here) return
  const first = Promise.withResolvers<void>()
  const handled: string[] = []
  const handler: Handler = async ({ position }) => {
    handled.push(position)
    await first.promise
  }
  await here.direct.xgroup('CREATE', here.stream, 'g', '0', 'MKSTREAM')
  await here.add(1)
  await here.direct.xreadgroup('GROUP', 'g', 'one-that-died', 'STREAMS', here.stream, '>')
  await here.add(2)
  const consumer = await here.register(handler, { idle: 200 })
  await until(() => handled.length === 1)
  // The other entry is due, and looked for, by then.
  await pause(1200)
  here.door.shut()
  first.reject(new Error('not now'))
  await pause(200)
  await endsSoon(t, consumer.stop(), 'a claim')
  t.equal(handled.length, 1)
  t.equal((await here.pending()).length, 2)
})

t.test('nor for a back-off, or for a handler that asks whether it has seen an event', async (t) => {
  const here = await useStream(t)
  if (!here) return
  let handled = 0
  const failing = await here.register(
    () => {
      handled++
      throw new Error('not now')
    },
    { backOff: () => 60_000 },
  )
  await here.add(1)
  await until(() => handled === 1)
  await endsSoon(t, failing.stop(), 'a back-off')
  const asking = await here.register(async ({ position }, { seen }) => {
    handled++
    here.door.shut()
    await seen(position)
  })
  await here.add(2)
  await until(() => handled === 2)
  await endsSoon(t, asking.stop(), 'seen()')
})

t.test('it waits for the handler in hand, lets it be acknowledged, and begins no other', async (t) => {
  const here = await useStream(t)
  if (!here) return
  const first = Promise.withResolvers<void>()
  const handled: string[] = []
  await here.direct.xgroup('CREATE', here.stream, 'g', '0', 'MKSTREAM')
  await here.add(1)
  await here.direct.xreadgroup('GROUP', 'g', 'one-that-died', 'STREAMS', here.stream, '>')
  const consumer = await here.register(
    async ({ id }) => {
      handled.push(id)
      await first.promise
    },
    { idle: 200 },
  )
  await here.add(2)
  await here.add(3)
  // One in hand; the next one, and the other's, are due.
  await pause(1200)
  const stopping = consumer.stop()
  t.equal(await Promise.race([stopping.then(() => 'ended'), pause(SOON, 'waits')]), 'waits')
  first.resolve()
  await endsSoon(t, stopping, 'once it has ended')
  t.equal(handled.length, 1)
  t.notOk((await here.pending()).includes(handled[0] ?? ''), 'it was acknowledged')
})
