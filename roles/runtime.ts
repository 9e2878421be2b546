// The runtime, put together: the application's workflows, Postgres, the reader of its deployment, timers.

import { createClock } from '../consumers/drive.ts'
import { createReaderSchemas } from '../consumers/reader-schemas.ts'
import { createRuntime } from '../consumers/runtime.ts'
import { createTimers } from '../consumers/timers.ts'
import { asError } from '../errors.ts'
import { actionsSettings } from '../kafka/topics.ts'
import type { Lifetime } from '../lifetime.ts'
import { createPgPool } from '../postgres/pool.ts'
import { forgetProcess, type ProcessFacts, tellProcess } from '../postgres/processes.ts'
import { createRuntimeStore } from '../postgres/runtime-store.ts'
import { createSchemaTexts } from '../postgres/schema-texts.ts'
import { firedEvent } from '../producers/inputs.ts'
import { createRequester } from '../producers/requests.ts'
import { createRequestCodec } from '../schemas/codec.ts'
import { ACTION_REQUEST_SCHEMA } from '../schemas/generated.ts'
import type { ActionWorker } from '../consumers/action-worker.ts'
import type { Watch } from '../watch.ts'
import { partitionOf } from '../workflow/partition.ts'
import { type Base, type Checks, lineLog, part, processId, producerOf, readerPart, requireApp, type StartOptions, untilUp } from './base.ts'

/** Between two looks at what is still ours, ms. */
const LOOK_EVERY = 1000
/** Longest between two looks for requests that nobody answered, ms. */
const SWEEP_EVERY = 600_000
/** Between two times that a process tells of itself, ms. */
const TELL_EVERY = 5000

/** The codec of requests, its schema registered under `<topic>-value`. */
export async function requestCodec({ config, logger }: StartOptions, { registry }: Base) {
  const subject = `${config.topicPrefix}.actions-value`
  return createRequestCodec({ schemaId: await untilUp(logger, 'schema registry', () => registry.register(subject, ACTION_REQUEST_SCHEMA)) })
}

/** What makes a queue's topic. */
export const actionsSpec =
  ({ config }: StartOptions) =>
  (name: string) => ({
    name,
    partitions: config.partitions,
    replication: config.replication,
    settings: actionsSettings(config.replication),
  })

export async function startRuntime(
  options: StartOptions,
  base: Base,
  checks: Checks,
  watch: Watch,
  worker: ActionWorker | undefined,
  lifetime: Lifetime,
): Promise<void> {
  const { config, addresses, logger } = options
  const { log, topic, partitions, codec, faults, written, writing } = base
  const app = requireApp(options, 'runtime')
  const workflows = new Map(app.workflows.map((workflow) => [`${workflow.name}\n${workflow.version}`, workflow]))
  const pool = lifetime.owns(
    createPgPool(addresses.databaseUrl, { max: config.databaseConnections, name: 'refold-runtime', role: 'refold_engine', byKey: true }),
    (opened) => opened.end(),
  )
  const store = createRuntimeStore(pool, { deployment: config.deployment, workflows: [...workflows.keys()] })
  const requests = await requestCodec(options, base)
  const producer = producerOf(base)
  const requester = createRequester({ log, prefix: config.topicPrefix, spec: actionsSpec(options), encode: (one) => requests.encode(one) })
  const clock = createClock()
  const timers = createTimers({
    now: clock.now,
    fire: (timer) => {
      // One that fails is fired again by itself.
      producer.append(firedEvent({ ...timer, now: Math.round(clock.now()) }, timer.timer)).catch(() => undefined)
    },
  })
  const runtime = createRuntime({
    store,
    schemas: createReaderSchemas(codec, createSchemaTexts(pool), partitions, store.recorded),
    find: (name, version) => workflows.get(`${name}\n${version}`),
    timers,
    clock,
    append(event) {
      worker?.expects(event)
      return producer.append(event)
    },
    dispatch: (request, queue, throughTopic) =>
      (throughTopic ? undefined : worker?.take(request, queue)) ?? requester.dispatch(request, queue),
    logger: lineLog(logger),
    watch,
    faults,
    ended: base.endings.ended,
    remembered: Math.ceil(config.rememberedExecutions / partitions),
  })
  const reader = log.reader({
    topic,
    group: `${config.topicPrefix}.runtime.${config.deployment}`,
    handler: runtime.handler,
    mirror: { reader: `runtime.${config.deployment}`, generation: 1 },
    maxRecords: config.recorderBatch,
  })
  lifetime.owns(runtime, (opened) => opened.close())
  if (config.decideAhead) base.outcomes.append = (event) => runtime.appendOutcome(event, partitionOf(event.execution_id, partitions))
  lifetime.owns(written.add(runtime.written), (listeners) => listeners.delete(runtime.written))
  lifetime.owns(writing.add(runtime.expects), (listeners) => listeners.delete(runtime.expects))
  const id = processId('runtime')
  const facts = (): ProcessFacts => ({
    id,
    role: 'runtime',
    deployment: config.deployment,
    workflows: [...workflows.keys()],
    actions: [],
    queues: [],
    partitions: [...reader.health().partitions.keys()],
    generations: [],
  })
  await untilUp(logger, 'database', () => tellProcess(pool, facts()))
  const tell = () => void tellProcess(pool, facts()).catch(() => undefined)
  let had = ''
  const looking = setInterval(() => {
    const has = new Set(reader.health().partitions.keys())
    runtime.keep(has)
    // At once: a diagnosis would say that nobody has them.
    if ([...has].join() !== had) tell()
    had = [...has].join()
  }, LOOK_EVERY)
  const sweeping = setInterval(
    () => {
      runtime
        .sweep(config.sweepAfter)
        .catch((error: unknown) => logger.debug({ error: asError(error).message }, 'old requests were not looked for; they will be'))
    },
    Math.min(SWEEP_EVERY, Math.max(500, config.sweepAfter / 10)),
  )
  const telling = setInterval(tell, TELL_EVERY)
  lifetime.owns(id, () => forgetProcess(pool, id).catch(() => undefined))
  lifetime.owns(looking, (timer) => clearInterval(timer))
  lifetime.owns(telling, (timer) => clearInterval(timer))
  lifetime.owns(sweeping, (timer) => clearInterval(timer))
  base.endings.tells = (partition) => reader.health().partitions.has(partition)
  checks.set('runtime', async () => readerPart('runtime', reader))
  checks.set('runtime-postgres', () => part('runtime-postgres', () => pool.query('SELECT')))
  await lifetime.owns(reader, (opened) => opened.stop()).start()
  logger.info(
    { deployment: config.deployment, workflows: app.workflows.map(({ name, version }) => `${name} ${version}`) },
    'runtime started',
  )
}
