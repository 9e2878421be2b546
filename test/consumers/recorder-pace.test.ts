// How long a batch of the recorder takes at least, on a clock in the hand.

import { test } from 'tap'
import { createPace } from '../../consumers/recorder-pace.ts'

type Of = { records?: number; took?: number; over?: number; behind?: boolean }

/** Batches of 20 ms each, which begin when the one before is over. */
function pacedBy(pace: number) {
  let now = 1000
  const paced = createPace(pace, () => now)
  return {
    /** Its records are of each execution in turn, appended `over` so many ms. */
    batch(executions: readonly string[], { records = 12, took = 20, over = 1000, behind = false }: Of = {}): number {
      const began = now
      now += took
      const all = Array.from({ length: records }, (_, i) => ({
        execution: executions[i % executions.length] ?? '',
        appendedAt: i < executions.length ? began - over : began,
      }))
      const least = paced.leastOf(all, began, behind)
      now = Math.max(now, began + least)
      return least
    },
    later: (ms: number) => (now += ms),
  }
}

/** A batch each `took` ms of what was appended meanwhile, a record of one execution each `each` ms; the rests. */
function rests(each: number, took = 4): number[] {
  let now = 1000
  let appended = now
  const paced = createPace(4, () => now)
  return Array.from({ length: 100 }, () => {
    const began = now
    const records = []
    for (; appended <= began; appended += each) records.push({ execution: 'hot', appendedAt: appended })
    now += took
    const least = paced.leastOf(records, began, false)
    now = Math.max(now, began + least, appended)
    return least
  })
}

test('a batch takes its pace, one of few records up to three times as long', async (t) => {
  const { batch } = pacedBy(6)
  let n = 0
  t.strictSame(
    [0, 1, 6, 12, 500].map((records) => Math.round(batch([`e${n++}`], { records }))),
    [18, 17, 12, 6, 6],
  )
  t.equal(pacedBy(0).batch(['e'], { records: 1 }), 0)
})

test('a dozen records rest no longer than their work took, half a dozen twice as long', async (t) => {
  const { batch } = pacedBy(6)
  let n = 0
  t.strictSame(
    [1, 6, 12, 500].map((records) => Math.round(batch([`e${n++}`], { records, took: 2 }))),
    [17, 4, 2, 2],
  )
})

test('an execution that is in one batch after the other waits a quarter of that time', async (t) => {
  const { batch, later } = pacedBy(4)
  const took = Array.from({ length: 20 }, () => batch(['hot']))
  t.strictSame(
    took.slice(0, 6),
    [4, 5, 10, 15, 20, 25].map((ms) => Math.max(4, ms)),
    'batches of 20 ms: 0, 20, 40 … ms of it',
  )
  t.equal(took.at(-1), 48, 'at most twelve times the pace')
  later(49)
  t.equal(batch(['hot']), 48, 'one that comes soon follows')
  later(50)
  t.equal(batch(['hot']), 4, 'one that comes after a while does not')
  t.equal(batch(['hot']), 5)
})

test('a rest is no gap', async (t) => {
  const { batch } = pacedBy(20)
  for (let i = 0; i < 40; i++) batch(['hot'], { took: 2 })
  t.equal(batch(['hot'], { took: 2 }), 240)
  t.equal(batch(['hot'], { took: 300 }), 240, 'nor is a batch that takes longer than its rest')
  t.equal(batch(['hot'], { took: 2 }), 240)
})

test('a process that stops waits half a second for it', async (t) => {
  const { batch } = pacedBy(100)
  for (let i = 0; i < 40; i++) batch(['hot'])
  t.equal(batch(['hot']), 500)
})

test('somebody else ends it, and who comes again and again waits a quarter of the time between', async (t) => {
  const { batch } = pacedBy(4)
  for (let i = 0; i < 20; i++) batch(['hot'])
  t.equal(batch(['hot', 'new']), 4)
  t.equal(batch(['hot']), 5, '20 ms ago')
  t.equal(batch(['hot']), 10)
  t.equal(batch(['hot', 'new']), 4, 'it was not in the one before')
  t.equal(batch(['hot', 'new']), 5, 'now it was')
  t.equal(batch(['other']), 4)
  t.equal(batch(['hot']), 4)
  for (let i = 0; i < 20; i++) batch(['hot'])
  t.equal(batch([], { records: 0 }), 12, 'a batch of no record')
  t.equal(batch(['hot']), 4)
})

test('who appends when the one before is stored waits no longer than others', async (t) => {
  const { batch } = pacedBy(4)
  for (let i = 0; i < 20; i++) batch(['hot'])
  t.equal(batch(['hot'], { over: 0 }), 4, 'a burst')
  t.equal(batch(['hot'], { over: 9 }), 18, 'twice as long as it took to append them')
  t.equal(batch(['hot'], { over: -5 }), 4, 'a clock that was set back')
  for (let i = 0; i < 20; i++) batch(['hot', 'calm'])
  t.equal(batch(['hot', 'calm']), 48)
  t.equal(batch(['hot', 'calm'], { records: 3 }), 10, 'one of them has a single record')
})

test('records that come of themselves make batches long', async (t) => {
  t.equal(rests(1).at(-1), 48)
  t.equal(rests(4).at(-1), 48)
  t.ok(
    rests(20).every((ms) => ms < 12),
    'not where each batch has one',
  )
})

test('records that wait already are not kept waiting', async (t) => {
  const { batch } = pacedBy(4)
  for (let i = 0; i < 20; i++) batch(['hot'])
  t.equal(batch(['hot'], { behind: true }), 4)
  t.equal(batch(['hot']), 48)
})

test('of very many executions', async (t) => {
  const { batch } = pacedBy(4)
  const many = Array.from({ length: 200_000 }, (_, i) => `e${i}`)
  t.equal(batch(many, { records: many.length }), 4)
})
