// The spine under fire: events flow while the recorder dies at every named fault point, Postgres is stopped hard, Redis is
// flushed, and two recorders fight over the same partitions. At the end every event counts once.

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { Redis } from 'ioredis'
import type { Pool } from 'pg'
import { pino } from 'pino'
import { createRecorder } from '../../consumers/recorder.ts'
import { createWriterSchemas } from '../../consumers/writer-schemas.ts'
import { FAULT_POINTS, type FaultPoint } from '../../faults.ts'
import { createKafkaLog } from '../../kafka/kafka-log.ts'
import type { Log } from '../../kafka/log.ts'
import { EVENTS_SETTINGS } from '../../kafka/topics.ts'
import { createPgPool } from '../../postgres/pool.ts'
import { createRecorderStore } from '../../postgres/recorder-store.ts'
import { createSchemaTexts } from '../../postgres/schema-texts.ts'
import { createEventProducer } from '../../producers/events.ts'
import { createEventCodec } from '../../schemas/codec.ts'
import { WORKFLOW_EVENT_SCHEMA, type WorkflowEvent } from '../../schemas/generated.ts'
import { createRegistry } from '../../schemas/registry.ts'
import { up } from '../../stack/stack.ts'
import { readState } from '../../stack/state.ts'
import { createWatch } from '../../watch.ts'
import { OWN_PORTS } from '../support/own-stack.ts'
import { until } from '../support/wait.ts'
import { endFault } from './ends.ts'
import { createWorkload, randomOf } from './workload.ts'
import { checkTables } from './tables.ts'

export type SpineOptions = {
  /** Folder of a stack of its own, which is stopped hard and started again. */
  folder: string
  seed: number
  events: number
  executions: number
  /** How often the recorder is killed at each fault point. */
  kills: number
  postgresStops: number
  /** How long two recorders share all partitions, seconds. */
  rivalSeconds: number
  say: (line: string) => void
}

export type SpineReport = { hits: Record<string, number>; overtaken: number; accepted: number; faults: string[]; seconds: number }

const PREFIX = 'soak'
const TOPIC = `${PREFIX}.events`
const PARTITIONS = 12
const ROOT = path.join(import.meta.dirname, '..', '..')
const silent = pino({ level: 'silent' })

const RECORDER_POINTS = FAULT_POINTS.filter((point) => point.startsWith('recorder:'))

type Servers = { kafka: string; registry: string; database: string; redis: string; postgresPid: number }

function serversOf(folder: string): Servers {
  const servers = readState(folder)?.servers
  const { kafka, registry, postgres, redis } = servers ?? {}
  if (!kafka || !registry || !postgres || !redis) throw new Error(`no stack in ${folder}`)
  return { kafka: kafka.address, registry: registry.address, database: postgres.address, redis: redis.address, postgresPid: postgres.pid }
}

/** Appends events in order, at most `ahead` of them not yet acknowledged. */
async function appendAll(append: (one: WorkflowEvent) => Promise<unknown>, events: readonly WorkflowEvent[], ahead = 2000): Promise<void> {
  const under = new Set<Promise<unknown>>()
  for (const one of events) {
    const sent = append(one).finally(() => under.delete(sent))
    under.add(sent)
    if (under.size >= ahead) await Promise.race(under)
  }
  await Promise.all(under)
}

type Order = { point: FaultPoint; act: 'kill' | 'throw'; nth: number }

/**
 * One recorder process under one order; resolves when the order was carried out and the process is gone, with what was wrong with that.
 * A recorder waits for a Postgres that is away, when it starts and when it runs: it need not end then either.
 */
async function runUnder(order: Order, folder: string, hitsFile: string): Promise<string[]> {
  const before = linesOf(hitsFile).length
  const child = spawn(process.execPath, [path.join(ROOT, 'cli', 'main.ts'), 'start', '--roles', 'recorder'], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      REFOLD_STACK: folder,
      KAFKA_BROKERS: '',
      SCHEMA_REGISTRY_URL: '',
      DATABASE_URL: '',
      REDIS_URL: '',
      REFOLD_TOPIC_PREFIX: PREFIX,
      REFOLD_GROUP_SESSION: '1500',
      REFOLD_GROUP_HEARTBEAT: '300',
      // Partitions share transactions: only small parts make several of them out of a slice.
      REFOLD_RECORDER_BATCH: '10',
      REFOLD_FAULTS: `${order.point}=${order.act}@${order.nth}`,
      REFOLD_FAULT_LOG: hitsFile,
    },
  })
  const lines: string[] = []
  const hear = (line: string) => {
    lines.push(line)
    if (lines.length > 20) lines.shift()
  }
  for (const output of [child.stdout, child.stderr]) createInterface({ input: output }).on('line', hear)
  const gone = new Promise<string[]>((resolve) => {
    child.once('close', (code, signal) => {
      const name = `recorder with ${order.act} at ${order.point}`
      const fault = endFault({ name, code, signal, isStopped: false, isUp: true, tail: lines.join('\n') })
      resolve(fault === undefined ? [] : [fault])
    })
  })
  const hit = until(() => linesOf(hitsFile).length > before || child.exitCode !== null, { within: 90_000, what: `a hit at ${order.point}` })
  try {
    await hit
    if (order.act === 'kill') await gone
  } finally {
    child.kill('SIGKILL')
    await gone
  }
  return gone
}

const linesOf = (file: string): string[] => (existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [])

