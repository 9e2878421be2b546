// A handler that never ends has failed: its entry becomes a dead letter, and those behind it are handled.

import t from 'tap'
import type { Handler } from '../../reader/index.ts'
import { useStream } from '../support/reader-stream.ts'
import { until } from '../support/wait.ts'

t.test('one that hangs in every member starves nobody', async (t) => {
  const here = await useStream(t)
  if (!here) return
  const handled = new Set<string>()
  const begun: number[] = []
  const told: AbortSignal[] = []
  const end = Promise.withResolvers<void>()
  t.teardown(() => end.resolve())
  const handler: Handler = async ({ position }, { delivery, signal }) => {
    if (position === 'p0:0') {
      begun.push(delivery)
      told.push(signal)
      await end.promise
    }
    handled.add(position)
  }
  const options = { idle: 5000, timeout: 300, backOff: () => 100 }
  const members = await Promise.all([here.register(handler, options), here.register(handler, options)])
  t.teardown(() => Promise.all(members.map((member) => member.stop())))
  await here.add(0)
  await until(() => begun.length === 1)
  for (let offset = 1; offset <= 10; offset++) await here.add(offset)
  await until(() => handled.size === 10)
  const [letter] = await until(async () => {
    const letters = await here.deadLetters()
    return letters.length > 0 && letters
  })
  t.match(letter, { errorMessage: 'its handler has not ended after 300 ms', fields: ['event_name', 'thing.happened', 'position', 'p0:0'] })
  t.strictSame(begun, [1, 2, 3])
  t.ok(
    told.every(({ aborted }) => aborted),
    'each was told',
  )
  await until(async () => (await here.pending()).length === 0)
})

t.test('0 is no limit, and one that ends in time is not told of any', async (t) => {
  const here = await useStream(t)
  if (!here) return
  const signals: AbortSignal[] = []
  const handler: Handler = (_, { signal }) => void signals.push(signal)
  for (const [before, timeout] of [0, 50].entries()) {
    const member = await here.register(handler, { timeout })
    await here.add(timeout)
    await until(async () => signals.length > before && (await here.pending()).length === 0)
    await member.stop()
  }
  t.strictSame(
    signals.map(({ aborted }) => aborted),
    [false, false],
  )
})
