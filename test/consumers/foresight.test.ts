// What follows from an outcome is appended right behind it (decision 0015): a runtime and a recorder on a log in memory, where the test
// itself is the worker, and may let another record come first.

import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { createClock } from '../../consumers/drive.ts'
import { createReaderSchemas } from '../../consumers/reader-schemas.ts'
import { createRecorder } from '../../consumers/recorder.ts'
import { createRuntime, type Runtime } from '../../consumers/runtime.ts'
import { createTimers } from '../../consumers/timers.ts'
import { createWriterSchemas } from '../../consumers/writer-schemas.ts'
import { NO_FAULTS } from '../../faults.ts'
import type { Appended, LogAppend, LogRecord } from '../../kafka/log.ts'
import { createEventProducer } from '../../producers/events.ts'
import { type AttemptOutcome, outcomeEvent, requestEvent, startedEvent } from '../../producers/inputs.ts'
import { createEventCodec } from '../../schemas/codec.ts'
import type { ActionRequest, WorkflowEvent } from '../../schemas/generated.ts'
import { createMemoryLog } from '../../testing/memory-log.ts'
import { createWatch } from '../../watch.ts'
import { defineAction } from '../../workflow/action.ts'
import { executionKey } from '../../workflow/execution.ts'
import { executionIdOf, newId } from '../../workflow/ids.ts'
import { defineWorkflow, type WorkflowContext } from '../../workflow/workflow.ts'
import { MemoryRecord } from '../support/world/record.ts'

const TENANT = 'test'
const TOPIC = 'test.events'
const logger = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

const next = defineAction({ name: 'next', parameters: z.object({ after: z.number() }), result: z.number() })

type Step = (context: WorkflowContext<unknown, { next: typeof next }>) => Promise<unknown>

async function until<T>(look: () => T | undefined, what: string): Promise<T> {
  for (const end = performance.now() + 10_000; performance.now() < end; await pause(2)) {
    const found = look()
    if (found !== undefined) return found
  }
  throw new Error(`not within 10 s: ${what}`)
}

