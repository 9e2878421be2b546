// What a bench stands on: a database and a topic prefix of its own on the servers that are there; all gone at the end.

import { randomBytes } from 'node:crypto'
import kafkajs from 'kafkajs'
import { Pool } from 'pg'
import { readConfig } from '../config.ts'
import { createKafkaLog } from '../kafka/kafka-log.ts'
import type { Log } from '../kafka/log.ts'
import { eventsSettings } from '../kafka/topics.ts'
import { migrate } from '../postgres/migrate.ts'
import { createPgPool } from '../postgres/pool.ts'
import { createEventCodec, type EventCodec } from '../schemas/codec.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { type Addresses, resolveAddresses } from '../stack/addresses.ts'
import { partitionOf } from '../workflow/partition.ts'

export const PARTITIONS = 12
/** Connections to Postgres of each side; the default of REFOLD_DATABASE_CONNECTIONS. */
export const CONNECTIONS = 8
/** The codec's own schema: no registry is asked. */
export const SCHEMA_ID = 1

export const QUIET = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

export type Ground = {
  addresses: Addresses
  databaseUrl: string
  /** Connects as the role that made the tables. */
  admin: Pool
  /** First part of this bench's topic and group names. */
  prefix: string
  topic: string
  /** A name not used before in this run, under the prefix. */
  fresh(part: string): string
  log: Log
  codec: EventCodec
  kafka: kafkajs.Kafka
  /** Empties every table that is written. */
  clear(): Promise<void>
  /** Whoever opens something pushes its close; last in, first out. */
  owns(close: () => Promise<unknown>): void
  close(): Promise<void>
}

export async function openGround(): Promise<Ground> {
  const addresses = resolveAddresses(readConfig(process.env))
  const name = `bench_${randomBytes(5).toString('hex')}`
  const closes: (() => Promise<unknown>)[] = []
  const owner = new Pool({ connectionString: addresses.databaseUrl, max: 1 })
  closes.push(() => owner.end())
  await owner.query(`CREATE DATABASE ${name}`)
  closes.push(() => owner.query(`DROP DATABASE ${name} WITH (FORCE)`))
  const url = new URL(addresses.databaseUrl)
  url.pathname = `/${name}`
  const admin = createPgPool(url.href, { max: 2, name: 'bench' })
  closes.push(() => admin.end())
  await migrate(admin)
  const prefix = name.replace('_', '-')
  const kafka = new kafkajs.Kafka({ brokers: addresses.kafkaBrokers, clientId: prefix, logLevel: kafkajs.logLevel.NOTHING })
  closes.push(() => dropTopics(kafka, prefix))
  closes.push(() => dropSubject(addresses.registryUrl, `${prefix}.events-value`))
  const log = createKafkaLog({ brokers: addresses.kafkaBrokers, clientId: prefix, logger: QUIET })
  closes.push(() => log.close())
  const topic = `${prefix}.events`
  await log.ensureTopic({ name: topic, partitions: PARTITIONS, replication: 1, settings: eventsSettings(1) })
  let names = 0
  let closing: Promise<void> | undefined
  async function closeAll(): Promise<void> {
    for (const close of closes.toReversed()) await close()
  }
  return {
    addresses,
    databaseUrl: url.href,
    admin,
    prefix,
    topic,
    fresh: (part) => `${prefix}.${part}-${++names}`,
    log,
    codec: createEventCodec({ schemaId: SCHEMA_ID }),
    kafka,
    clear: async () => {
      await admin.query(`TRUNCATE refold.workflow_events, refold.event_verdicts, refold.execution_heads, refold.checkpoints,
        refold_derived_g1.workflow_executions, refold_derived_g1.workflow_snapshots,
    refold_derived_g1.workflow_actions, refold_derived_g1.workflow_timers, refold_derived_g1.workflow_waits`)
      await admin.query('CHECKPOINT')
    },
    owns: (close) => void closes.push(close),
    close: () => (closing ??= closeAll()),
  }
}

async function dropTopics(kafka: kafkajs.Kafka, prefix: string): Promise<void> {
  const admin = kafka.admin()
  await admin.connect()
  try {
    const topics = (await admin.listTopics()).filter((topic) => topic.startsWith(`${prefix}.`))
    if (topics.length > 0) await admin.deleteTopics({ topics })
    const { groups } = await admin.listGroups()
    const ours = groups.map(({ groupId }) => groupId).filter((group) => group.startsWith(`${prefix}.`))
    if (ours.length > 0) await admin.deleteGroups(ours)
  } finally {
    await admin.disconnect()
  }
}

/** The API registers its schema when it starts; a bench without an API has no such subject. */
async function dropSubject(registryUrl: string, subject: string): Promise<void> {
  for (const permanent of ['', '?permanent=true']) await fetch(`${registryUrl}/subjects/${subject}${permanent}`, { method: 'DELETE' })
}

/** Puts events into the log, some thousands in flight at a time; answers the bytes of their values. */
export async function fill({ log, topic, codec }: Ground, events: Iterable<WorkflowEvent>): Promise<number> {
  let bytes = 0
  let sent: Promise<unknown>[] = []
  for (const event of events) {
    const key = event.execution_id
    const value = codec.encode(event)
    bytes += value.length
    sent.push(log.append({ topic, partition: partitionOf(key, PARTITIONS), key, value }))
    if (sent.length < 5000) continue
    await Promise.all(sent)
    sent = []
  }
  await Promise.all(sent)
  return bytes
}