async function stopPostgresHard(options: SpineOptions): Promise<void> {
  const { folder, say } = options
  const { postgresPid } = serversOf(folder)
  process.kill(postgresPid, 'SIGKILL')
  await until(() => !existsSync(`/proc/${postgresPid}`), { what: 'Postgres to be gone' })
  say('Postgres killed; starting it again')
  await until(
    () =>
      up({ folder, say: () => undefined, env: {}, kinds: ['postgres'], portsFrom: OWN_PORTS }).then(
        () => true,
        () => false,
      ),
    {
      within: 60_000,
      every: 500,
      what: 'Postgres to be up again',
    },
  )
}

/** Two recorders, each reading every partition through a group of its own, on the same checkpoints. */
async function fight(log: Log, database: string, registryUrl: string, schemaId: number, during: () => Promise<void>): Promise<number> {
  const watch = createWatch()
  let overtaken = 0
  watch.on('recorder:batch:overtaken', () => overtaken++)
  const pool = createPgPool(database, { max: 8, name: 'rivals', role: 'refold_engine' })
  const codec = createEventCodec({ schemaId })
  const schemas = createWriterSchemas(codec, createSchemaTexts(pool), createRegistry({ url: registryUrl }), () => undefined)
  const readers = ['rival-1', 'rival-2'].map((group) =>
    log.reader({
      topic: TOPIC,
      group: `${PREFIX}.${group}`,
      handler: createRecorder({ store: createRecorderStore(pool), schemas, partitions: PARTITIONS, watch, rememberedExecutions: 10_000 }),
      mirror: { reader: 'recorder', generation: 1 },
      maxRecords: 200,
    }),
  )
  await Promise.all(readers.map((reader) => reader.start()))
  await during()
  await untilRecorded(log, pool)
  await Promise.all(readers.map((reader) => reader.stop()))
  await pool.end()
  return overtaken
}

async function untilRecorded(log: Log, pool: Pool): Promise<void> {
  await until(
    async () => {
      const ends = await log.bounds(TOPIC)
      const { rows } = await pool.query<{ partition: number; next: string }>(
        `SELECT partition, next_offset AS next FROM refold.checkpoints WHERE reader = 'recorder'`,
      )
      const next = new Map(rows.map((row) => [row.partition, Number(row.next)]))
      return ends.every(({ partition, high }) => high === 0 || next.get(partition) === high)
    },
    { within: 300_000, every: 200, what: 'the recorder to reach the end of the log' },
  )
}

/** Runs it all, and throws at the first thing that isn't as it must be. */
export async function runSpine(options: SpineOptions): Promise<SpineReport> {
  const { folder, seed, say } = options
  const began = performance.now()
  mkdirSync(folder, { recursive: true })
  await up({ folder, say, env: {}, portsFrom: OWN_PORTS })
  const servers = serversOf(folder)
  const hitsFile = path.join(folder, `hits-${seed}`)
  const log = createKafkaLog({ brokers: [servers.kafka], clientId: PREFIX, logger: silent, groupSession: 3000, groupHeartbeat: 500 })
  const redis = new Redis(servers.redis)
  try {
    await log.ensureTopic({ name: TOPIC, partitions: PARTITIONS, replication: 1, settings: EVENTS_SETTINGS })
    const schemaId = await createRegistry({ url: servers.registry }).register(`${TOPIC}-value`, WORKFLOW_EVENT_SCHEMA)
    const codec = createEventCodec({ schemaId })
    const producer = createEventProducer({ log, topic: TOPIC, partitions: PARTITIONS, encode: (one) => codec.encode(one) })
    const append = (one: WorkflowEvent) => producer.append(one)
    const work = createWorkload(options.events, options.executions, seed)
    const random = randomOf(seed + 1)
    const orders = RECORDER_POINTS.flatMap((point): Order[] => [
      ...Array.from({ length: options.kills }, () => ({ point, act: 'kill' as const, nth: 1 + Math.floor(random() * 3) })),
      { point, act: 'throw', nth: 1 + Math.floor(random() * 3) },
    ])
    const order = orders.map((one) => ({ one, at: random() })).toSorted((a, b) => a.at - b.at)
    // A slice of the events for each order, so that every recorder finds work; the rest is for the two rivals.
    const slice = Math.floor((work.events.length * 0.7) / order.length)
    const stops = new Set(
      Array.from({ length: options.postgresStops }, (_, i) => Math.floor(((i + 0.5) * order.length) / options.postgresStops)),
    )
    const ends: string[] = []
    for (const [i, { one }] of order.entries()) {
      await appendAll(append, work.events.slice(i * slice, (i + 1) * slice))
      const stop = stops.has(i) ? stopPostgresHard(options) : undefined
      ends.push(...(await runUnder(one, folder, hitsFile)))
      await stop
      if (i % 3 === 0) await redis.flushall()
      say(`${i + 1}/${order.length} ${one.point} ${one.act}`)
    }
    const rest = work.events.slice(order.length * slice)
    const overtaken = await fight(log, servers.database, servers.registry, schemaId, async () => {
      const steps = Math.max(1, options.rivalSeconds * 2)
      for (let i = 0; i < steps; i++) {
        const next = performance.now() + 500
        await appendAll(append, rest.slice(Math.floor((i * rest.length) / steps), Math.floor(((i + 1) * rest.length) / steps)))
        await until(() => performance.now() >= next, { every: 50 })
      }
    })
    const hits: Record<string, number> = {}
    for (const line of linesOf(hitsFile)) hits[line] = (hits[line] ?? 0) + 1
    const pool = createPgPool(servers.database, { max: 2, name: 'check' })
    const faults = [...ends, ...(await checkTables(pool, work, log, TOPIC))]
    await pool.end()
    const accepted = [...work.expected.values()].reduce((sum, execution) => sum + execution.accepted.length, 0)
    return { hits, overtaken, accepted, faults, seconds: (performance.now() - began) / 1000 }
  } finally {
    redis.disconnect()
    await log.close()
  }
}
