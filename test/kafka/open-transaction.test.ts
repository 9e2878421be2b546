// A transaction that a foreign client has begun and not ended holds up nobody, and changes no bounds.

import t from 'tap'
import { Follower } from '../contracts/follower.ts'
import { useKafka } from '../support/kafka.ts'
import { until } from '../support/wait.ts'

const kafka = await useKafka(t)
if (kafka) {
  const topic = await kafka.topic(1)
  const log = kafka.log()
  const value = new Uint8Array(1)
  await log.append({ topic, partition: 0, key: 'k', value })
  const producer = kafka.kafka.producer({ transactionalId: `${topic}.open`, maxInFlightRequests: 1, idempotent: true })
  await producer.connect()
  const transaction = await producer.transaction()
  await transaction.send({ topic, messages: [{ partition: 0, key: 'k', value: 'v' }] })
  await log.append({ topic, partition: 0, key: 'k', value })
  t.teardown(async () => {
    await transaction.abort()
    await producer.disconnect()
  })

  t.test('the bounds go on to the newest record', async (t) => {
    t.same(await log.bounds(topic), [{ partition: 0, low: 0, high: 3 }])
  })

  t.test('a reader whose checkpoint is beyond it goes on there', async (t) => {
    const follower = new Follower()
    follower.checkpoints.set(0, 3)
    const reader = log.reader({ topic, group: `${topic}.g`, handler: follower.handler, mirror: { reader: 'test', generation: 1 } })
    await reader.start()
    await log.append({ topic, partition: 0, key: 'k', value })
    await until(() => follower.checkpoint(0) === 4, { what: () => JSON.stringify(reader.health()) })
    t.equal(follower.records.get(0)?.length, 1)
    await reader.stop()
  })
}
