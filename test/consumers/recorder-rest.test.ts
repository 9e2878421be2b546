// The rest of a recorder's batch as whoever waits for it has it: no Postgres, the clock of the machine. What is expected is wide of both sides.

import { randomUUID } from 'node:crypto'
import { test } from 'tap'
import { createRecorder } from '../../consumers/recorder.ts'
import type { WorkflowEvent } from '../../schemas/generated.ts'
import { createWatch } from '../../watch.ts'
import { event } from '../support/events.ts'
import { batchOf, codec, PARTITIONS, recordOf } from '../support/recording.ts'

/** ms. A batch of a dozen records takes it once, of one three times; what is in one batch after the other up to twelve times. */
const PACE = 30
const LONG = 220

/** Stores batches one after the other; answers ms that each took. */
function resting({ watch = createWatch(), pace = PACE } = {}) {
  const recorder = createRecorder({
    store: {
      checkpoint: async () => 0,
      witness: async () => undefined,
      async transaction(moves, work) {
        const moved = new Set(moves.map(({ partition }) => partition))
        await work({ generation: 1, read: async () => new Map(), readWork: async () => new Map(), write: async () => undefined }, moved)
        return moved
      },
    },
    schemas: { decode: ({ value }) => codec.decode(value), learn: async () => 'unknown' },
    partitions: PARTITIONS,
    watch,
    pace,
  })
  let offset = 0
  return async ({ events = [event()], apart = 0, behind = 0 }: { events?: readonly WorkflowEvent[]; apart?: number; behind?: number }) => {
    const from = offset
    const at = Date.now()
    const records = events.map((one) =>
      recordOf({ ...one, event_id: randomUUID() }, offset++, { appendedAt: at + (offset - from) * apart }),
    )
    const began = performance.now()
    await recorder.batch({ ...batchOf(records, from), highWatermark: offset + behind })
    return performance.now() - began
  }
}

const MANY = Array.from({ length: 12 }, () => event())

/** An execution whose records come of themselves, one each 10 ms, until its batches take long. */
async function hot(store: ReturnType<typeof resting>): Promise<void> {
  for (const until = performance.now() + 10_000; performance.now() < until;) if ((await store({ events: MANY, apart: 10 })) > LONG) return
  throw new Error('its batches do not take long')
}

test('who appends the next record when the one before is stored', async (t) => {
  const store = resting()
  const took: number[] = []
  for (let i = 0; i < 20; i++) took.push(await store({}))
  t.ok(Math.min(...took.slice(-3)) < LONG, 'waits as long as for the first one')
})

/** Whether a batch does not rest: one of three is enough, since a machine that stands still for a moment makes any long, and a rest each. */
async function soon(batch: () => Promise<number>): Promise<boolean> {
  for (let tries = 0; tries < 3; tries++) if ((await batch()) < LONG) return true
  return false
}

test('records that wait already', async (t) => {
  const store = resting()
  const behind = async () => {
    await hot(store)
    return store({ events: MANY, apart: 10, behind: 5000 })
  }
  t.ok(await soon(behind), 'are not kept waiting')
})

test('somebody else', async (t) => {
  const store = resting()
  const after = (stranger: WorkflowEvent) => async () => {
    await hot(store)
    await store({ events: [...MANY, stranger], apart: 10 })
    return store({ events: MANY, apart: 10 })
  }
  const other = event({ execution_id: 'e71cd09e-7c53-5b93-a2b5-3d1fd6a0a2b1' })
  t.ok(await soon(after(other)), 'who comes again after a batch waits no longer')
  t.ok(await soon(after(event({ tenant: '' }))), 'though nothing of theirs is accepted')
})

test('who waits for what was stored goes before the next batch', async (t) => {
  const order: string[] = []
  const watch = createWatch()
  watch.on('recorder:batch:stored', () => {
    order.push('stored')
    process.nextTick(() => order.push('told'))
  })
  await resting({ watch, pace: 0 })({})
  t.strictSame(order, ['stored', 'told'])
})

test('partitions that rested together go together again', async (t) => {
  const groups: number[] = []
  const recorder = createRecorder({
    store: {
      checkpoint: async () => 0,
      witness: async () => undefined,
      async transaction(moves, work) {
        groups.push(moves.length)
        const moved = new Set(moves.map(({ partition }) => partition))
        await work({ generation: 1, read: async () => new Map(), readWork: async () => new Map(), write: async () => undefined }, moved)
        await new Promise((resolve) => setTimeout(resolve, 2))
        return moved
      },
    },
    schemas: { decode: ({ value }) => codec.decode(value), learn: async () => 'unknown' },
    partitions: 12,
    watch: createWatch(),
    pace: 4,
  })
  const reading = Array.from({ length: 12 }, async (_, partition) => {
    for (let from = 0; from < 40; from++)
      await recorder.batch({ topic: 'events', partition, from, next: from + 1, records: [], highWatermark: from + 1 })
  })
  await Promise.all(reading)
  t.ok(groups.length <= 50, `${groups.length} transactions for 40 batches of each of 12 partitions`)
})
