// A dead letter's way: when its deliveries come, what it is made of, and who goes on meanwhile.

import t from 'tap'
import type { Handler } from '../../reader/index.ts'
import { useStream } from '../support/reader-stream.ts'
import { until } from '../support/wait.ts'

t.setTimeout(60_000)

/** Redis counts idle times in whole ms, of a clock of its own. */
const ROUNDING = 5

t.test('three deliveries, 1 s and 5 s after the failure before each; others go on', async (t) => {
  const here = await useStream(t)
  if (!here) return
  const begun: { delivery: number; at: number }[] = []
  const failedAt: number[] = []
  const handled: string[] = []
  const handler: Handler = ({ position }, { delivery }) => {
    if (position !== 'p0:0') return void handled.push(position)
    begun.push({ delivery, at: performance.now() })
    throw new Error(`delivery ${delivery}`)
  }
  const member = await here.register(handler, { failed: () => failedAt.push(performance.now()) })
  t.teardown(() => member.stop())
  const id = await here.add(0)
  for (const delivery of [1, 2, 3]) {
    await until(() => begun.length === delivery, { what: `delivery ${delivery}` })
    await here.add(delivery)
    await until(() => handled.length === delivery, { what: 'the one behind it' })
    t.equal(begun.length, delivery)
  }
  const [letter] = await until(async () => {
    const letters = await here.deadLetters()
    return letters.length > 0 && letters
  })
  t.strictSame(
    begun.map(({ delivery }) => delivery),
    [1, 2, 3],
  )
  const waited = [1, 2].map((delivery) => begun[delivery]!.at - failedAt[delivery - 1]!)
  t.ok(waited[0]! >= 1000 - ROUNDING, `first ${waited[0]} ms`)
  t.ok(waited[1]! >= 5000 - ROUNDING, `then ${waited[1]} ms`)
  t.equal(letter?.errorMessage, 'delivery 3')
  t.equal(letter?.originalId, id)
  t.strictSame(await here.pending(), [])
})

t.test('it has six fields, of these names', async (t) => {
  const here = await useStream(t)
  if (!here) return
  const member = await here.register(
    () => {
      throw new Error('not now')
    },
    { backOff: () => 1 },
  )
  t.teardown(() => member.stop())
  const id = await here.add(7)
  const [[, flat]] = await until(async () => {
    const entries = (await here.direct.xrange(`${here.stream}:dlq`, '-', '+')) as [[string, string[]]]
    return entries.length > 0 && entries
  })
  t.strictSame(
    flat.filter((_, i) => i % 2 === 0),
    ['original_message', 'error_message', 'error_stack', 'source_stream', 'original_id', 'moved_at'],
  )
  const letter = Object.fromEntries(flat.flatMap((name, i) => (i % 2 === 0 ? [[name, flat[i + 1] ?? '']] : [])))
  t.match(letter, { error_message: 'not now', source_stream: here.stream, original_id: id })
  t.strictSame(JSON.parse(letter['original_message'] ?? ''), ['event_name', 'thing.happened', 'position', 'p0:7'])
  t.match(letter['error_stack'], /^Error: not now\n +at .*dead-letters.test.ts/)
  t.ok(Math.abs(Date.parse(letter['moved_at'] ?? '') - Date.now()) < 60_000)
})

t.test('a process that hangs loses its entries, a handler that hangs keeps its own; neither starves anybody', async (t) => {
  const here = await useStream(t)
  if (!here) return
  const end = Promise.withResolvers<void>()
  t.teardown(() => end.resolve())
  const handled: string[] = []
  for (let offset = 0; offset < 5; offset++) await here.add(offset)
  // A process that hangs: it renews nothing. Its entries are those of a consumer that nobody runs.
  const stuck = (await here.direct
    .xgroup('CREATE', here.stream, 'g', '0')
    .then(() => here.direct.xreadgroup('GROUP', 'g', 'hangs', 'COUNT', 5, 'STREAMS', here.stream, '>'))) as [string, [string, string[]][]][]
  t.equal(stuck[0]?.[1].length, 5)
  // One whose process lives and whose handler hangs: what it has in hand stays its own.
  const alive = await here.register(
    async ({ position }) => {
      handled.push(`hangs ${position}`)
      await end.promise
    },
    { idle: 2000, consumer: 'alive' },
  )
  t.teardown(() => alive.stop())
  await here.add(5)
  await until(() => handled.includes('hangs p0:5'))
  const other = await here.register(({ position }, { delivery }) => void handled.push(`${position} ${delivery}`), {
    idle: 2000,
    consumer: 'other',
  })
  t.teardown(() => other.stop())
  for (let offset = 6; offset < 10; offset++) await here.add(offset)
  await until(() => handled.length === 10, { what: () => handled.join(', ') })
  t.strictSame(handled.slice(1, 5).toSorted(), ['p0:6 1', 'p0:7 1', 'p0:8 1', 'p0:9 1'], 'new ones first: nothing starves them')
  t.strictSame(handled.slice(5), ['p0:0 2', 'p0:1 2', 'p0:2 2', 'p0:3 2', 'p0:4 2'], 'taken over, in order, as a second delivery')
  t.strictSame(await here.deadLetters(), [])
  end.resolve()
  await until(async () => (await here.pending()).length === 0)
})
