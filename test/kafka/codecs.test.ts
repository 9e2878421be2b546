import { gzipSync } from 'node:zlib'
import kafkajs from 'kafkajs'
import type { CompressionTypes } from 'kafkajs'
import t from 'tap'
import { emptyRecords, recordCount, UNPACKED_LIMIT } from '../../kafka/codecs.ts'
import { Follower } from '../contracts/follower.ts'
import { useKafka } from '../support/kafka.ts'
import { until } from '../support/wait.ts'

t.test('a record count is only believed in a header that fits', async (t) => {
  const batch = Buffer.alloc(61 + 10)
  batch.writeInt8(2, 16)
  batch.writeInt32BE(4, 23)
  batch.writeInt32BE(5, 57)
  const packed = () => Buffer.from(batch.buffer, batch.byteOffset + 61, 10)
  t.equal(recordCount(packed()), 5)
  batch.writeInt32BE(6, 57)
  t.throws(() => recordCount(packed()), /header/)
  batch.writeInt32BE(-1, 57)
  t.throws(() => recordCount(packed()), /header/)
  batch.writeInt32BE(5, 57)
  batch.writeInt8(1, 16)
  t.throws(() => recordCount(packed()), /header/)
})

t.test('empty records have a fixed shape', async (t) => {
  t.equal(emptyRecords(0).length, 0)
  t.equal(emptyRecords(1).toString('hex'), '0c000000010100')
  t.equal(emptyRecords(65).subarray(-8).toString('hex'), '0e00008001010100')
})

const kafka = await useKafka(t)
if (kafka) {
  const { CompressionTypes: Types } = kafkajs
  // Packs into about 100 kB.
  const bomb = Buffer.alloc(UNPACKED_LIMIT * 4)

  async function send(topic: string, compression: CompressionTypes, values: readonly (Buffer | string)[]) {
    const producer = kafka!.kafka.producer({ retry: { retries: 0 } })
    await producer.connect()
    try {
      await producer.send({ topic, compression, messages: values.map((value) => ({ partition: 0, key: 'k', value })) })
    } finally {
      await producer.disconnect()
    }
  }

  async function read(topic: string, end: number): Promise<(string | null)[]> {
    const follower = new Follower()
    const reader = kafka!.log().reader({ topic, group: `${topic}.g`, handler: follower.handler, mirror: { reader: 'test', generation: 1 } })
    await reader.start()
    await until(() => follower.checkpoint(0) === end)
    await reader.stop()
    return (follower.records.get(0) ?? []).map(({ value }) => value && Buffer.from(value).toString())
  }

  t.test('a gzip bomb reads as empty records; its neighbours are whole', async (t) => {
    const topic = await kafka.topic(1, { 'compression.type': 'producer' })
    await send(topic, Types.GZIP, ['one', 'two'])
    await send(topic, Types.GZIP, [bomb, 'in the same batch'])
    await send(topic, Types.None, ['three'])
    t.ok(gzipSync(bomb).length < 1_000_000)
    t.strictSame(await read(topic, 5), ['one', 'two', null, null, 'three'])
  })

  t.test('on a topic of ours the broker unpacks, and refuses what grows too large', async (t) => {
    const topic = await kafka.topic(1)
    await send(topic, Types.GZIP, ['one'])
    await t.rejects(send(topic, Types.GZIP, [bomb]), /larger than the max message size/)
    await send(topic, Types.ZSTD, ['two'])
    t.strictSame(await read(topic, 2), ['one', 'two'])
  })
}
