// Who fetches for whom, with clients that are played by the test; with Kafka's own: test/contracts/log-kafka.test.ts.

import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { Assigned } from '../../kafka/assigned.ts'
import type { Fetched } from '../../kafka/fetched.ts'
import { createSharedFetches, type SharedFetches } from '../../kafka/shared-fetches.ts'
import { Follower } from '../contracts/follower.ts'
import { until } from '../support/wait.ts'

/** Offsets `from` to `to` as one fetched batch. */
const batch = (from: number, to: number): Fetched => ({
  partition: 0,
  from,
  next: to,
  records: Array.from({ length: to - from }, (_, i) => ({
    partition: 0,
    offset: from + i,
    key: null,
    value: null,
    appendedAt: 1,
    transactional: false,
    headers: {},
  })),
  highWatermark: to,
  holes: 0,
})

const LATE = 40

/** A reader of one partition; `fetches`: from where its client does, undefined: not at all. */
class Played {
  readonly follower = new Follower()
  readonly assigned: Assigned
  fetches: number | undefined
  failures = 0

  constructor(shared: SharedFetches, leads = false) {
    this.assigned = new Assigned(
      'topic',
      0,
      this.follower.handler,
      {
        bounds: async () => ({ low: 0, high: 1_000_000 }),
        hold: () => (this.fetches = undefined),
        release: (_, offset) => (this.fetches = offset),
        moved: () => undefined,
        failed: () => this.failures++,
        goesOn: () => undefined,
        away: () => shared.away(this.assigned),
      },
      5000,
    )
    shared.join(this.assigned, leads)
    t.teardown(() => this.assigned.close())
  }

  get handed() {
    return this.follower.batches.map(({ from, next }) => [from, next])
  }
}

/** Three readers that share, each at its checkpoint; where it is not given, the third is elsewhere. `leads`: the first one does. */
async function play({ checkpoints = [0, 0, 900_000] as readonly [number, number, number], alone = 60_000, few = 1, leads = false } = {}) {
  const shared = createSharedFetches(LATE, alone, few)
  const made = (checkpoint: number, first = false) => {
    const reader = new Played(shared, first)
    reader.follower.checkpoints.set(0, checkpoint)
    return reader
  }
  const [one, two, three] = [made(checkpoints[0], leads), made(checkpoints[1]), made(checkpoints[2])]
  for (const { assigned } of [one, two, three]) await assigned.position()
  return { shared, one, two, three }
}

t.test('S1: what one fetched the others get too, and fetch nothing themselves', async (t) => {
  const { shared, one, two } = await play()
  t.equal(await shared.take(one.assigned, batch(0, 3)), 'taken')
  t.equal(two.fetches, undefined)
  t.equal(one.fetches, 0, 'nobody told its client anything')
  t.equal(await shared.take(two.assigned, batch(0, 3)), 'left', 'fetched before it followed: it has it already')
  t.equal(await shared.take(one.assigned, batch(3, 5)), 'taken')
  for (const { handed, failures } of [one, two]) {
    t.strictSame(handed, [
      [0, 3],
      [3, 5],
    ])
    t.equal(failures, 0)
  }
})

t.test('S1: one in the middle of a batch gets the rest of it; one elsewhere gets none', async (t) => {
  const { shared, one, two, three } = await play({ checkpoints: [0, 2, 7] })
  t.equal(await shared.take(one.assigned, batch(0, 4)), 'taken')
  t.strictSame(two.handed, [[2, 4]])
  t.strictSame(three.handed, [])
  t.equal(three.fetches, 7)
  t.equal(await shared.take(one.assigned, batch(4, 8)), 'taken')
  t.strictSame(three.handed, [[7, 8]], 'it is caught up with, and follows')
  t.equal(three.fetches, undefined)
})

