// One partition's rules with a client that is played by the test; on a real Kafka a gap can hardly be provoked.

import t from 'tap'
import { RefoldError } from '../../errors.ts'
import { Assigned } from '../../kafka/assigned.ts'
import type { AssignedPorts } from '../../kafka/assigned.ts'
import type { Fetched } from '../../kafka/fetched.ts'
import type { LogRecord } from '../../kafka/log.ts'
import { Follower } from '../contracts/follower.ts'
import { until } from '../support/wait.ts'

const record = (offset: number): LogRecord => ({
  partition: 0,
  offset,
  key: null,
  value: null,
  appendedAt: 1,
  transactional: false,
  headers: {},
})

/** Offsets `from` to `to` as one fetched batch; those in `control` are control records. */
function batch(from: number, to: number, control: readonly number[] = []): Fetched {
  const offsets = Array.from({ length: to - from }, (_, i) => from + i)
  return {
    partition: 0,
    from,
    next: to,
    records: offsets.filter((each) => !control.includes(each)).map(record),
    highWatermark: to,
    holes: 0,
  }
}

function play({ checkpoint = 0, high = 1000, maxRecords = 100 } = {}) {
  const calls: string[] = []
  const follower = new Follower()
  follower.checkpoints.set(0, checkpoint)
  const bounds = { low: 0, high }
  const ports: AssignedPorts = {
    bounds: async () => bounds,
    hold: () => void calls.push('hold'),
    release: (_, offset) => void calls.push(`release ${offset}`),
    moved: (_, next) => void calls.push(`moved ${next}`),
    failed: (_, { code }) => void calls.push(`failed ${code}`),
    goesOn: () => void calls.push('goes on'),
    away: () => undefined,
  }
  const assigned = new Assigned('topic', 0, follower.handler, ports, maxRecords)
  t.teardown(() => assigned.close())
  return { assigned, calls, follower, bounds, ports }
}

const handed = ({ batches }: Follower) => batches.map(({ from, next }) => [from, next])

t.test('A1: nothing is taken before its place is found', async (t) => {
  const { assigned, follower, calls } = play({ checkpoint: 5 })
  t.equal(await assigned.take(batch(0, 10)), 'left')
  await assigned.position()
  t.strictSame(calls, ['hold', 'moved 5', 'release 5'])
  t.equal(await assigned.take(batch(5, 10)), 'taken')
  t.strictSame(handed(follower), [[5, 10]])
})

t.test('A1: a checkpoint out of bounds is looked at again, then refused until the log is back', async (t) => {
  const { assigned, calls, bounds } = play({ checkpoint: 50, high: 49 })
  const positioned = assigned.position()
  await until(() => calls.includes('failed log-replaced'))
  t.match(assigned.phase, { name: 'resting', error: { code: 'log-replaced' } })
  bounds.high = 50
  await positioned
  t.equal(assigned.phase.name, 'reading')
  t.equal(calls.at(-1), 'release 50')
})

t.test('A2: what is below the checkpoint is cut off', async (t) => {
  const { assigned, follower } = play({ checkpoint: 5 })
  await assigned.position()
  t.equal(await assigned.take(batch(0, 5)), 'taken', 'all of it was stored before')
  t.equal(await assigned.take(batch(2, 8)), 'taken')
  t.strictSame(handed(follower), [[5, 8]])
  t.strictSame(follower.offsets(0), [5, 6, 7])
})

for (const [title, gap] of [
  ['begins above the checkpoint', batch(7, 10)],
  ['has a hole', { ...batch(5, 10), records: [record(5), record(9)], holes: 3 }],
] as const)
  t.test(`A2: a batch that ${title} is never handed on`, async (t) => {
    const { assigned, follower, calls } = play({ checkpoint: 5 })
    await assigned.position()
    t.equal(await assigned.take(gap), 'left')
    t.equal(calls.at(-1), 'failed log-unavailable')
    await until(() => assigned.phase.name === 'reading')
    t.equal(calls.at(-1), 'release 5', 'it seeks there again')
    t.strictSame(handed(follower), [])
  })

