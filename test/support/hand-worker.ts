// A worker whose attempts are ended by hand.

import { createActionWorker } from '../../consumers/action-worker.ts'
import { NO_FAULTS } from '../../faults.ts'
import type { ActionRequest } from '../../schemas/generated.ts'
import { until } from './wait.ts'

export const request = (n: number): ActionRequest => ({
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

/** A worker with room for two, and one spare slot, whose attempts end by hand; requests of partition 0 it would read itself. */
export async function busyWorker() {
  const ends = new Map<number, () => void>()
  const read = new Set([0, 1])
  const worker = createActionWorker({
    store: { checkpoint: async () => 0, save: async () => undefined },
    decode: (bytes) => ({ state: 'request', request: request(bytes?.[0] ?? 0) }),
    attempt: ({ action }) => new Promise((resolve) => ends.set(action, () => resolve({ state: 'reported' }))),
    memory: { expect: () => undefined, unexpect: () => undefined },
    serves: () => true,
    concurrency: 2,
    eager: 1,
    own: { placeOf: () => ({ topic: 'actions', partition: 0 }), reads: ({ partition }) => read.has(partition) },
    drain: 100,
    logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
    faults: NO_FAULTS,
    now: Date.now,
  })
  const handler = worker.handler('actions')
  /** Requests of these actions, from the topic; answers how many of them were taken. */
  const fetched = async (partition: number, from: number, ...actions: number[]): Promise<number> => {
    const records = actions.map((action, i) => ({
      partition,
      offset: from + i,
      key: null,
      value: new Uint8Array([action]),
      appendedAt: Date.now(),
      transactional: false,
      headers: {},
    }))
    const next = from + actions.length
    return (await handler.batch({ topic: 'actions', partition, from, next, records, highWatermark: next })) - from
  }
  const end = async (...actions: number[]) => {
    const before = worker.running
    for (const action of actions) ends.get(action)?.()
    await until(() => worker.running === before - actions.length, { what: `${actions.join()} to end` })
  }
  const takes = (...actions: number[]) => actions.filter((action) => worker.take(request(action), null) !== undefined)
  // The first attempt took a moment: the next ones need no slot.
  takes(1)
  await end(1)
  for (const partition of read) await handler.checkpoint(partition)
  return { worker, handler, read, fetched, end, takes }
}