/** One execution of `run`, whose actions the test runs. */
async function open(t: Test, run: Step) {
  const workflow = defineWorkflow({ name: 'flow', version: '1', actions: { next } }, run)
  const log = createMemoryLog({ now: Date.now(), rest: 1 })
  const record = new MemoryRecord()
  const codec = createEventCodec({ schemaId: 1 })
  await log.ensureTopic({ name: TOPIC, partitions: 1, replication: 1, settings: {} })
  const requests: ActionRequest[] = []
  const happened = { foreseen: 0, inVain: 0 }
  const watch = createWatch()
  watch.on('runtime:outcome:foreseen', () => happened.foreseen++)
  watch.on('runtime:outcome:unforeseen', () => happened.inVain++)
  const hooks: { runtime?: Runtime; before?: () => Promise<Appended> | undefined } = {}
  const append = (one: LogAppend) => {
    log.advance(Date.now() - log.now())
    return log.append(one)
  }
  const producer = createEventProducer({
    log: { append },
    topic: TOPIC,
    partitions: 1,
    encode: (event) => codec.encode(event),
    writing: (event, partition) => hooks.runtime?.expects(event, partition),
    written: (event, appended) => hooks.runtime?.written(event, appended),
  })
  const others = createEventProducer({ log: { append }, topic: TOPIC, partitions: 1, encode: (event) => codec.encode(event) })
  const store = record.runtimeStore('1', ['1'], ['1'])
  const clock = createClock()
  const timers = createTimers({ now: clock.now, fire: () => undefined })
  const runtime = createRuntime({
    store,
    schemas: createReaderSchemas(codec, { get: async () => undefined }, 1, store.recorded),
    find: () => workflow,
    timers,
    clock,
    append(event) {
      const { before } = hooks
      delete hooks.before
      // The order of what is appended is that of the calls.
      return before?.() ?? producer.append(event)
    },
    dispatch: async (request) => void requests.push(request),
    logger,
    watch,
    faults: NO_FAULTS,
    remembered: 10,
  })
  hooks.runtime = runtime
  const texts = { get: async () => undefined, put: async (_id: number, text: string) => text }
  const recorder = createRecorder({
    store: record.recorderStore(),
    schemas: createWriterSchemas(codec, texts, { lookup: async () => ({ state: 'unknown' }) }, () => undefined),
    partitions: 1,
    watch: createWatch(),
    faults: NO_FAULTS,
    rememberedExecutions: 10,
  })
  const mirror = { reader: 'test', generation: 1 }
  const readers = [
    log.reader({ topic: TOPIC, group: 'recorder', handler: recorder, mirror }),
    log.reader({ topic: TOPIC, group: 'runtime', handler: runtime.handler, mirror }),
  ]
  for (const reader of readers) await reader.start()
  t.teardown(async () => {
    for (const reader of readers) await reader.stop()
    await runtime.close()
  })
  const executionId = executionIdOf(TENANT, 'flow', 'k')
  const of = { tenant: TENANT, executionId, now: Date.now() }
  await producer.append(startedEvent({ ...of, workflow: 'flow', version: '1', key: 'k', input: 'null', userId: null, correlationId: null }))
  const ended = (request: ActionRequest, outcome: AttemptOutcome) =>
    outcomeEvent(request, outcome, { worker: 'w', duration: 1, now: of.now })
  return {
    happened,
    /** What else happens when the runtime has decided ahead and nothing of it is written: what it gives is the outcome's append. */
    meanwhile: (what: () => Promise<Appended> | undefined) => void (hooks.before = what),
    others,
    request: (n: number) => until(() => requests[n - 1], `request ${n}`),
    requested: () => requests.length,
    ended,
    tell: (request: ActionRequest, result: number) => runtime.appendOutcome(ended(request, { result: JSON.stringify(result) }), 0),
    ask: (name: 'workflow.cancelRequested' | 'workflow.terminateRequested') =>
      others.append(requestEvent(of, name, { id: newId(), reason: null, userId: null })),
    state: () => record.executions.get(executionKey(TENANT, executionId))?.state,
    parked: () => record.parked.size,
    over: () =>
      until(() => (record.executions.get(executionKey(TENANT, executionId))?.head.phase === 'ended' ? true : undefined), 'its end'),
    async records(): Promise<WorkflowEvent[]> {
      const found: LogRecord[] = []
      const reader = log.reader({
        topic: TOPIC,
        group: newId(),
        mirror,
        handler: { checkpoint: async () => 0, batch: async (batch) => (found.push(...batch.records), batch.next) },
      })
      await reader.start()
      const [{ high } = { high: 0 }] = await log.bounds(TOPIC)
      await until(() => (found.length >= high ? true : undefined), 'all records')
      await reader.stop()
      return found.flatMap(({ value }) => {
        const decoded = codec.decode(value)
        return decoded.state === 'event' ? [decoded.event] : []
      })
    },
  }
}

const named = (events: readonly WorkflowEvent[]) =>
  events.map(({ event_name: name, decision_seq: seq }) => (seq === 0 ? name : `${name}@${seq}`))

const three: Step = async ({ actions }) => {
  let value = 0
  for (let step = 0; step < 3; step++) value = await actions.next({ after: value })
  return value
}

t.test('what follows from an outcome is right behind it, and says its seq', async (t) => {
  const one = await open(t, three)
  for (let n = 1; n <= 3; n++) await one.tell(await one.request(n), n)
  await one.over()
  t.strictSame(named(await one.records()), [
    'workflow.started',
    'action.scheduled',
    'action.completed',
    'action.scheduled@4',
    'action.completed',
    'action.scheduled@6',
    'action.completed',
    'workflow.completed@8',
  ])
  t.strictSame(one.happened, { foreseen: 3, inVain: 0 })
  t.match(one.state(), { status: 'completed', result: 3 })
})