t.test('S2: who is late is left alone, and goes on by itself', async (t) => {
  const { shared, one, two } = await play()
  const held = Promise.withResolvers<void>()
  two.follower.before = () => held.promise
  t.equal(await shared.take(one.assigned, batch(0, 3)), 'taken', 'it does not wait for the other')
  t.equal(two.fetches, 3, 'its client fetches what comes behind the batch in its hands')
  t.equal(await shared.take(one.assigned, batch(3, 5)), 'taken')
  held.resolve()
  await until(() => two.assigned.next === 3)
  t.equal(await shared.take(two.assigned, batch(3, 9)), 'taken')
  t.strictSame(two.handed, [
    [0, 3],
    [3, 9],
  ])
  t.strictSame(one.handed.at(-1), [3, 5], 'nor does it fetch for others')
})

t.test('S2: a slow one that fetches does not hold up who follows', async (t) => {
  const { shared, one, two } = await play({ alone: 50 })
  const held = Promise.withResolvers<void>()
  one.follower.before = () => held.promise
  const taking = shared.take(one.assigned, batch(0, 3))
  await until(() => two.fetches === 3)
  t.strictSame(two.handed, [[0, 3]])
  t.equal(await shared.take(two.assigned, batch(3, 5)), 'taken')
  held.resolve()
  t.equal(await taking, 'taken')
  t.equal(await shared.take(one.assigned, batch(3, 6)), 'taken', 'it goes on as its client does')
  await new Promise((resolve) => setTimeout(resolve, 60))
  t.equal(await shared.take(two.assigned, batch(5, 8)), 'taken')
  t.strictSame(one.handed.at(-1), [6, 8], 'after a while they go together again')
})

t.test('S2: who takes a little longer is waited for', async (t) => {
  const { shared, one, two } = await play()
  two.follower.before = () => new Promise((resolve) => setTimeout(resolve, LATE / 8))
  t.equal(await shared.take(one.assigned, batch(0, 1000)), 'taken')
  t.equal(two.assigned.next, 1000)
  t.equal(two.fetches, undefined, 'and follows on')
})

t.test('S4: few records are not shared, and who followed fetches itself again', async (t) => {
  const { shared, one, two } = await play({ few: 3 })
  t.equal(await shared.take(one.assigned, batch(0, 3)), 'taken')
  t.equal(two.fetches, undefined)
  t.equal(await shared.take(one.assigned, batch(3, 5)), 'taken')
  t.equal(two.fetches, 3)
  t.strictSame(two.handed, [[0, 3]])
  t.equal(await shared.take(two.assigned, batch(3, 6)), 'taken')
  t.strictSame(two.handed.at(-1), [3, 6])
  t.strictSame(one.handed.at(-1), [5, 6], 'and the other way round')
})

t.test('S3: where the one that fetches fails, is sent elsewhere or closed, the other fetches itself', async (t) => {
  for (const how of ['fails', 'elsewhere', 'closed'] as const) {
    const { shared, one, two } = await play()
    await shared.take(one.assigned, batch(0, 3))
    t.equal(two.fetches, undefined)
    if (how === 'closed') one.assigned.close()
    else {
      one.follower.before = () => {
        if (how === 'fails') throw new Error('away')
        one.follower.checkpoints.set(0, 100)
      }
      await shared.take(one.assigned, batch(3, 5))
    }
    await turn()
    t.equal(two.fetches, two.assigned.end, how)
    t.equal(two.assigned.end, how === 'closed' ? 3 : 5)
  }
})

t.test('S3: one that follows and fails rests alone, and is back at its checkpoint', async (t) => {
  const { shared, one, two } = await play()
  await shared.take(one.assigned, batch(0, 3))
  two.follower.before = () => {
    throw new Error('away')
  }
  t.equal(await shared.take(one.assigned, batch(3, 5)), 'taken')
  t.equal(two.failures, 1)
  two.follower.before = () => undefined
  await until(() => two.fetches === 3)
  t.equal(await shared.take(one.assigned, batch(5, 6)), 'taken')
  t.equal(two.fetches, 3, 'what it has not read is not in that batch')
  t.equal(await shared.take(two.assigned, batch(3, 6)), 'taken')
  t.strictSame(two.handed, [
    [0, 3],
    [3, 6],
  ])
  t.equal(one.fetches, undefined, 'and they are together again')
})

