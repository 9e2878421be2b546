// What all roles are made on: addresses and settings, the log with our topic and schema in it, the checks of /readyz.

import { createServer } from 'node:net'
import { hostname } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Part } from '../api/ports.ts'
import type { Config } from '../config.ts'
import type { RecorderOptions } from '../consumers/recorder.ts'
import { createEndings, type Endings } from '../consumers/endings.ts'
import { asError, RefoldError } from '../errors.ts'
import { type Faults, NO_FAULTS, readFaults } from '../faults.ts'
import { createKafkaLog } from '../kafka/kafka-log.ts'
import type { Appended, Log, LogReader } from '../kafka/log.ts'
import { eventsSettings } from '../kafka/topics.ts'
import type { Lifetime } from '../lifetime.ts'
import { createEventProducer } from '../producers/events.ts'
import { createEventCodec, type EventCodec } from '../schemas/codec.ts'
import { WORKFLOW_EVENT_SCHEMA, type WorkflowEvent } from '../schemas/generated.ts'
import { createRegistry, type Registry } from '../schemas/registry.ts'
import type { Watch } from '../watch.ts'
import type { LineLog } from '../workflow/action.ts'
import type { App } from '../workflow/app.ts'
import { newId } from '../workflow/ids.ts'

/** What a process may do; any set of them, in any number of processes. */
export const ROLES = ['api', 'recorder', 'runtime', 'worker', 'projector', 'notifier'] as const
export type Role = (typeof ROLES)[number]

/** What one role of this process is known as among all that run (postgres/processes.ts). */
export const processId = (role: Role) => `${role}-${hostname()}-${process.pid}-${newId().slice(-8)}`

/** Where the servers are; see stack/addresses.ts. */
export type ServerAddresses = {
  kafkaBrokers: readonly string[]
  registryUrl: string
  databaseUrl: string
  redisUrl: string
  apiTokens: ReadonlyMap<string, string>
}

export type StartOptions = {
  config: Config
  addresses: ServerAddresses
  roles: readonly Role[]
  logger: Logger
  watch?: Watch
  /** Fires when it is to end, also before all roles run. */
  stop?: AbortSignal
  /** What gave the API's port, as a person wrote it, for the message that it is taken (default: REFOLD_PORT). */
  portFrom?: string
  /** What the roles runtime and worker run. */
  app?: App
}

/** The application, for a role that can't do without it. */
export function requireApp({ app }: StartOptions, role: Role): App {
  if (!app) throw new RefoldError('app-invalid', `role ${role} needs an application`)
  return app
}

/** A logger as workflows and actions use it. */
export const lineLog = (logger: Logger): LineLog => ({
  debug: (facts, message) => logger.debug(facts, message),
  info: (facts, message) => logger.info(facts, message),
  warn: (facts, message) => logger.warn(facts, message),
  error: (facts, message) => logger.error(facts, message),
})

/** Told of events that this process wrote into the log. */
export type Written = (event: WorkflowEvent, appended: Appended) => void

/** Told of events that this process is about to write, and of their bytes. */
export type Writing = (event: WorkflowEvent, partition: number, bytes: Uint8Array) => void

/** Between two tries of a server that is not up yet, ms. */
const RETRY_AFTER = 500
const RETRY_AFTER_MOST = 5000

/** Waits for a server at start-up: what the catalogue calls retryable is tried again, with a line of log; the rest is thrown. */
export async function untilUp<T>(logger: Logger, doing: string, action: () => Promise<T>): Promise<T> {
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
export type Base = {
  log: Log
  logEnds: () => Promise<Map<number, number>>
  topic: string
  partitions: number
  schemaId: number
  codec: EventCodec
  registry: Registry
  faults: Faults
  written: Set<Written>
  /** Tells all of `written`. */
  tell: Written
  writing: Set<Writing>
  /** Tells all of `writing`. */
  announce: Writing
  /** Told of what the recorder of this process is about to store. */
  storing: Set<NonNullable<RecorderOptions['storing']>>
  /** Told of what the recorder of this process commits. */
  recorded: Set<NonNullable<RecorderOptions['recorded']>>
  endings: Endings
  /** How outcomes of attempts are appended where a runtime is in this process. */
  outcomes: { append?: (event: WorkflowEvent) => Promise<Appended> }
}

export async function openBase({ config, addresses, logger }: StartOptions, lifetime: Lifetime): Promise<Base> {
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
  const written = new Set<Written>()
  const tell: Written = (event, appended) => {
    for (const listener of written) listener(event, appended)
  }
  const writing = new Set<Writing>()
  const announce: Writing = (event, partition, bytes) => {
    for (const listener of writing) listener(event, partition, bytes)
  }
  return {
    log,
    logEnds,
    topic,
    partitions,
    schemaId,
    codec: createEventCodec({ schemaId }),
    registry,
    faults,
    written,
    tell,
    writing,
    announce,
    storing: new Set(),
    recorded: new Set(),
    endings: createEndings(),
    outcomes: {},
  }
}

/** Appends events; whoever listens in this process is told of each, before and after. `faults`: of those that come from outside. */
export const producerOf = ({ log, topic, partitions, codec, announce, tell }: Base, faults = NO_FAULTS) =>
  createEventProducer({ log, topic, partitions, encode: (event) => codec.encode(event), faults, writing: announce, written: tell })

export function readerPart(name: string, reader: LogReader): Part {
  const { state, lastError } = reader.health()
  return { name, ready: state === 'running', ...(state === 'running' ? {} : { detail: lastError ? `${state}: ${lastError}` : state }) }
}

export async function part(name: string, look: () => Promise<unknown>): Promise<Part> {
  return look().then(
    () => ({ name, ready: true }),
    (error: unknown) => ({ name, ready: false, detail: error instanceof RefoldError ? error.detail : String(error) }),
  )
}

/** What /readyz asks, by the name of the part. */
export type Checks = Map<string, () => Promise<Part>>

/** What /readyz answers with. */
export const readinessOf = (checks: Checks) => () => Promise.all([...checks.values()].map((check) => check()))

type Listener = { listen(address: { host: string; port: number }): Promise<string> }

/** Refuses a port that can't be had before anything is begun that would have to end again. */
export async function requirePort(host: string, port: number, setting: string): Promise<void> {
  const probe = createServer()
  const tried = (address: { host: string; port: number }) =>
    new Promise<string>((resolve, reject) => {
      probe.once('error', reject)
      probe.listen({ ...address, exclusive: true }, () => probe.close(() => resolve('')))
    })
  await listen({ listen: tried }, host, port, setting)
}

/** Opens a port; one that can't be had is a setting to correct. */
export async function listen(app: Listener, host: string, port: number, setting: string): Promise<string> {
  try {
    return await app.listen({ host, port })
  } catch (cause) {
    throw new RefoldError('config-invalid', `${setting}=${port} on ${host}: ${asError(cause).message}`, { cause })
  }
}
