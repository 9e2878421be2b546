// Which requests a worker runs, and how far its queue counts as worked off; attempts are made by hand.

import t from 'tap'
import { createActionWorker } from '../../consumers/action-worker.ts'
import type { Ended } from '../../consumers/run-attempt.ts'
import { NO_FAULTS } from '../../faults.ts'
import type { LogBatch } from '../../kafka/log.ts'
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

t.test('a partition that comes back: what was finished here is not run again, what still runs is not run twice', async (t) => {
  const saved = new Map<number, number>([[0, 10]])
  const runs: number[] = []
  const slow = Promise.withResolvers<Ended>()
  const worker = createActionWorker({
    store: {
      checkpoint: async (_, partition) => saved.get(partition) ?? 0,
      save: async (_, partition, next) => void saved.set(partition, Math.max(next, saved.get(partition) ?? 0)),
    },
    // A request's number is its one byte.
    decode: (bytes) => ({ state: 'request', request: request(bytes?.[0] ?? 0) }),
    async attempt({ action }) {
      runs.push(action)
      return action === 1 ? slow.promise : { state: 'reported' }
    },
    concurrency: 10,
    eager: 0,
    drain: 100,
    logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
    faults: NO_FAULTS,
  })
  const handler = worker.handler('actions')
  const records = [10, 11, 12, 13].map((offset) => ({
    partition: 0,
    offset,
    key: null,
    value: new Uint8Array([offset - 10]),
    appendedAt: 0,
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
  slow.resolve({ state: 'reported' })
  await until(() => saved.get(0) === 14, { what: 'the queue to be worked off' })
  t.strictSame(runs, [0, 1, 2, 3])
  await worker.stop()
})