t.test('a cancel comes first: what was decided ahead does not stand, and nothing is asked for', async (t) => {
  const one = await open(t, three)
  const first = await one.request(1)
  one.meanwhile(() => void one.ask('workflow.cancelRequested'))
  await one.tell(first, 1)
  await one.over()
  t.match(one.state(), { status: 'cancelled' })
  t.strictSame(one.happened, { foreseen: 1, inVain: 1 })
  const names = named(await one.records())
  t.strictSame(names.slice(0, 5), [
    'workflow.started',
    'action.scheduled',
    'workflow.cancelRequested',
    'action.completed',
    'action.scheduled@4',
  ])
  t.ok(names.includes('action.cancelled') && names.includes('workflow.cancelled'), String(names))
  t.equal(one.requested(), 1, 'the action decided ahead was never asked for')
  t.equal(one.parked(), 0)
})

t.test('it is terminated first', async (t) => {
  const one = await open(t, three)
  const first = await one.request(1)
  one.meanwhile(() => void one.ask('workflow.terminateRequested'))
  await one.tell(first, 1)
  await one.over()
  t.match(one.state(), { status: 'terminated' })
  t.equal(one.requested(), 1)
  t.equal(one.parked(), 0)
})

t.test('another outcome of the same attempt comes first: it is the one that counts', async (t) => {
  const one = await open(t, three)
  const first = await one.request(1)
  one.meanwhile(() => void one.others.append(one.ended(first, { result: '100' })))
  await one.tell(first, 1)
  const second = await one.request(2)
  t.match(JSON.parse(second.scheduled), { arguments: { after: 100 } })
  await one.tell(second, 2)
  await one.tell(await one.request(3), 3)
  await one.over()
  t.match(one.state(), { status: 'completed', result: 3 })
  t.equal(one.happened.inVain, 1)
  t.equal(one.parked(), 0)
})

t.test('what asks for the time is not decided ahead: it gets that of the outcome, as in every replay', async (t) => {
  const one = await open(t, async ({ actions, now }) => {
    const times: number[] = []
    for (let step = 0; step < 3; step++) {
      await actions.next({ after: step })
      times.push(now())
    }
    return times
  })
  for (let n = 1; n <= 3; n++) await one.tell(await one.request(n), n)
  await one.over()
  t.strictSame(one.happened, { foreseen: 1, inVain: 1 }, 'the first time it is tried, and never again')
  t.notOk(named(await one.records()).some((name) => name.includes('@')))
  t.match(one.state(), { status: 'completed' })
  t.equal(one.parked(), 0)
})

t.test('the outcome is not written and what was decided on it is, behind an event of somebody else: it does not stand', async (t) => {
  const one = await open(t, three)
  const first = await one.request(1)
  one.meanwhile(() => {
    void one.ask('workflow.cancelRequested')
    return Promise.reject(new Error('too large'))
  })
  await t.rejects(one.tell(first, 1), /too large/)
  await one.over()
  t.match(one.state(), { status: 'cancelled' })
  t.strictSame(named(await one.records()).slice(2, 4), ['workflow.cancelRequested', 'action.scheduled@4'])
  t.equal(one.parked(), 0)
})

t.test('the append of the outcome fails: its caller is told, and may append it again', async (t) => {
  const one = await open(t, three)
  const first = await one.request(1)
  one.meanwhile(() => Promise.reject(new Error('not written')))
  await t.rejects(one.tell(first, 1), /not written/)
  // Made anew: what has no outcome is asked for again.
  const again = await one.request(2)
  t.equal(again.action_id, first.action_id)
  await one.tell(again, 7)
  const third = await one.request(3)
  t.match(JSON.parse(third.scheduled), { arguments: { after: 7 } })
  await one.tell(third, 8)
  await one.tell(await one.request(4), 9)
  await one.over()
  t.match(one.state(), { status: 'completed', result: 9 })
  t.equal(one.parked(), 0)
})
