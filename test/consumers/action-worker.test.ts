// Which requests a worker runs, and how far its queue counts as worked off; attempts are made by hand.

import t from 'tap'
import { createActionWorker } from '../../consumers/action-worker.ts'
import type { Ended } from '../../consumers/run-attempt.ts'
import { NO_FAULTS } from '../../faults.ts'
import type { LogBatch } from '../../kafka/log.ts'
import { event } from '../support/events.ts'
import { busyWorker, request } from '../support/hand-worker.ts'
import { until } from '../support/wait.ts'

t.test('a partition that comes back: what was finished here is not run again, what still runs is not run twice', async (t) => {
  const saved = new Map<number, number>([[0, 10]])
  const runs: number[] = []
  const inherits: number[] = []
  const slow = Promise.withResolvers<Ended>()
  const worker = createActionWorker({
    store: {
      checkpoint: async (_, partition) => saved.get(partition) ?? 0,
      save: async (_, partition, next) => void saved.set(partition, Math.max(next, saved.get(partition) ?? 0)),
    },
    // A request's number is its one byte.
    decode: (bytes) => ({ state: 'request', request: request(bytes?.[0] ?? 0) }),
    async attempt({ action }, _, inherited) {
      if (inherited) inherits.push(action)
      runs.push(action)
      return action === 1 ? slow.promise : { state: 'reported' }
    },
    memory: { expect: () => undefined, unexpect: () => undefined },
    serves: () => true,
    concurrency: 10,
    eager: 0,
    drain: 100,
    logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
    faults: NO_FAULTS,
    now: Date.now,
  })
  const handler = worker.handler('actions')
  const records = [10, 11, 12, 13].map((offset) => ({
    partition: 0,
    offset,
    key: null,
    value: new Uint8Array([offset - 10]),
    appendedAt: offset < 12 ? 0 : Date.now() + 60_000,
    transactional: false,
    headers: {},
  }))
  const batch: LogBatch = { topic: 'actions', partition: 0, from: 10, next: 14, records, highWatermark: 14 }
  t.equal(await handler.checkpoint(0), 10)
  t.equal(await handler.batch(batch), 14)
  await until(() => worker.running === 1, { what: 'all but the slow one to end' })

  t.equal(await handler.checkpoint(0), 11, 'what was done is stored before the partition is read again: the slow one holds the rest')
  t.equal(await handler.batch({ ...batch, from: 11, records: records.slice(1) }), 14)
  t.strictSame(runs, [0, 1, 2, 3])
  t.strictSame(inherits, [0, 1], 'W5: those that were there before the partition came')
  slow.resolve({ state: 'reported' })
  await until(() => saved.get(0) === 14, { what: 'the queue to be worked off' })
  t.strictSame(runs, [0, 1, 2, 3])
  await worker.stop()
})

t.test('an action about to be scheduled has a slot kept for it, for a moment', async (t) => {
  const told: string[] = []
  const slow = Promise.withResolvers<Ended>()
  const worker = createActionWorker({
    store: { checkpoint: async () => 0, save: async () => undefined },
    decode: () => ({ state: 'request', request: request(0) }),
    attempt: () => slow.promise,
    memory: {
      expect: ({ action_id, action, attempt, key }) => void told.push(`expects ${action_id} ${action} ${attempt} ${key}`),
      unexpect: ({ action_id }) => void told.push(`not ${action_id}`),
    },
    serves: (name, queue) => name === 'noop' && queue === null,
    concurrency: 10,
    eager: 1,
    drain: 100,
    logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
    faults: NO_FAULTS,
    now: Date.now,
  })
  const scheduled = (n: number, key: string | null = null, more: object = {}) =>
    event({
      event_id: `a${n}`,
      event_name: 'action.scheduled',
      decision: n,
      payload: JSON.stringify({ name: 'noop', queue: null, key, ...more }),
    })
  worker.expects(event())
  worker.expects(scheduled(8, null, { queue: 'gpu' }))
  worker.expects(scheduled(9, null, { name: 'elsewhere' }))
  worker.expects(scheduled(1))
  worker.expects(scheduled(1))
  worker.expects(scheduled(2, 'mine'))
  t.strictSame(told, ['expects a1 1 1 a1'], 'once, and no more than there are slots')
  t.equal(worker.take(request(2), null), undefined, 'the slot is another one’s')
  t.ok(worker.take(request(1), null))
  t.equal(worker.running, 1)
  slow.resolve({ state: 'reported' })
  await until(() => worker.running === 0, { what: 'the attempt to end' })

  worker.expects(scheduled(3, 'mine'))
  t.equal(told.at(-1), 'expects a3 3 1 mine')
  t.equal(worker.take(request(4), null), undefined)
  await until(() => told.at(-1) === 'not a3', { what: 'the slot to be given up' })
  t.equal(worker.take(request(4), 'gpu'), undefined, 'a queue that others serve')
  t.equal(worker.take({ ...request(4), name: 'elsewhere' }, null), undefined, 'an action that others implement')
  t.ok(worker.take(request(4), null), 'it is free again')
  worker.expects(scheduled(5))
  await worker.stop()
  t.equal(worker.take(request(5), null), undefined, 'nothing once it stops')
})

