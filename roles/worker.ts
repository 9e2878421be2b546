// A worker of actions, put together: the application's implementations, Redis, Postgres, one reader a queue.

import { createActionWorker, type ActionWorker } from '../consumers/action-worker.ts'
import { createClock } from '../consumers/drive.ts'
import { createAttempts } from '../consumers/run-attempt.ts'
import { RefoldError } from '../errors.ts'
import type { LogReader } from '../kafka/log.ts'
import type { Lifetime } from '../lifetime.ts'
import { createActionStore, createWorkerStore } from '../postgres/action-store.ts'
import { createPgPool } from '../postgres/pool.ts'
import { forgetProcess, type ProcessFacts, tellProcess } from '../postgres/processes.ts'
import { outcomeEvent } from '../producers/inputs.ts'
import { actionsTopic } from '../producers/requests.ts'
import { createActionMemory } from '../redis/action-memory.ts'
import { createRedis } from '../redis/client.ts'
import type { Watch } from '../watch.ts'
import { partitionOf } from '../workflow/partition.ts'
import type { App } from '../workflow/app.ts'
import { type Base, type Checks, lineLog, part, processId, producerOf, readerPart, requireApp, type StartOptions, untilUp } from './base.ts'
import { actionsSpec, requestCodec } from './runtime.ts'

const TELL_EVERY = 5000
/** Database actions that run at once; others wait for a connection. */
const SQL_AT_ONCE = 32
/** How long partitions that are read are taken to be so, ms. */
const SEEN_FOR = 50

function queuesOf(setting: string | undefined, { implementations }: App): (string | null)[] {
  if (setting) return setting.split(',').map((queue) => (queue.trim() === '-' ? null : queue.trim()))
  return [...new Set(implementations.map(({ action }) => action.queue))]
}

export async function startWorker(
  options: StartOptions,
  base: Base,
  checks: Checks,
  watch: Watch,
  lifetime: Lifetime,
): Promise<ActionWorker> {
  const { config, addresses, logger } = options
  const { log, faults } = base
  const app = requireApp(options, 'worker')
  const id = processId('worker')
  const pool = lifetime.owns(
    createPgPool(addresses.databaseUrl, { max: config.databaseConnections, name: 'refold-worker', role: 'refold_engine', byKey: true }),
    (opened) => opened.end(),
  )
  const actions = lifetime.owns(
    createPgPool(addresses.databaseUrl, { max: Math.min(config.workerConcurrency, SQL_AT_ONCE), name: 'refold-actions' }),
    (opened) => opened.end(),
  )
  const redis = lifetime.owns(
    createRedis(addresses.redisUrl, (error) => watch.emit('worker:memory:away', { error: error.message })),
    (opened) => opened.disconnect(),
  )
  const requests = await requestCodec(options, base)
  const producer = producerOf(base)
  const clock = createClock()
  const memory = lifetime.owns(
    createActionMemory({ redis, prefix: config.topicPrefix, worker: id, resultsKept: config.resultsKept }),
    (opened) => opened.close(),
  )
  const implementations = new Map(app.implementations.map((one) => [one.action.name, one]))
  const queues = queuesOf(config.workerQueues, app)
  if (queues.length === 0) throw new RefoldError('app-invalid', 'role worker: the application implements no action')
  const attempt = createAttempts({
    worker: id,
    implementations,
    memory,
    store: createActionStore(pool, actions, id),
    async append(request, outcome, duration) {
      const event = outcomeEvent(request, outcome, { worker: id, duration, now: Date.now() })
      worker.tells(request)
      const appended = await (base.outcomes.append ?? producer.append)(event)
      clock.saw(appended.appendedAt)
    },
    secrets: (name) => process.env[`REFOLD_SECRET_${name.toUpperCase()}`] || undefined,
    logger: lineLog(logger),
    watch,
    faults,
    now: clock.now,
  })
  const low = async (name: string, partition: number) => (await log.bounds(name)).find((one) => one.partition === partition)?.low ?? 0
  const readers = new Map<string, LogReader>()
  const topicOf = (queue: string | null) => actionsTopic(config.topicPrefix, queue)
  const partitions = new Map<string, number>()
  const lastSeen = { at: -Infinity, partitions: new Map<string, ReadonlyMap<number, unknown>>() }
  /** As they were within the last moment: this is asked for each action. */
  const assigned = (topic: string): ReadonlyMap<number, unknown> => {
    if (performance.now() - lastSeen.at > SEEN_FOR) Object.assign(lastSeen, { at: performance.now(), partitions: new Map() })
    const known = lastSeen.partitions.get(topic) ?? readers.get(topic)?.health().partitions ?? new Map<number, unknown>()
    lastSeen.partitions.set(topic, known)
    return known
  }
  const worker = createActionWorker({
    own: {
      placeOf(actionId, queue) {
        const topic = topicOf(queue)
        return { topic, partition: partitionOf(actionId, partitions.get(topic) ?? 1) }
      },
      reads: ({ topic, partition }) => assigned(topic).has(partition),
    },
    store: createWorkerStore(pool, low),
    decode: (bytes) => requests.decode(bytes),
    attempt,
    memory,
    serves: (name, queue) => implementations.has(name) && queues.includes(queue),
    concurrency: config.workerConcurrency,
    eager: config.eagerSlots,
    drain: config.workerDrain,
    logger: lineLog(logger),
    faults,
    now: clock.now,
  })
  const topics = queues.map(topicOf)
  for (const name of topics) partitions.set(name, await untilUp(logger, 'actions topic', () => log.ensureTopic(actionsSpec(options)(name))))
  const facts: ProcessFacts = {
    id,
    role: 'worker',
    deployment: null,
    workflows: [],
    actions: app.implementations.map(({ action }) => action.name),
    queues: queues.map((queue) => queue ?? ''),
    partitions: [],
    generations: [],
  }
  await untilUp(logger, 'database', () => tellProcess(pool, facts))
  const telling = setInterval(() => void tellProcess(pool, facts).catch(() => undefined), TELL_EVERY)
  lifetime.owns(id, () => forgetProcess(pool, id).catch(() => undefined))
  lifetime.owns(telling, (timer) => clearInterval(timer))
  for (const name of topics)
    readers.set(
      name,
      log.reader({
        topic: name,
        group: `${config.topicPrefix}.worker.${name}`,
        handler: worker.handler(name),
        mirror: { reader: `worker.${name}`, generation: 1 },
        maxRecords: config.workerConcurrency * 2,
      }),
    )
  checks.set('redis', () => part('redis', () => redis.ping()))
  checks.set('worker', async () => {
    const parts = [...readers.values()].map((reader) => readerPart('worker', reader))
    return parts.find(({ ready }) => !ready) ?? { name: 'worker', ready: true }
  })
  const tally: Record<string, number> = {}
  const count = (name: string) => (tally[name] = (tally[name] ?? 0) + 1)
  watch.on('worker:attempt:ended', ({ outcome }) => count(outcome))
  watch.on('worker:lock:taken', () => count('locks'))
  watch.on('worker:memory:away', () => count('redisAway'))
  lifetime.owns(tally, (counts) => logger.info({ ...counts }, 'worker stopped'))
  // First no new requests, then the attempts in hand: the other way round, what they hand back would come again.
  lifetime.owns(worker, (opened) => opened.stop())
  for (const reader of readers.values()) await lifetime.owns(reader, (opened) => opened.stop()).start()
  logger.info({ queues, actions: facts.actions, concurrency: config.workerConcurrency }, 'worker started')
  return worker
}
