// The composition root: settings and addresses → adapters → roles. Everything that runs is made here, and ends here.

import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from 'pino'
import { createApi } from './api/api.ts'
import { createHealth } from './api/health.ts'
import type { Part } from './api/ports.ts'
import type { Config } from './config.ts'
import { createRecorder } from './consumers/recorder.ts'
import { createWriterSchemas } from './consumers/writer-schemas.ts'
import { asError, RefoldError } from './errors.ts'
import { type Faults, readFaults } from './faults.ts'
import { createKafkaLog } from './kafka/kafka-log.ts'
import type { Log, LogReader } from './kafka/log.ts'
import { eventsSettings } from './kafka/topics.ts'
import { createLifetime, type Lifetime } from './lifetime.ts'
import { pinLog } from './postgres/log-pin.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import { migrate } from './postgres/migrate.ts'
import { createPgPool } from './postgres/pool.ts'
import { createReadPool } from './postgres/reads/pool.ts'
import { createReads } from './postgres/reads/reads.ts'
import { createStateCache, type StateCache } from './postgres/reads/replay.ts'
import { createRecorderStore } from './postgres/recorder-store.ts'
import { createSchemaTexts } from './postgres/schema-texts.ts'
import { createEventProducer } from './producers/events.ts'
import { createRedriver } from './producers/redrive.ts'
import { createEventCodec, type EventCodec } from './schemas/codec.ts'
import { WORKFLOW_EVENT_SCHEMA } from './schemas/generated.ts'
import { createRegistry, type Registry } from './schemas/registry.ts'
import { createWatch, type Watch } from './watch.ts'

/** What a process may do; any set of them, in any number of processes. */
export const ROLES = ['api', 'recorder'] as const
export type Role = (typeof ROLES)[number]

/** Where the servers are; see stack/addresses.ts. */
export type ServerAddresses = {
  kafkaBrokers: readonly string[]
  registryUrl: string
  databaseUrl: string
  apiTokens: ReadonlyMap<string, string>
}

export type StartOptions = { config: Config; addresses: ServerAddresses; roles: readonly Role[]; logger: Logger; watch?: Watch }

export type Running = {
  /** Base URL of the API; absent without that role. */
  url?: string
  watch: Watch
  /** Drains and closes everything; may be called twice. */
  stop(): Promise<void>
}

/** Between two tries of a server that is not up yet, ms. */
const RETRY_AFTER = 500
const RETRY_AFTER_MOST = 5000

/** Waits for a server at start-up: what the catalogue calls retryable is tried again, with a line of log; the rest is thrown. */
async function untilUp<T>(logger: Logger, doing: string, action: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await action()
    } catch (error) {
      if (!(error instanceof RefoldError && error.retryable)) throw error
      logger.warn({ code: error.code, detail: error.detail }, `${doing}: not yet, trying again`)
      await pause(Math.min(RETRY_AFTER * 2 ** attempt, RETRY_AFTER_MOST))
    }
  }
}

/** What all roles share: the log, our topic and schema in it, and the codec. */
type Base = {
  log: Log
  logEnds: () => Promise<Map<number, number>>
  topic: string
  partitions: number
  schemaId: number
  codec: EventCodec
  registry: Registry
  faults: Faults
}

async function openBase({ config, addresses, logger }: StartOptions, lifetime: Lifetime): Promise<Base> {
  const log = lifetime.owns(
    createKafkaLog({
      brokers: addresses.kafkaBrokers,
      clientId: config.topicPrefix,
      logger,
      fetchWait: config.fetchWait,
      groupSession: config.groupSession,
      groupHeartbeat: config.groupHeartbeat,
      stuckAfter: config.stuckAfter,
    }),
    (opened) => opened.close(),
  )
  const topic = `${config.topicPrefix}.events`
  const spec = { name: topic, partitions: config.partitions, replication: config.replication, settings: eventsSettings(config.replication) }
  const partitions = await untilUp(logger, 'events topic', () =>
    config.createTopics ? log.ensureTopic(spec) : log.bounds(topic).then((all) => all.length),
  )
  const registry = createRegistry({ url: addresses.registryUrl })
  const schemaId = await untilUp(logger, 'schema registry', () => registry.register(`${topic}-value`, WORKFLOW_EVENT_SCHEMA))
  const faults = readFaults(config.faults, config.faultLog, config.faultSeed)
  const logEnds = async () => new Map((await log.bounds(topic)).map(({ partition, high }) => [partition, high]))
  return { log, logEnds, topic, partitions, schemaId, codec: createEventCodec({ schemaId }), registry, faults }
}

