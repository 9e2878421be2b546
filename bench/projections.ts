// Projections over records at rest: catch-up of a fold (a row an execution) and of a counter (tenant, state, hour), and a
// rebuild into a new generation, beside code by hand that reads no verdicts.

import avro from 'avsc'
import { Pool } from 'pg'
import { createProjector } from '../consumers/projector.ts'
import { createReaderSchemas } from '../consumers/reader-schemas.ts'
import { NO_FAULTS } from '../faults.ts'
import { createPgPool } from '../postgres/pool.ts'
import { createProjectionControl } from '../postgres/projection-control.ts'
import { createProjectionStore } from '../postgres/projection-store.ts'
import { createSchemaTexts } from '../postgres/schema-texts.ts'
import { defineProjection, type Projection } from '../projections/define.ts'
import { createEventCodec } from '../schemas/codec.ts'
import { WORKFLOW_EVENT_SCHEMA, type WorkflowEvent } from '../schemas/generated.ts'
import { createWatch } from '../watch.ts'
import { manyEvents } from './events.ts'
import { fill, type Ground, PARTITIONS, SCHEMA_ID } from './ground.ts'
import { type Bench, introduce, rate, say, takeTurns } from './measure.ts'

const CONNECTIONS = 4
const BATCH = 10_000
const hourOf = (ms: number) => new Date(Math.floor(ms / 3_600_000) * 3_600_000).toISOString()

const cases = defineProjection({
  name: 'bench_cases',
  version: 1,
  columns: { execution: 'uuid', state: 'text', events: 'bigint', amount: 'double precision', business_key: 'text', last_at: 'timestamptz' },
  key: ['execution'],
  keys: (event) => [{ execution: event.executionId }],
  initial: ({ execution }) => ({ execution, state: null, events: 0, amount: 0, business_key: null, last_at: null }),
  evolve: (row, event) => ({
    execution: row.execution,
    state: event.toState === '' ? row.state : event.toState,
    events: (row.events ?? 0) + 1,
    amount: (row.amount ?? 0) + (event.payload as { amount: number }).amount,
    business_key: event.businessKey,
    last_at: new Date(event.appendedAt).toISOString(),
  }),
})

const counters = defineProjection({
  name: 'bench_counters',
  version: 1,
  columns: { state: 'text', hour: 'timestamptz', events: 'bigint' },
  key: ['state', 'hour'],
  keys: (event) => [{ state: event.toState, hour: hourOf(event.createdAt) }],
  initial: (key) => ({ ...key, events: 0 }),
  evolve: (row) => ({ ...row, events: (row.events ?? 0) + 1 }),
  view: 'sum',
})

type Folded = { figure: number; also: string }

