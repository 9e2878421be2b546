// One turn of bench/projections.ts, in a process of its own: what it takes of CPU and memory is nobody else's.

import { readFileSync } from 'node:fs'
import avro from 'avsc'
import kafkajs from 'kafkajs'
import type { Pool, PoolClient } from 'pg'
import { NO_FAULTS } from '../faults.ts'
import { createKafkaLog } from '../kafka/kafka-log.ts'
import { createPgPool } from '../postgres/pool.ts'
import { generationReader, passesOf } from '../roles/generation-reader.ts'
import { createEventCodec } from '../schemas/codec.ts'
import { WORKFLOW_EVENT_SCHEMA, type WorkflowEvent } from '../schemas/generated.ts'
import { createWatch } from '../watch.ts'
import { PARTITIONS, QUIET, SCHEMA_ID } from './ground.ts'
import { benchProjections, hourOf } from './projection-definitions.ts'

export type Turn = {
  side: 'ours' | 'limit'
  /** Names of projections. */
  folds: readonly string[]
  generation: number
  count: number
  brokers: readonly string[]
  topic: string
  databaseUrl: string
  /** First part of the names of consumer groups. */
  group: string
}

/** Of the time between the first batch in hand and the last commit. */
export type Taken = { seconds: number; nodeCpu: number; postgresCpu: number; rssMost: number }

const CONNECTIONS = 4
export const BATCH = 10_000
/** Of /proc/<pid>/stat, per second. */
const TICKS = 100

/** CPU seconds that the backends behind a pool have taken so far, while they live. */
function backends(pool: Pool): () => number {
  const pids = new Set<number>()
  pool.on('connect', (client) => pids.add((client as PoolClient & { processID: number }).processID))
  const secondsOf = (pid: number) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
    return (Number(fields[11]) + Number(fields[12])) / TICKS
  }
  return () => (process.platform === 'linux' ? [...pids].reduce((sum, pid) => sum + secondsOf(pid), 0) : Number.NaN)
}

function stopwatch(pool: Pool) {
  const postgres = backends(pool)
  let began = 0
  let cpu = process.cpuUsage()
  return {
    begin() {
      if (began > 0) return
      began = performance.now()
      cpu = process.cpuUsage()
    },
    end(): Taken {
      const { user, system } = process.cpuUsage(cpu)
      const seconds = (performance.now() - began) / 1000
      return { seconds, nodeCpu: (user + system) / 1e6, postgresCpu: postgres(), rssMost: process.resourceUsage().maxRSS / 1000 }
    },
  }
}

/** Until every partition is folded, by the readers of the projector. */
async function ours({ folds, generation, count, brokers, topic, databaseUrl, group }: Turn): Promise<Taken> {
  const projections = benchProjections.filter(({ name }) => folds.includes(name))
  const log = createKafkaLog({ brokers: [...brokers], clientId: group, logger: QUIET })
  const pool = createPgPool(databaseUrl, { max: CONNECTIONS, name: 'bench-projector', role: 'refold_engine', byKey: true })
  const codec = createEventCodec({ schemaId: SCHEMA_ID })
  const watch = createWatch()
  const clock = stopwatch(pool)
  const done = Promise.withResolvers<void>()
  let stored = 0
  watch.on('projector:batch:stored', ({ events }) => {
    stored += events
    if (stored >= count * projections.length) done.resolve()
  })
  const passes = passesOf(codec)
  const readers = projections.map((projection) =>
    generationReader({
      log,
      topic,
      group: `${group}.${projection.name}`,
      codec,
      partitions: PARTITIONS,
      pool,
      passes,
      maxRecords: BATCH,
      projection,
      generation,
      low: async () => 0,
      watch,
      faults: NO_FAULTS,
      remembered: 25_000,
      given: clock.begin,
    }),
  )
  await Promise.all(readers.map((reader) => reader.start()))
  await done.promise
  const taken = clock.end()
  await log.close()
  await pool.end()
  return taken
}

type Counter = { tenant: string; state: string; hour: string; events: number }

type State = {
  tenant: string
  execution: string
  state: string
  events: number
  amount: number
  key: string | null
  at: string
  offset: number
}