async function startRecorder(
  { config, addresses, logger }: StartOptions,
  base: Base,
  checks: Checks,
  watch: Watch,
  lifetime: Lifetime,
): Promise<void> {
  const { log, topic, partitions, schemaId, codec, registry, faults } = base
  const pool = lifetime.owns(
    createPgPool(addresses.databaseUrl, { max: config.databaseConnections, name: 'refold-recorder', role: 'refold_engine' }),
    (opened) => opened.end(),
  )
  await pinLog(pool, { topic, partitions, schemaId, schemaText: WORKFLOW_EVENT_SCHEMA })
  const schemas = createWriterSchemas(codec, createSchemaTexts(pool), registry, (id) =>
    watch.emit('recorder:schema:stored', { schemaId: id }),
  )
  const reader = log.reader({
    topic,
    group: `${config.topicPrefix}.recorder`,
    handler: createRecorder({
      store: createRecorderStore(pool, faults),
      schemas,
      partitions,
      watch,
      faults,
      rememberedExecutions: config.stateCacheSize,
    }),
    mirror: { reader: 'recorder', generation: 1 },
    maxRecords: config.recorderBatch,
  })
  checks.set('postgres', () => part('postgres', () => pool.query('SELECT')))
  checks.set('recorder', async () => readerPart('recorder', reader))
  await lifetime.owns(reader, (opened) => opened.stop()).start()
  logger.info({ topic, partitions }, 'recorder started')
}

function readerPart(name: string, reader: LogReader): Part {
  const { state, lastError } = reader.health()
  return { name, ready: state === 'running', ...(state === 'running' ? {} : { detail: lastError ? `${state}: ${lastError}` : state }) }
}

async function part(name: string, look: () => Promise<unknown>): Promise<Part> {
  return look().then(
    () => ({ name, ready: true }),
    (error: unknown) => ({ name, ready: false, detail: error instanceof RefoldError ? error.detail : String(error) }),
  )
}

/** What /readyz asks, by the name of the part. */
type Checks = Map<string, () => Promise<Part>>

const STARTING: Part = { name: 'start', ready: false, detail: 'not all roles run yet' }

const readinessOf = (checks: Checks) => () => Promise.all([...checks.values()].map((check) => check()))

type Listener = { listen(address: { host: string; port: number }): Promise<string> }

/** Opens a port; one that can't be had is a setting to correct. */
async function listen(app: Listener, host: string, port: number, setting: string): Promise<string> {
  try {
    return await app.listen({ host, port })
  } catch (cause) {
    throw new RefoldError('config-invalid', `${setting}=${port} on ${host}: ${asError(cause).message}`, { cause })
  }
}

/** Health by itself, from the first moment on: a process that waits for its servers is alive and not ready. */
async function startHealth({ config, logger }: StartOptions, checks: Checks, metrics: Metrics, lifetime: Lifetime): Promise<void> {
  if (config.healthPort === 0) return
  const health = lifetime.owns(createHealth({ readiness: readinessOf(checks), metrics }, logger), (opened) => opened.close())
  const url = await listen(health, config.host, config.healthPort, 'REFOLD_HEALTH_PORT')
  logger.info({ url }, 'health started')
}

/** What is counted while the roles run; listening before the first of them starts, so that nothing is missed. */
type Watched = { watch: Watch; cache: StateCache; metrics: Metrics }

