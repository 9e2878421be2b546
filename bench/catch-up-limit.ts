// The limit of catch-up: the barest code that gets the same audit rows, states and checkpoints into the same tables, one
// transaction a batch, at the same concurrency and durability. It judges nothing, survives nothing, and folds in memory.

import { hash } from 'node:crypto'
import { once } from 'node:events'
import avro, { type Type } from 'avsc'
import type { KafkaMessage } from 'kafkajs'
import { Pool, type PoolClient } from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import { WORKFLOW_EVENT_SCHEMA, type WorkflowEvent } from '../schemas/generated.ts'
import { CONNECTIONS, type Ground, PARTITIONS } from './ground.ts'

type State = {
  event: WorkflowEvent
  to: string
  data: object
  seq: number
  offset: string
  opened: string
  changed: string
  created: string
}

const escaped = (text: string) => text.replaceAll('\\', '\\\\').replaceAll('\t', '\\t').replaceAll('\n', '\\n')
const time = (ms: number) => new Date(ms).toISOString()

function auditLine(
  event: WorkflowEvent,
  content: Buffer,
  seq: number,
  from: string,
  partition: number,
  offset: string,
  at: string,
): string {
  return `${event.tenant}\t${event.execution_id}\t${seq}\t${event.event_id}\t${event.event_name}\t${event.event_type}\t${from}\t${event.to_state}\t${event.from_state === from ? '\\N' : event.from_state}\t\\N\t${event.user_id ?? '\\N'}\t${event.payload === null ? '\\N' : escaped(event.payload)}\t${time(event.created_at)}\t${event.workflow_name ?? '\\N'}\t${event.business_key ?? '\\N'}\t0\t\\\\x${hash('sha256', content, 'hex')}\t${partition}\t${offset}\t${at}\n`
}

const COPY = `COPY refold.workflow_events (tenant, execution_id, seq, event_id, event_name, event_type, from_state, to_state, sent_from_state,
  sent_to_state, user_id, payload, created_at, workflow_name, business_key, decision, content, partition, log_offset, appended_at) FROM STDIN`

const UPSERT = `
  INSERT INTO refold_derived_g1.workflow_executions AS e (tenant, execution_id, partition, status, current_state, data, last_seq,
    last_offset, workflow_name, business_key, opened_at, changed_at, created_until)
  SELECT * FROM unnest($1::text[], $2::uuid[], $3::int[], $4::text[], $5::text[], $6::json[], $7::bigint[], $8::bigint[],
    $9::text[], $10::text[], $11::timestamptz[], $12::timestamptz[], $13::timestamptz[])
  ON CONFLICT (tenant, execution_id) DO UPDATE SET current_state = excluded.current_state, data = excluded.data,
    last_seq = excluded.last_seq, last_offset = excluded.last_offset, changed_at = excluded.changed_at,
    created_until = excluded.created_until`

async function put(client: PoolClient, lines: string, partition: number, states: readonly State[], next: string): Promise<void> {
  await client.query('BEGIN')
  await client.query(`UPDATE refold.checkpoints SET next_offset = $2 WHERE reader = 'recorder' AND partition = $1`, [partition, next])
  const stream = client.query(copyFrom(COPY))
  stream.end(lines)
  await once(stream, 'finish')
  await client.query({
    name: 'upsert',
    text: UPSERT,
    values: [
      states.map(({ event }) => event.tenant),
      states.map(({ event }) => event.execution_id),
      states.map(() => partition),
      states.map(() => 'running'),
      states.map(({ to }) => to),
      states.map(({ data }) => JSON.stringify(data)),
      states.map(({ seq }) => seq),
      states.map(({ offset }) => offset),
      states.map(({ event }) => event.workflow_name),
      states.map(({ event }) => event.business_key),
      states.map(({ opened }) => opened),
      states.map(({ changed }) => changed),
      states.map(({ created }) => created),
    ],
  })
  await client.query('COMMIT')
}

function foldBatch(type: Type, states: Map<string, State>, partition: number, messages: readonly KafkaMessage[]) {
  const touched = new Set<State>()
  let lines = ''
  for (const { value, offset, timestamp } of messages) {
    if (!value) continue
    const event = type.fromBuffer(value.subarray(5)) as WorkflowEvent
    const at = time(Number(timestamp))
    let state = states.get(event.execution_id)
    const from = state?.to ?? 'initial'
    if (!state) states.set(event.execution_id, (state = { event, to: '', data: {}, seq: 0, offset, opened: at, changed: at, created: at }))
    state.seq++
    lines += auditLine(event, value, state.seq, from, partition, offset, at)
    state.to = event.to_state
    state.offset = offset
    state.changed = at
    state.created = time(event.created_at)
    Object.assign(state.data, JSON.parse(event.payload ?? '{}'))
    touched.add(state)
  }
  return { lines, touched: [...touched] }
}

export async function bareCatchUp(ground: Ground, count: number): Promise<number> {
  const { kafka, databaseUrl, topic, admin } = ground
  const type = avro.Type.forSchema(JSON.parse(WORKFLOW_EVENT_SCHEMA) as Parameters<typeof avro.Type.forSchema>[0])
  const pool = new Pool({ connectionString: databaseUrl, max: CONNECTIONS, options: '-c role=refold_engine' })
  await admin.query(
    `INSERT INTO refold.checkpoints (reader, partition, next_offset) SELECT 'recorder', p, 0 FROM generate_series(0, ${PARTITIONS - 1}) p`,
  )
  const states = new Map<string, State>()
  const consumer = kafka.consumer({
    groupId: ground.fresh('limit'),
    maxWaitTimeInMs: 200,
    maxBytesPerPartition: 2 * 1024 * 1024,
    maxBytes: 16 * 1024 * 1024,
  })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const done = Promise.withResolvers<void>()
  let stored = 0
  let began = 0
  await consumer.run({
    autoCommit: false,
    partitionsConsumedConcurrently: PARTITIONS,
    eachBatch: async (payload) => {
      const { partition, messages } = payload.batch
      began ||= performance.now()
      const { lines, touched } = foldBatch(type, states, partition, messages)
      const next = String(Number(messages.at(-1)?.offset) + 1)
      const client = await pool.connect()
      await put(client, lines, partition, touched, next)
      client.release()
      payload.resolveOffset(messages.at(-1)?.offset ?? '0')
      stored += messages.length
      if (stored >= count) done.resolve()
    },
  })
  await done.promise
  const seconds = (performance.now() - began) / 1000
  await consumer.disconnect()
  await pool.end()
  return count / seconds
}
