// G4 after a rebalance: a batch of the former assignment that was waiting for room ends after the new assignment asked for its place.

import t from 'tap'
import { createActionWorker } from '../../consumers/action-worker.ts'
import { NO_FAULTS } from '../../faults.ts'
import type { ActionRequest } from '../../schemas/generated.ts'
import { until } from '../support/wait.ts'

const request = (n: number): ActionRequest => ({
  action_id: `a${n}`,
  tenant: 't',
  execution_id: 'e',
  action: n,
  attempt: 1,
  name: 'noop',
  key: `a${n}`,
  scheduled: '{}',
  user_id: null,
  requested_at: 0,
})

t.test('a batch of an assignment that is over leaves nothing that waits', async (t) => {
  const ends = new Map<number, () => void>()
  const worker = createActionWorker({
    store: { checkpoint: async () => 0, save: async () => undefined },
    decode: (bytes) => ({ state: 'request', request: request(bytes?.[0] ?? 0) }),
    attempt: ({ action }) => new Promise((resolve) => ends.set(action, () => resolve({ state: 'reported' }))),
    memory: { expect: () => undefined, unexpect: () => undefined },
    serves: () => true,
    concurrency: 2,
    eager: 1,
    own: { placeOf: () => ({ topic: 'actions', partition: 0 }), reads: () => true },
    drain: 100,
    logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
    faults: NO_FAULTS,
    now: Date.now,
  })
  const end = async (...actions: number[]) => {
    const before = worker.running
    for (const action of actions) ends.get(action)?.()
    await until(() => worker.running === before - actions.length, { what: `${actions.join()} to end` })
  }
  const takes = (...actions: number[]) => actions.filter((action) => worker.take(request(action), null) !== undefined)
  const handler = worker.handler('actions')
  const fetched = async (...actions: number[]) =>
    handler.batch({
      topic: 'actions',
      partition: 0,
      from: 0,
      next: actions.length,
      highWatermark: actions.length,
      records: actions.map((action, offset) => ({
        partition: 0,
        offset,
        key: null,
        value: new Uint8Array([action]),
        appendedAt: Date.now(),
        transactional: false,
        headers: {},
      })),
    })
  takes(1)
  await end(1)
  await handler.checkpoint(0)
  t.strictSame(takes(2, 3), [2, 3])
  const waiting = fetched(10)
  // A rebalance gives the same partition back while that batch waits for room.
  await handler.checkpoint(0)
  t.equal(await waiting, 0, 'there was none')
  await end(2, 3)
  t.equal(await fetched(10), 1, 'the new assignment has run all there is')
  await end(10)
  t.strictSame(takes(4, 5), [4, 5], 'nothing waits')
  await end(...[4, 5].filter((n) => ends.has(n)))
  await worker.stop()
})