t.test('A2: parts are contiguous and cover control records', async (t) => {
  const { assigned, follower } = play({ maxRecords: 2 })
  await assigned.position()
  t.equal(await assigned.take(batch(0, 10, [0, 3, 4, 8, 9])), 'taken')
  t.equal(await assigned.take(batch(10, 12, [10, 11])), 'taken', 'control records alone move it too')
  t.strictSame(handed(follower), [
    [0, 5],
    [5, 7],
    [7, 10],
    [10, 12],
  ])
  t.strictSame(follower.offsets(0), [1, 2, 5, 6, 7])
})

t.test('A3: batches are handed on one at a time, in the order in which they came', async (t) => {
  const { assigned, follower } = play()
  await assigned.position()
  const held = Promise.withResolvers<void>()
  follower.before = ({ from }) => (from === 0 ? held.promise : undefined)
  const taken = [assigned.take(batch(0, 3)), assigned.take(batch(3, 4, [3])), assigned.take(batch(4, 6))]
  await until(() => assigned.busy)
  t.strictSame(handed(follower), [])
  held.resolve()
  t.strictSame(await Promise.all(taken), ['taken', 'taken', 'taken'])
  t.strictSame(handed(follower), [
    [0, 3],
    [3, 4],
    [4, 6],
  ])
})

t.test('A4: after a failure it holds, rests, and asks for the checkpoint again', async (t) => {
  const { assigned, follower, calls } = play({ maxRecords: 2 })
  await assigned.position()
  follower.before = ({ from }) => {
    if (from === 2) throw new Error('away')
  }
  t.equal(await assigned.take(batch(0, 6)), 'left')
  t.strictSame(calls.slice(3), ['moved 2', 'hold', 'failed internal'])
  t.equal(await assigned.take(batch(6, 8)), 'left', 'what was fetched meanwhile is left')
  await until(() => calls.at(-1) === 'release 2')
  t.notOk(calls.includes('goes on'), 'that it found its place says nothing of the handler')
  follower.before = () => undefined
  t.equal(await assigned.take(batch(2, 6)), 'taken')
  t.equal(calls.filter((call) => call === 'goes on').length, 1, 'told when the handler stored something')
})

t.test('A4: one whose place could not be found goes on once it is', async (t) => {
  const { assigned, calls, ports } = play()
  let asked = 0
  ports.bounds = async () => {
    if (++asked <= 2) throw new RefoldError('log-unavailable', 'away')
    return { low: 0, high: 9 }
  }
  await assigned.position()
  t.strictSame(calls, ['hold', 'failed log-unavailable', 'failed log-unavailable', 'moved 0', 'goes on', 'release 0'])
})

t.test('A5: closed, it hands on nothing more, and the rest of a batch neither', async (t) => {
  const { assigned, follower, calls } = play({ maxRecords: 2 })
  await assigned.position()
  follower.before = () => assigned.close()
  t.equal(await assigned.take(batch(0, 6)), 'left')
  t.strictSame(handed(follower), [[0, 2]], 'what the handler had in hand is its own affair')
  t.equal(await assigned.take(batch(2, 6)), 'left')
  t.notOk(calls.includes('moved 2'), 'and is not mirrored')
})

t.test('interrupted, it stops after the part in hand, and goes on when the rest comes again', async (t) => {
  const { assigned, follower } = play({ maxRecords: 2 })
  await assigned.position()
  follower.before = () => assigned.interrupt()
  t.equal(await assigned.take(batch(0, 6)), 'left')
  follower.before = () => undefined
  t.equal(await assigned.take(batch(0, 6)), 'taken')
  t.strictSame(handed(follower), [
    [0, 2],
    [2, 4],
    [4, 6],
  ])
})
