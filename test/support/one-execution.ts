// One execution on a runtime and a recorder with a log and a record in memory; the test itself is the worker.

import { setTimeout as pause } from 'node:timers/promises'
import type { Test } from 'tap'
import { z } from 'zod'
import { createClock } from '../../consumers/drive.ts'
import { createReaderSchemas } from '../../consumers/reader-schemas.ts'
import { createRecorder } from '../../consumers/recorder.ts'
import { createRuntime, type Runtime } from '../../consumers/runtime.ts'
import type { RuntimeStore } from '../../consumers/runtime-port.ts'
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
import { defineAction, type LineLog } from '../../workflow/action.ts'
import { executionKey } from '../../workflow/execution.ts'
import { executionIdOf, newId } from '../../workflow/ids.ts'
import type { RequestName } from '../../workflow/names.ts'
import { defineWorkflow, type WorkflowContext } from '../../workflow/workflow.ts'
import { MemoryRecord } from './world/record.ts'

const TENANT = 'test'
const TOPIC = 'test.events'
const QUIET: LineLog = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

export const next = defineAction({ name: 'next', parameters: z.object({ after: z.number() }), result: z.number() })

export type Step = (context: WorkflowContext<unknown, { next: typeof next }>) => Promise<unknown>

async function until<T>(look: () => T | undefined, what: string): Promise<T> {
  for (const end = performance.now() + 10_000; performance.now() < end; await pause(2)) {
    const found = look()
    if (found !== undefined) return found
  }
  throw new Error(`not within 10 s: ${what}`)
}

/**
 * One execution of `run`, whose actions the test runs. `eager`: a request is acknowledged when its outcome was told; `isKnown`: the runtime
 * registers its workflow; `parks`: so many tries to park it fail; `oneIn`: F5 of foresight.ts.
 */
