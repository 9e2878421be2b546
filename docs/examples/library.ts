// Refold as a library: events in, histories and states out. Needs KAFKA_BROKERS, SCHEMA_REGISTRY_URL, DATABASE_URL, and
// REFOLD_TOPIC_PREFIX where it is not `refold`.

import { setTimeout as pause } from 'node:timers/promises'

const text = (name: string, fallback: string) => process.env[name] ?? fallback
const brokers = text('KAFKA_BROKERS', '127.0.0.1:9092').split(',')
const registryUrl = text('SCHEMA_REGISTRY_URL', 'http://127.0.0.1:8081/apis/ccompat/v7')
const databaseUrl = text('DATABASE_URL', 'postgres://127.0.0.1:5432/refold')
const topicPrefix = text('REFOLD_TOPIC_PREFIX', 'refold')

// region create
import { executionIdOf, openProducer } from '../../index.ts'

const producer = await openProducer({ brokers, registryUrl, tenant: 'demo', topicPrefix })
const order = { workflow_name: 'order', business_key: '3000' }
await producer.create({
  ...order,
  event_name: 'order.placed',
  to_state: 'placed',
  payload: '{"total":9007199254740993}',
  idempotency_key: 'place',
})
const receipt = await producer.create({
  ...order,
  event_name: 'order.paid',
  to_state: 'paid',
  payload: '{"paid":true}',
  idempotency_key: 'pay',
})
await producer.close()
// endregion

// region read
import { getByExecutionId, getByExecutionIdUntil, getByIdempotencyKey, openReads } from '../../index.ts'

const reads = openReads(databaseUrl, { max: 4, name: 'my-service' })
const executionId = executionIdOf('demo', 'order', '3000') // as in the receipt

// What was created is recorded a moment later: undefined until then.
while (!(await getByIdempotencyKey(reads, executionId, 'demo', 'pay'))) await pause(50)

const history = await getByExecutionId(reads, executionId, 'demo') // all accepted events, in order of seq
const before = await getByExecutionIdUntil(reads, executionId, 'demo', 1) // up to a seq, or up to a Date in business time
// endregion

// region replay
import { createStateCache, replayEvents } from '../../index.ts'

const cache = createStateCache({ max: 10_000, ttl: 60_000 })
const now = await replayEvents(reads, executionId, 'demo', {}, cache)
const placed = await replayEvents(reads, executionId, 'demo', { replayUntil: 1 })
const counted = await replayEvents(reads, executionId, 'demo', { useSnapshots: false, batchSize: 1000, debug: true })
// endregion

// region fold
import { applyEvent, type ExecutionState, initial } from '../../index.ts'

let state: ExecutionState = initial('demo', executionId)
for (const event of history) state = applyEvent(state, { event, seq: event.seq, appendedAt: event.appended_at })
// endregion

await reads.close()
console.log(
  JSON.stringify({
    receipt,
    history: history.map(({ seq, event_name: name }) => [seq, name]),
    before: before.length,
    now: now && { currentState: now.currentState, data: now.data, isComplete: now.isComplete, seq: now.seq },
    placed: placed?.currentState,
    counted: counted?.debug,
    folded: state.currentState,
  }),
)