function watched({ stateCacheSize, stateCacheTtl }: Config, watch: Watch): Watched {
  const cache = createStateCache({ max: Math.max(1, stateCacheSize), ttl: stateCacheTtl })
  return { watch, cache, metrics: createMetrics(watch, cache) }
}

/** Tokens that see records of no tenant: those named, or the development token where no tokens are set. */
function operatorsOf(config: Config, { apiTokens }: ServerAddresses): ReadonlySet<string> {
  if (config.operatorTokens) return new Set(config.operatorTokens.split(',').map((token) => token.trim()))
  return new Set(config.apiTokens ? [] : apiTokens.keys())
}

async function startApi(
  { config, addresses, logger }: StartOptions,
  base: Base,
  checks: Checks,
  { watch, cache, metrics }: Watched,
  lifetime: Lifetime,
): Promise<string> {
  const { log, logEnds, topic, partitions, codec, faults } = base
  const pool = lifetime.owns(createReadPool(addresses.databaseUrl, { max: config.databaseConnections, name: 'refold-api' }), (opened) =>
    opened.close(),
  )
  const reads = createReads(pool, config.stateCacheSize > 0 ? cache : undefined)
  checks.set('postgres', () => part('postgres', reads.checkpoints))
  const api = createApi(
    {
      tokens: addresses.apiTokens,
      operators: operatorsOf(config, addresses),
      appender: createEventProducer({ log, topic, partitions, encode: (event) => codec.encode(event), faults }),
      redriver: createRedriver({ log, topic, partitions }),
      reads,
      partitions,
      logEnds,
      readiness: readinessOf(checks),
      answered: (facts) => watch.emit('api:request:answered', facts),
      taken: (facts) => watch.emit('api:events:taken', facts),
      metrics,
    },
    logger,
  )
  lifetime.owns(api, (opened) => opened.close())
  const url = await listen(api, config.host, config.port, 'REFOLD_PORT')
  logger.info({ url }, 'api started')
  return url
}

function logHappenings(watch: Watch, logger: Logger): void {
  watch.on('recorder:batch:stored', (facts) => logger.debug(facts, 'batch stored'))
  watch.on('recorder:batch:overtaken', (facts) => logger.info(facts, 'another recorder was ahead; the batch was thrown away'))
  watch.on('recorder:schema:stored', (facts) => logger.info(facts, 'schema stored'))
  watch.on('watch:listener:failed', (facts) => logger.error(facts, 'a listener failed'))
}

/**
 * Starts the roles and resolves when they run. Servers that don't answer yet are waited for; what waiting can't mend
 * (`config-invalid`, `log-replaced`, `migration-failed`, …) rejects, with everything closed again.
 */
export async function start(options: StartOptions): Promise<Running> {
  const { addresses, roles, logger, watch = createWatch() } = options
  const lifetime = createLifetime()
  logHappenings(watch, logger)
  const counted = watched(options.config, watch)
  const checks: Checks = new Map([['start', async () => STARTING]])
  try {
    await startHealth(options, checks, counted.metrics, lifetime)
    const base = await openBase(options, lifetime)
    await untilUp(logger, 'database', () => migrateDatabase(addresses.databaseUrl, logger))
    checks.set('kafka', () => part('kafka', base.logEnds))
    if (roles.includes('recorder')) await startRecorder(options, base, checks, watch, lifetime)
    const url = roles.includes('api') ? await startApi(options, base, checks, counted, lifetime) : undefined
    checks.delete('start')
    return { ...(url === undefined ? {} : { url }), watch, stop: () => lifetime.close() }
  } catch (error) {
    await lifetime.close()
    throw error
  }
}

async function migrateDatabase(databaseUrl: string, logger: Logger): Promise<void> {
  const pool = createPgPool(databaseUrl, { max: 1, name: 'refold-migrate' })
  try {
    const applied = await migrate(pool)
    if (applied.length > 0) logger.info({ applied }, 'database migrated')
  } finally {
    await pool.end()
  }
}