export async function openExecution(
  t: Test,
  run: Step,
  {
    eager = false,
    isKnown = true,
    parks = 0,
    oneIn = 1,
    handed,
    logger = QUIET,
  }: {
    eager?: boolean
    isKnown?: boolean
    parks?: number
    oneIn?: number
    handed?: (request: ActionRequest) => Promise<number>
    logger?: LineLog
  } = {},
) {
  const workflowOf = (code: Step) => defineWorkflow({ name: 'flow', version: '1', actions: { next } }, code)
  const workflow = workflowOf(run)
  let registered = isKnown ? workflow : undefined
  const log = createMemoryLog({ now: Date.now(), rest: 1 })
  const record = new MemoryRecord()
  const codec = createEventCodec({ schemaId: 1 })
  await log.ensureTopic({ name: TOPIC, partitions: 1, replication: 1, settings: {} })
  const requests: ActionRequest[] = []
  const told = Promise.withResolvers<void>()
  const happened = { foreseen: 0, inVain: 0 }
  const watch = createWatch()
  watch.on('runtime:outcome:foreseen', () => happened.foreseen++)
  watch.on('runtime:outcome:unforeseen', () => happened.inVain++)
  const hooks: { runtime?: Runtime; before?: (event: WorkflowEvent) => Promise<Appended> | undefined } = {}
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
  const kept = record.runtimeStore('1', ['1'], ['1'])
  const saved = { next: 0 }
  const away = { times: 0, parks }
  const store: RuntimeStore = {
    ...kept,
    async save(partition, next) {
      saved.next = next
      return kept.save(partition, next)
    },
    async histories(...asked) {
      if (away.times > 0 && away.times--) throw new Error('Postgres is away')
      return kept.histories(...asked)
    },
    async park(...asked) {
      if (away.parks > 0 && away.parks--) throw new Error('Postgres is away')
      return kept.park(...asked)
    },
  }
  const clock = createClock()
  const timers = createTimers({ now: clock.now, fire: () => undefined })
  const create = () =>
    createRuntime({
      store,
      schemas: createReaderSchemas(codec, { get: async () => undefined }, 1, store.recorded),
      find: () => registered,
      timers,
      clock,
      append(event) {
        const { before } = hooks
        delete hooks.before
        // The order of what is appended is that of the calls.
        return before?.(event) ?? producer.append(event)
      },
      async dispatch(request, _queue, throughTopic) {
        requests.push(request)
        if (eager) await told.promise
        if (!handed) return
        const running = (async () => {
          await runtime.appendOutcome(ended(request, { result: JSON.stringify(await handed(request)) }), 0)
        })()
        if (!throughTopic) await running
      },
      logger,
      watch,
      faults: NO_FAULTS,
      remembered: 10,
      oneIn,
    })
  let runtime = create()
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
  const recording = log.reader({ topic: TOPIC, group: 'recorder', handler: recorder, mirror })
  const drive = () => log.reader({ topic: TOPIC, group: 'runtime', handler: runtime.handler, mirror })
  let driving = drive()
  for (const reader of [recording, driving]) await reader.start()
  const stop = async () => {
    await driving.stop()
    await runtime.close()
  }
  t.teardown(async () => {
    await recording.stop()
    await stop()
  })
  const executionId = executionIdOf(TENANT, 'flow', 'k')
  const of = { tenant: TENANT, executionId, now: Date.now() }
  await producer.append(startedEvent({ ...of, workflow: 'flow', version: '1', key: 'k', input: 'null', userId: null, correlationId: null }))
  const ended = (request: ActionRequest, outcome: AttemptOutcome) =>
    outcomeEvent(request, outcome, { worker: 'w', duration: 1, now: of.now })
  return {
    tenant: TENANT,
    executionId,
    workflow,
    happened,
    isOver: () => record.executions.get(executionKey(TENANT, executionId))?.head.phase === 'ended',
    /** The runtime's checkpoint as stored. */
    saved,
    /** So many of the next questions for histories, and tries to park, fail. */
    away,
    /** A runtime that knows nothing goes on, from the checkpoint that the one before it stored as it ended; with other code, if given. */
    async restart(code?: Step) {
      await stop()
      if (code) registered = workflowOf(code)
      hooks.runtime = runtime = create()
      driving = drive()
      await driving.start()
    },
    /** As the process does now and then. */
    look: () => runtime.keep(new Set([0])),
    end: async () => (await log.bounds(TOPIC))[0]?.high ?? 0,
    /** Until the checkpoint that is stored has passed all that is in the log now. */
    async passed() {
      const [{ high } = { high: 0 }] = await log.bounds(TOPIC)
      await until(() => (saved.next >= high ? true : undefined), `the checkpoint to pass ${high}`)
    },
    /** As `written` is told of what was appended so. */
    append: producer.append,
    /** What else happens at the next append of the runtime, of a decision or, decided ahead, of an outcome: what it gives is that append. */
    meanwhile: (what: (event: WorkflowEvent) => Promise<Appended> | undefined) => void (hooks.before = what),
    others,
    request: (n: number) => until(() => requests[n - 1], `request ${n}`),
    /** A request of this action, which a runtime that goes on may have asked for again. */
    requestOf: (action: number) => until(() => requests.find((one) => one.action === action), `a request of action ${action}`),
    requested: () => requests.length,
    ended,
    until,
    /** `result`: JSON text, as a worker tells it that does not look at it. */
    tellText(request: ActionRequest, result: string) {
      const event = ended(request, { result: '"?"' })
      const payload = event.payload?.replace('"?"', () => result) ?? null
      return runtime.appendOutcome({ ...event, payload }, 0).finally(told.resolve)
    },
    tell: (request: ActionRequest, result: number) => runtime.appendOutcome(ended(request, { result: JSON.stringify(result) }), 0),
    ask: (name: RequestName) => others.append(requestEvent(of, name, { id: newId(), reason: null, userId: null })),
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