/** By hand: kafkajs, avsc, a fold in memory, an upsert and the position in one transaction a batch. */
async function byHand({ folds, count, brokers, topic, databaseUrl, group }: Turn): Promise<Taken> {
  const counts = folds.length > 1 ? new Map<string, Counter>() : undefined
  const type = avro.Type.forSchema(JSON.parse(WORKFLOW_EVENT_SCHEMA) as Parameters<typeof avro.Type.forSchema>[0])
  const pool = createPgPool(databaseUrl, { max: CONNECTIONS, name: 'bench-hand' })
  const clock = stopwatch(pool)
  await pool.query(`DROP TABLE IF EXISTS hand; CREATE TABLE hand (partition int, tenant text, execution uuid, state text, events bigint,
    amount float8, business_key text, last_at timestamptz, last_offset bigint, PRIMARY KEY (tenant, execution, partition)) WITH (fillfactor = 80);
    DROP TABLE IF EXISTS hand_positions; CREATE TABLE hand_positions (partition int PRIMARY KEY, next bigint);
    DROP TABLE IF EXISTS hand_counts; CREATE TABLE hand_counts (partition int, tenant text, state text, hour timestamptz, events bigint,
    PRIMARY KEY (tenant, state, hour, partition)) WITH (fillfactor = 80)`)
  const states = new Map<string, State>()
  const consumer = new kafkajs.Kafka({ brokers: [...brokers], clientId: group, logLevel: kafkajs.logLevel.NOTHING }).consumer({
    groupId: `${group}.hand`,
    maxWaitTimeInMs: 200,
    maxBytesPerPartition: 2 * 1024 * 1024,
    maxBytes: 16 * 1024 * 1024,
  })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const done = Promise.withResolvers<void>()
  let stored = 0
  await consumer.run({
    autoCommit: false,
    partitionsConsumedConcurrently: PARTITIONS,
    eachBatch: async ({ batch: { partition, messages }, resolveOffset }) => {
      clock.begin()
      const touched = new Set<State>()
      const counted = new Set<Counter>()
      for (const { value, offset, timestamp } of messages) {
        if (!value) continue
        const event = type.fromBuffer(value.subarray(5)) as WorkflowEvent
        let one = states.get(event.execution_id)
        if (!one)
          states.set(
            event.execution_id,
            (one = {
              tenant: event.tenant,
              execution: event.execution_id,
              state: '',
              events: 0,
              amount: 0,
              key: event.business_key,
              at: '',
              offset: 0,
            }),
          )
        one.state = event.to_state
        one.events++
        one.amount += (JSON.parse(event.payload ?? '{}') as { amount: number }).amount
        one.at = new Date(Number(timestamp)).toISOString()
        one.offset = Number(offset)
        touched.add(one)
        if (counts) {
          const hour = hourOf(event.created_at)
          const name = `${partition} ${event.tenant} ${event.to_state} ${hour}`
          let counter = counts.get(name)
          if (!counter) counts.set(name, (counter = { tenant: event.tenant, state: event.to_state, hour, events: 0 }))
          counter.events++
          counted.add(counter)
        }
      }
      const rows = [...touched]
      const client = await pool.connect()
      await client.query('BEGIN')
      await client.query({
        name: 'hand',
        text: `INSERT INTO hand AS h SELECT $1, * FROM unnest($2::text[], $3::uuid[], $4::text[], $5::bigint[], $6::float8[], $7::text[], $8::timestamptz[], $9::bigint[])
          ON CONFLICT (tenant, execution, partition) DO UPDATE SET state = excluded.state, events = excluded.events, amount = excluded.amount,
          last_at = excluded.last_at, last_offset = excluded.last_offset`,
        values: [
          partition,
          rows.map(({ tenant }) => tenant),
          rows.map(({ execution }) => execution),
          rows.map(({ state }) => state),
          rows.map(({ events }) => events),
          rows.map(({ amount }) => amount),
          rows.map(({ key }) => key),
          rows.map(({ at }) => at),
          rows.map(({ offset }) => offset),
        ],
      })
      const sums = [...counted]
      if (sums.length > 0)
        await client.query({
          name: 'hand-counts',
          text: `INSERT INTO hand_counts SELECT $1, * FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::bigint[])
            ON CONFLICT (tenant, state, hour, partition) DO UPDATE SET events = excluded.events`,
          values: [
            partition,
            sums.map(({ tenant }) => tenant),
            sums.map(({ state }) => state),
            sums.map(({ hour }) => hour),
            sums.map(({ events }) => events),
          ],
        })
      const last = messages.at(-1)?.offset ?? '0'
      await client.query('INSERT INTO hand_positions VALUES ($1, $2) ON CONFLICT (partition) DO UPDATE SET next = excluded.next', [
        partition,
        Number(last) + 1,
      ])
      await client.query('COMMIT')
      client.release()
      resolveOffset(last)
      stored += messages.length
      if (stored >= count) done.resolve()
    },
  })
  await done.promise
  const taken = clock.end()
  await consumer.disconnect()
  await pool.end()
  return taken
}

const turn = JSON.parse(process.argv[2] ?? '{}') as Turn
process.send?.(await (turn.side === 'ours' ? ours(turn) : byHand(turn)))
process.disconnect()