/** Until every partition is folded; answers events a second, from the first batch in hand. */
async function ours(ground: Ground, count: number, projections: readonly Projection[], generation: number): Promise<Folded> {
  const pool = createPgPool(ground.databaseUrl, { max: CONNECTIONS, name: 'bench-projector', role: 'refold_engine' })
  const codec = createEventCodec({ schemaId: SCHEMA_ID })
  const watch = createWatch()
  const done = Promise.withResolvers<void>()
  let stored = 0
  let began = 0
  watch.on('projector:batch:stored', ({ events }) => {
    stored += events
    if (stored >= count * projections.length) done.resolve()
  })
  const readers = projections.map((projection) => {
    const store = createProjectionStore(pool, projection, generation)
    const handler = createProjector({
      projection,
      generation,
      store,
      schemas: createReaderSchemas(codec, createSchemaTexts(pool), PARTITIONS, store.recorded),
      low: async () => 0,
      watch,
      faults: NO_FAULTS,
      remembered: 25_000,
    })
    return ground.log.reader({
      topic: ground.topic,
      group: ground.fresh('projection'),
      mirror: { reader: projection.name, generation },
      maxRecords: BATCH,
      handler: {
        checkpoint: handler.checkpoint,
        batch(batch) {
          began ||= performance.now()
          return handler.batch(batch)
        },
      },
    })
  })
  await Promise.all(readers.map((reader) => reader.start()))
  await done.promise
  const seconds = (performance.now() - began) / 1000
  const rss = Math.round(process.memoryUsage.rss() / 1e6)
  await Promise.all(readers.map((reader) => reader.stop()))
  await pool.end()
  return { figure: count / seconds, also: `RSS ${rss} MB` }
}

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
async function byHand(ground: Ground, count: number): Promise<Folded> {
  const type = avro.Type.forSchema(JSON.parse(WORKFLOW_EVENT_SCHEMA) as Parameters<typeof avro.Type.forSchema>[0])
  const pool = new Pool({ connectionString: ground.databaseUrl, max: CONNECTIONS })
  await pool.query(`DROP TABLE IF EXISTS hand; CREATE TABLE hand (partition int, tenant text, execution uuid, state text, events bigint,
    amount float8, business_key text, last_at timestamptz, last_offset bigint, PRIMARY KEY (tenant, execution, partition)) WITH (fillfactor = 80);
    DROP TABLE IF EXISTS hand_positions; CREATE TABLE hand_positions (partition int PRIMARY KEY, next bigint)`)
  const states = new Map<string, State>()
  const consumer = ground.kafka.consumer({
    groupId: ground.fresh('hand'),
    maxWaitTimeInMs: 200,
    maxBytesPerPartition: 2 * 1024 * 1024,
    maxBytes: 16 * 1024 * 1024,
  })
  await consumer.connect()
  await consumer.subscribe({ topic: ground.topic, fromBeginning: true })
  const done = Promise.withResolvers<void>()
  let stored = 0
  let began = 0
  await consumer.run({
    autoCommit: false,
    partitionsConsumedConcurrently: PARTITIONS,
    eachBatch: async ({ batch: { partition, messages }, resolveOffset }) => {
      began ||= performance.now()
      const touched = new Set<State>()
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
  const seconds = (performance.now() - began) / 1000
  await consumer.disconnect()
  await pool.end()
  return { figure: count / seconds, also: '' }
}

async function check(ground: Ground, count: number, generation: number): Promise<void> {
  const { rows } = await ground.admin.query<{ events: string }>(
    `SELECT sum(events) AS events FROM refold_p_bench_cases_g${generation}.bench_cases`,
  )
  if (Number(rows[0]?.events) !== count) throw new Error(`of ${count} events ${rows[0]?.events} are in the rows`)
}

export const bench: Bench = async (ground, { events: count = 200_000, rounds = 3, only }) => {
  introduce(
    `Projections: ${count} records at rest, ${PARTITIONS} partitions, batches of up to ${BATCH}, ${CONNECTIONS} connections`,
    'first batch in hand → last commit: verdicts and the recorder’s checkpoint read, decode, accept’s first rule, fold, upsert, checkpoint by compare-and-set',
    'joining the group. Limit: by hand, kafkajs, avsc, the same fold, the same upsert; it reads no verdicts and survives nothing',
  )
  const pool = createPgPool(ground.databaseUrl, { max: 4, name: 'bench-control' })
  const projections = [cases, counters]
  const control = createProjectionControl(pool, projections, PARTITIONS)
  for (const projection of projections) await control.sync(projection)
  say('  filling the log …')
  await fill(ground, manyEvents(count))
  // As if a recorder had accepted everything: it is not what is measured.
  for (const { partition, high } of await ground.log.bounds(ground.topic))
    await ground.admin.query(
      `INSERT INTO refold.checkpoints (reader, partition, next_offset) VALUES ('recorder', $1, $2) ON CONFLICT (reader, partition) DO UPDATE SET next_offset = excluded.next_offset`,
      [partition, high],
    )
  let generation = 1
  /** Each turn builds a generation of its own, as a rebuild does. */
  const fresh = async (some: readonly Projection[]) => {
    for (const one of some) {
      await control.dropGeneration(one.name, generation)
      await control.operations.makeGeneration(one.name)
    }
    generation++
  }
  const sides = (some: readonly Projection[]) =>
    [
      {
        name: 'ours' as const,
        turn: async () => {
          await fresh(projections)
          const folded = await ours(ground, count, some, generation)
          await check(ground, count, generation)
          return folded
        },
      },
      { name: 'limit' as const, turn: () => byHand(ground, count) },
    ] as const
  say('  the fold alone')
  await takeTurns(sides([cases]), rate, 'higher', { rounds, only })
  say('  the fold and the counter together (limit: the fold by hand alone)')
  await takeTurns(sides(projections), rate, 'higher', { rounds, only })
  await pool.end()
}
