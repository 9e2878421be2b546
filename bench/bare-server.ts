// The limits of append and reads: Fastify with its own JSON parser, avsc, micro-batched kafkajs (one send in flight, what
// arrives meanwhile goes into the next), and a pg SELECT. No tokens, no checks, no tenant, no problem answers.

import { randomUUID } from 'node:crypto'
import avro from 'avsc'
import { fastify } from 'fastify'
import kafkajs from 'kafkajs'
import { Pool } from 'pg'
import { WORKFLOW_EVENT_SCHEMA } from '../schemas/generated.ts'
import { partitionOf } from '../workflow/partition.ts'
import { TENANT } from './events.ts'
import { CONNECTIONS, PARTITIONS } from './ground.ts'

const topic = process.argv[2] ?? ''
const type = avro.Type.forSchema(JSON.parse(WORKFLOW_EVENT_SCHEMA) as Parameters<typeof avro.Type.forSchema>[0])
const brokers = (process.env['KAFKA_BROKERS'] ?? '').split(',')
const producer = new kafkajs.Kafka({ brokers, logLevel: kafkajs.logLevel.NOTHING }).producer({ idempotent: false })
const pool = new Pool({ connectionString: process.env['DATABASE_URL'], max: CONNECTIONS })

type Waiting = { message: kafkajs.Message; resolve: (offset: number) => void; reject: (error: unknown) => void }
let waiting: Waiting[] = []
let sending = false

async function send(): Promise<void> {
  sending = true
  while (waiting.length > 0) {
    const batch = waiting
    waiting = []
    try {
      const results = await producer.send({ topic, acks: -1, messages: batch.map(({ message }) => message) })
      const next = new Map(results.map(({ partition, baseOffset }) => [partition, Number(baseOffset)]))
      for (const { resolve, message } of batch) {
        const offset = next.get(message.partition ?? -1) ?? -1
        next.set(message.partition ?? -1, offset + 1)
        resolve(offset)
      }
    } catch (error) {
      for (const { reject } of batch) reject(error)
    }
  }
  sending = false
}

function append(message: kafkajs.Message): Promise<number> {
  return new Promise((resolve, reject) => {
    waiting.push({ message, resolve, reject })
    if (!sending) void send()
  })
}

type Draft = { execution_id: string; event_name: string; to_state: string; payload: unknown }

async function take(draft: Draft): Promise<object> {
  const eventId = randomUUID()
  const body = type.toBuffer({
    event_id: eventId,
    tenant: TENANT,
    execution_id: draft.execution_id,
    event_name: draft.event_name,
    event_type: 'workflow',
    from_state: '',
    to_state: draft.to_state,
    user_id: null,
    payload: JSON.stringify(draft.payload),
    created_at: Date.now(),
    causation_id: null,
    correlation_id: null,
    workflow_name: null,
    business_key: null,
    decision: 0,
    decision_chain: '',
    decision_seq: 0,
    decision_input: '',
  })
  const value = Buffer.concat([Buffer.of(0, 0, 0, 0, 1), body])
  const partition = partitionOf(draft.execution_id, PARTITIONS)
  const offset = await append({ key: draft.execution_id, value, partition })
  return { status: 'appended', event_id: eventId, execution_id: draft.execution_id, position: `p${partition}:${offset}` }
}

const app = fastify({ bodyLimit: 64 * 1024 * 1024 })
app.post<{ Body: Draft[] }>('/v1/events', async (request, reply) => {
  const outcomes = await Promise.all(request.body.map(take))
  return reply.code(202).send({ appended: outcomes.length, outcomes })
})
app.get<{ Params: { id: string } }>('/v1/executions/:id', async ({ params: { id } }) => {
  const { rows } = await pool.query<object>({
    name: 'execution',
    text: 'SELECT * FROM refold_derived_g1.workflow_executions WHERE tenant = $1 AND execution_id = $2',
    values: [TENANT, id],
  })
  return rows[0]
})

await producer.connect()
console.log(`running; ${await app.listen({ host: '127.0.0.1', port: 0 })}`)
process.once('SIGTERM', () => {
  void (async () => {
    await app.close()
    await producer.disconnect()
    await pool.end()
  })()
})