t.test(
  'a slot kept for a decision that does not stand is that of the one which does, and what was asked ahead is given back',
  async (t) => {
    const told: string[] = []
    const worker = createActionWorker({
      store: { checkpoint: async () => 0, save: async () => undefined },
      decode: () => ({ state: 'request', request: request(0) }),
      attempt: async () => ({ state: 'reported' }),
      memory: {
        expect: ({ action_id, key }) => void told.push(`expects ${action_id} ${key}`),
        unexpect: ({ action_id, key }) => void told.push(`not ${action_id} ${key}`),
      },
      serves: () => true,
      concurrency: 10,
      eager: 1,
      drain: 100,
      logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
      faults: NO_FAULTS,
      now: Date.now,
    })
    const scheduled = (key: string) =>
      event({ event_id: 'a1', event_name: 'action.scheduled', decision: 1, payload: JSON.stringify({ name: 'noop', queue: null, key }) })
    worker.expects(scheduled('ahead'))
    worker.expects(scheduled('true'))
    t.strictSame(told.splice(0), ['expects a1 ahead', 'not a1 ahead', 'expects a1 true'])
    await worker.take({ ...request(1), key: 'true' }, null)
    t.strictSame(told, [])
    worker.expects(scheduled('ahead'))
    await worker.take({ ...request(1), key: 'true' }, null)
    t.strictSame(told, ['expects a1 ahead', 'not a1 ahead'])
    t.ok(worker.take(request(2), null), 'the slot is free again')
    await worker.stop()
  },
)

t.test('an attempt that is asked for again while it runs takes no second slot', async (t) => {
  const slow = Promise.withResolvers<Ended>()
  const worker = createActionWorker({
    store: { checkpoint: async () => 0, save: async () => undefined },
    decode: () => ({ state: 'request', request: request(0) }),
    attempt: ({ action }) => (action === 1 ? slow.promise : Promise.resolve({ state: 'reported' })),
    memory: { expect: () => undefined, unexpect: () => undefined },
    serves: () => true,
    concurrency: 10,
    eager: 2,
    drain: 100,
    logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
    faults: NO_FAULTS,
    now: Date.now,
  })
  const both = [worker.take(request(1), null), worker.take(request(1), null)].map((ended) => ended ?? Promise.reject(new Error('no slot')))
  const other = worker.take(request(2), null)
  t.ok(other, 'the second slot is free')
  await other
  slow.resolve({ state: 'reported' })
  await Promise.all(both)
  t.strictSame(
    [3, 4, 5].map((n) => worker.take(request(n), null) !== undefined),
    [true, true, false],
    'two slots, as before',
  )
  await worker.stop()
})

t.test('G4: where requests wait in the topic for room, nothing of ours goes past them', async (t) => {
  const { worker, fetched, end, takes } = await busyWorker()
  t.strictSame(takes(2, 3, 4), [2, 3], 'there is room for two, whoever has the spare slot')
  t.equal(await fetched(0, 0, 10), 0, 'no room for what comes from the topic, which is asked for again')
  await end(2, 3)
  t.strictSame(takes(5, 6), [5], 'the spare slot, and nothing else')
  t.equal(await fetched(0, 0, 10), 1)
  await end(5, 10)
  t.strictSame(takes(7, 8), [7, 8], 'nothing waits any more')
  await end(7, 8)
  await worker.stop()
})

t.test('G4: a partition that is left, or comes anew, holds nobody up', async (t) => {
  const { worker, handler, read, fetched, end, takes } = await busyWorker()
  t.strictSame(takes(2, 3), [2, 3])
  t.equal(await fetched(1, 0, 10), 0)
  await end(2, 3)
  t.strictSame(takes(4, 5), [4])
  await end(4)
  read.delete(1)
  t.strictSame(takes(6, 7), [6, 7], 'it is somebody else’s')
  t.equal(await fetched(0, 0, 11), 0)
  await end(6, 7)
  t.strictSame(takes(8, 9), [8])
  await handler.checkpoint(0)
  t.strictSame(takes(9), [9], 'it came anew')
  await end(8, 9)
  await worker.stop()
})

t.test('a place that is kept is room that is taken', async (t) => {
  const { worker, end, takes } = await busyWorker()
  const payload = JSON.stringify({ name: 'noop', queue: null, key: null })
  for (const decision of [2, 3]) worker.expects(event({ event_id: `a${decision}`, event_name: 'action.scheduled', decision, payload }))
  t.strictSame(takes(4), [], 'both places are kept for others')
  t.strictSame(takes(2, 3), [2, 3])
  await end(2, 3)
  await worker.stop()
})

t.test('G4: a batch of an assignment that is over leaves nothing that waits', async (t) => {
  const { worker, handler, fetched, end, takes } = await busyWorker()
  t.strictSame(takes(2, 3), [2, 3])
  const waiting = fetched(0, 0, 10)
  // A rebalance gives the same partition back while that batch waits for room.
  await handler.checkpoint(0)
  t.equal(await waiting, 0, 'there was none')
  await end(2, 3)
  t.equal(await fetched(0, 0, 10), 1, 'the new assignment has run all there is')
  await end(10)
  t.strictSame(takes(4, 5), [4, 5], 'nothing waits')
  await end(4, 5)
  await worker.stop()
})