t.test('those that follow one that begins to follow are not forgotten', async (t) => {
  const { shared, one, two, three } = await play({ checkpoints: [0, 0, 2] })
  await shared.take(one.assigned, batch(0, 1))
  t.equal(two.fetches, undefined)
  // The third is ahead; it becomes the one that fetches, and is caught up with by the first.
  t.equal(await shared.take(three.assigned, batch(2, 4)), 'taken')
  t.equal(await shared.take(one.assigned, batch(1, 4)), 'taken')
  t.equal(three.fetches, undefined)
  for (const { assigned } of [one, two, three]) t.equal(assigned.next, 4)
  t.strictSame([one, two, three].map(({ fetches }) => fetches).filter((from) => from !== undefined).length, 1, 'one client fetches for all')
})

t.test('S5: one that leads hands on few records too, and waits for nobody', async (t) => {
  const { shared, one, two } = await play({ few: 100, leads: true })
  const held = Promise.withResolvers<void>()
  two.follower.before = () => held.promise
  t.equal(await shared.take(one.assigned, batch(0, 3)), 'taken')
  t.equal(two.fetches, undefined)
  for (const from of [3, 4]) t.equal(await shared.take(one.assigned, batch(from, from + 1)), 'taken')
  t.equal(two.fetches, undefined, 'it has three batches in hand')
  t.equal(await shared.take(one.assigned, batch(5, 6)), 'taken')
  t.equal(two.fetches, 5, 'no fourth: it fetches what comes behind them itself')
  held.resolve()
  await until(() => two.assigned.next === 5)
  t.strictSame(two.handed, [
    [0, 3],
    [3, 4],
    [4, 5],
  ])
  t.equal(await shared.take(two.assigned, batch(5, 6)), 'taken')
  t.equal(await shared.take(one.assigned, batch(6, 8)), 'taken')
  await until(() => two.assigned.next === 8)
  t.equal(two.fetches, undefined, 'and follows again once it is where the other is')
  t.equal(two.failures, 0)
})

t.test('S5: one that leads follows nobody', async (t) => {
  const { shared, one, two } = await play({ leads: true })
  t.equal(await shared.take(two.assigned, batch(0, 3)), 'taken')
  t.equal(one.fetches, 0)
  t.strictSame(one.handed, [])
  t.equal(await shared.take(one.assigned, batch(0, 5)), 'taken')
  await until(() => two.assigned.next === 5)
  t.strictSame(two.handed, [
    [0, 3],
    [3, 5],
  ])
})

t.test('S5: where one that leads fails, those that follow fetch themselves until it is back', async (t) => {
  const { shared, one, two } = await play({ leads: true })
  await shared.take(one.assigned, batch(0, 3))
  await until(() => two.assigned.next === 3)
  t.equal(two.fetches, undefined)
  one.follower.before = () => {
    throw new Error('away')
  }
  t.equal(await shared.take(one.assigned, batch(3, 5)), 'left')
  await until(() => two.assigned.next === 5)
  t.equal(two.fetches, 5)
  t.equal(await shared.take(one.assigned, batch(5, 6)), 'left', 'fetched before it rested')
  t.equal(two.fetches, 5, 'it is handed nothing by one that rests')
  one.follower.before = () => undefined
  await until(() => one.fetches === 3)
  t.equal(await shared.take(one.assigned, batch(3, 7)), 'taken')
  await until(() => two.assigned.next === 7)
  t.equal(two.fetches, undefined)
  t.strictSame(two.handed.at(-1), [5, 7])
})
