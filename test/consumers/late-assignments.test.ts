// A partition that comes, goes and comes back while the first question for its checkpoint is still open: whichever question is answered
// last, what stands is what the newest assignment is read for.

import t from 'tap'
import { createActionWorker } from '../../consumers/action-worker.ts'
import { createClock } from '../../consumers/drive.ts'
import { createRuntime } from '../../consumers/runtime.ts'
import { createTimers } from '../../consumers/timers.ts'
import { NO_FAULTS } from '../../faults.ts'
import type { LogRecord } from '../../kafka/log.ts'
import { createWatch } from '../../watch.ts'
import { classify } from '../../workflow/events.ts'
import { started } from '../support/events.ts'
import { MemoryRecord } from '../support/world/record.ts'

const logger = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

const record = (offset: number): LogRecord => ({
  partition: 0,
  offset,
  key: null,
  value: null,
  appendedAt: 1,
  transactional: false,
  headers: {},
})

const batch = (from: number) => ({ topic: 'topic', partition: 0, from, next: from + 1, records: [record(from)], highWatermark: from + 1 })

/** Two answers, of which the first comes when it is let. */
function twoAnswers(first: number, second: number) {
  const late = Promise.withResolvers<void>()
  let asked = 0
  return {
    let: () => late.resolve(),
    async answer() {
      if (++asked > 1) return second
      await late.promise
      return first
    },
  }
}

t.test('a runtime', async (t) => {
  const answers = twoAnswers(5, 10)
  const clock = createClock()
  const loaded: number[] = []
  const runtime = createRuntime({
    store: {
      ...new MemoryRecord().runtimeStore('test', ['1'], ['1']),
      checkpoint: async () => ({ next: await answers.answer(), isNew: false }),
      recorded: async () => 100,
      histories: async (_wanted, before) => {
        loaded.push(before)
        return []
      },
    },
    schemas: {
      inspect: async () => {
        const classified = classify(started())
        return 'fault' in classified ? undefined : classified
      },
    },
    find: () => undefined,
    timers: createTimers({ now: clock.now, fire: () => undefined }),
    clock,
    append: () => Promise.reject(new Error('not asked for')),
    dispatch: () => Promise.reject(new Error('not asked for')),
    logger,
    watch: createWatch(),
    faults: NO_FAULTS,
    remembered: 10,
  })
  const first = runtime.handler.checkpoint(0)
  t.equal(await runtime.handler.checkpoint(0), 10)
  answers.let()
  await first
  t.equal(await runtime.handler.batch(batch(10)), 11)
  t.strictSame(loaded, [10], 'what it knows begins where the newest assignment does')
  await t.rejects(runtime.handler.batch(batch(12)), /12.*11/, 'nothing is passed over')
  await runtime.close()
})

t.test('a worker', async (t) => {
  const answers = twoAnswers(5, 10)
  const saved: number[] = []
  const worker = createActionWorker({
    store: { checkpoint: () => answers.answer(), save: async (_topic, _partition, next) => void saved.push(next) },
    decode: () => ({
      state: 'request',
      request: {
        action_id: 'a',
        tenant: 't',
        execution_id: 'e',
        action: 1,
        attempt: 1,
        name: 'noop',
        key: 'a',
        scheduled: '{}',
        user_id: null,
        requested_at: 0,
      },
    }),
    // It never ends.
    attempt: (_request, stop) =>
      new Promise((resolve) => stop.addEventListener('abort', () => resolve({ state: 'again', because: 'stopping' }))),
    memory: { expect: () => undefined, unexpect: () => undefined },
    serves: () => true,
    concurrency: 10,
    eager: 0,
    drain: 1,
    logger,
    faults: NO_FAULTS,
    now: Date.now,
  })
  const handler = worker.handler('topic')
  const first = handler.checkpoint(0)
  t.equal(await handler.checkpoint(0), 10)
  t.equal(await handler.batch(batch(10)), 11)
  answers.let()
  await first
  t.equal(await handler.batch({ ...batch(11), records: [] }), 12)
  await t.rejects(handler.batch(batch(13)), /13.*12/, 'nothing is passed over')
  await worker.stop()
  t.strictSame(saved, [], 'what has no outcome is not passed')
})
