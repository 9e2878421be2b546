// Events straight into the log, with kafkajs and avsc. Needs KAFKA_BROKERS, SCHEMA_REGISTRY_URL and TOPIC.

// region setup
import avsc from 'avsc'
import { Kafka } from 'kafkajs'
import { v4, v5 } from 'uuid'

const topic = process.env['TOPIC'] ?? 'refold.events'
const brokers = (process.env['KAFKA_BROKERS'] ?? '127.0.0.1:9092').split(',')
const registry = process.env['SCHEMA_REGISTRY_URL'] ?? 'http://127.0.0.1:8081/apis/ccompat/v7'

// The schema that Refold registered when it made the topic.
const answer = await fetch(`${registry}/subjects/${topic}-value/versions/latest`)
const { id, schema } = (await answer.json()) as { id: number; schema: string }
const type = avsc.Type.forSchema(JSON.parse(schema))
// endregion

// region event
// The execution of a business key has the same id whoever computes it; Refold's API computes it so as well.
const NAMESPACE = '7d48d971-6f46-5f2d-8be2-d36e6676a0df'
const executionId = v5(JSON.stringify(['execution', 'demo', 'order', '2000']), NAMESPACE)

const event = {
  event_id: v4(), // keep it for every retry of this event
  tenant: 'demo',
  execution_id: executionId,
  event_name: 'order.placed',
  to_state: 'placed',
  payload: '{"amount":12.50,"customer":9007199254740993}', // JSON as text: no digit is lost
  created_at: Date.now(),
  workflow_name: 'order',
  business_key: '2000',
}
// endregion

// region send
// Confluent framing: a zero, the schema's id, the Avro bytes.
const head = Buffer.alloc(5)
head.writeUInt32BE(id, 1)

const producer = new Kafka({ clientId: 'orders', brokers }).producer() // its default partitioner is Java's
await producer.connect()
const sent = await producer.send({
  topic,
  acks: -1,
  messages: [{ key: event.execution_id, value: Buffer.concat([head, type.toBuffer(event)]) }],
})
await producer.disconnect()
// endregion

const [record] = sent
console.log(
  JSON.stringify({ execution_id: executionId, event_id: event.event_id, position: `p${record?.partition}:${record?.baseOffset}` }),
)
