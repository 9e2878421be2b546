// G3 counts attempts that ran nothing: what is skipped (its mark is there) takes a millisecond.

import t from 'tap'
import { createActionWorker } from '../../consumers/action-worker.ts'
import { NO_FAULTS } from '../../faults.ts'
import { event } from '../support/events.ts'
import { request } from '../support/hand-worker.ts'

function workerWith(attempt: Parameters<typeof createActionWorker>[0]['attempt'], told: string[] = []) {
  return createActionWorker({
    store: { checkpoint: async () => 0, save: async () => undefined },
    decode: (bytes) => ({ state: 'request', request: request(bytes?.[0] ?? 0) }),
    attempt,
    memory: { expect: ({ key }) => void told.push(`expects ${key}`), unexpect: ({ key }) => void told.push(`not ${key}`) },
    serves: () => true,
    concurrency: 100,
    eager: 1,
    own: { placeOf: () => ({ topic: 'actions', partition: 0 }), reads: () => true },
    drain: 50,
    logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
    faults: NO_FAULTS,
    now: Date.now,
  })
}

t.test('an attempt that was skipped says nothing of how long its action takes', async (t) => {
  const worker = workerWith(({ action }, stop) =>
    action === 1
      ? Promise.resolve({ state: 'skipped' })
      : new Promise((resolve) => stop.addEventListener('abort', () => resolve({ state: 'again', because: 'stopping' }))),
  )
  await worker.take(request(1), null)
  const taken = [2, 3, 4, 5].filter((n) => {
    const running = worker.take(request(n), null)
    running?.catch(() => undefined)
    return running !== undefined
  })
  t.strictSame(taken, [2], 'no attempt of it was seen: one has the spare slot')
  await worker.stop()
})

t.test('a worker that is told to stop gives back what it asked of Redis ahead, before it waits for its attempts', async (t) => {
  const told: string[] = []
  const worker = workerWith(async () => ({ state: 'reported' }), told)
  await worker.take(request(1), null)
  const payload = JSON.stringify({ name: 'noop', queue: null, key: null })
  for (const n of [2, 3]) worker.expects(event({ event_id: `a${n}`, event_name: 'action.scheduled', decision: n, payload }))
  t.strictSame(told, ['expects a2', 'expects a3'])
  await worker.stop()
  t.strictSame(told.slice(2).toSorted(), ['not a2', 'not a3'])
})
