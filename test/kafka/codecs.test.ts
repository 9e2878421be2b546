import { hash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import kafkajs from 'kafkajs'
import type { CompressionTypes } from 'kafkajs'
import t from 'tap'
import { emptyRecords, isOfTheBytes, recordCount, UNPACKED_LIMIT } from '../../kafka/codecs.ts'
import { unlz4 } from '../../kafka/lz4.ts'
import { unsnappy } from '../../kafka/snappy.ts'
import { Follower } from '../contracts/follower.ts'
import { useKafka } from '../support/kafka.ts'
import { usePython } from '../support/python.ts'
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

/** `abcd` and the same again, so many bytes in all, as snappy's shortest elements write it. */
function snappyOf(bytes: number): Buffer {
  const length: number[] = []
  for (let rest = bytes; ; rest = Math.floor(rest / 128)) {
    length.push(rest > 127 ? (rest % 128) | 128 : rest)
    if (rest <= 127) break
  }
  const out = [...length, 3 << 2, ...Buffer.from('abcd')]
  for (let made = 4; made < bytes; made += 64) out.push(((Math.min(64, bytes - made) - 1) << 2) | 2, 4, 0)
  return Buffer.from(out)
}

/** An LZ4 frame of one block. */
function lz4Of(block: readonly number[]): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32LE(block.length)
  return Buffer.concat([Buffer.from([0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]), length, Buffer.from(block), Buffer.alloc(4)])
}

t.test('copies may reach into what they write', async (t) => {
  t.equal(unsnappy(snappyOf(70), 1000).toString(), 'abcd'.repeat(18).slice(0, 70))
  // One literal and a match of 4 + 15 + 200 bytes, one back.
  t.equal(unlz4(lz4Of([0x1f, 97, 1, 0, 200, 0x10, 98]), 1000).toString(), `${'a'.repeat(220)}b`)
})

t.test('what unpacks beyond the limit is refused before it is made', async (t) => {
  const bomb = snappyOf(UNPACKED_LIMIT + 1)
  t.ok(bomb.length < 1_000_000)
  t.throws(() => unsnappy(bomb, UNPACKED_LIMIT), /unpacks to more than/)
  t.equal(unsnappy(snappyOf(UNPACKED_LIMIT), UNPACKED_LIMIT).length, UNPACKED_LIMIT)
  t.throws(() => unsnappy(Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f, 0]), UNPACKED_LIMIT), /unpacks to more than/, 'a length of 4 GiB')
  const longest = Array.from({ length: 70_000 }, () => 255)
  t.throws(() => unlz4(lz4Of([0x1f, 97, 1, 0, ...longest, 0, 0x10, 98]), UNPACKED_LIMIT), /unpacks to more than/)
})

t.test('bytes that no encoder wrote end as such, and in nothing else', async (t) => {
  const [snappy, lz4] = [snappyOf(500), lz4Of([0x1f, 97, 1, 0, 200, 0x10, 98])]
  const xerial = Buffer.concat([
    Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, snappy.length]),
    snappy,
  ])
  t.throws(() => unsnappy(Buffer.from([10, 0, 97]), 100), /another length/, 'shorter than it says')
  t.throws(() => unsnappy(Buffer.from([4, 2, 9, 0]), 100), /a copy begins/, 'a copy of nothing')
  t.throws(() => unlz4(Buffer.from('not a frame'), 100), /not an LZ4 frame/)
  const spoilt = (bytes: Buffer) =>
    fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 5 }).map((changes) => {
      const copy = Buffer.from(bytes)
      for (const [at, byte] of changes) copy[at] = byte
      return copy
    })
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array)),
    spoilt(snappy),
    spoilt(lz4),
    spoilt(xerial),
  )
  fc.assert(
    fc.property(bytes, fc.constantFrom(unsnappy, unlz4), (packed, unpack) => {
      try {
        return unpack(packed, 1000).length <= 1000
      } catch (error) {
        return isOfTheBytes(error)
      }
    }),
    { numRuns: 20_000 },
  )
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

  const NOISE = Array.from({ length: 20_000 }, (_, n) => Math.sin(n).toString(36)).join('')
  /** Long texts by their digests, so that a difference can be read. */
  const short = (values: readonly (string | null)[]) =>
    values.map((value) => (value !== null && value.length > 100 ? `${value.length} ${hash('sha1', value)}` : value))
  const VALUES = ['one', 'two '.repeat(50_000), NOISE, 'three']

  for (const type of ['gzip', 'snappy', 'lz4', 'zstd'] as const) {
    t.test(`${type}, packed by the broker in Java, is read`, async (t) => {
      const topic = await kafka.topic(1, { 'compression.type': type })
      await send(topic, Types.None, VALUES)
      t.strictSame(short(await read(topic, VALUES.length)), short(VALUES))
    })

    t.test(`${type}, packed by librdkafka, is read; a bomb reads as an empty record`, async (t) => {
      const python = await usePython(t)
      if (!python) return
      const topic = await kafka.topic(1, { 'compression.type': 'producer' })
      const packed = (records: readonly object[]) => python.run('compressed.py', [kafka.brokers.join(','), topic, type], records)
      await packed(VALUES.map((value) => ({ value, times: 1 })))
      await packed([{ value: '\0', times: UNPACKED_LIMIT + 1 }])
      await packed([{ value: 'after', times: 1 }])
      t.strictSame(short(await read(topic, VALUES.length + 2)), short([...VALUES, null, 'after']))
    })
  }

  t.test('on a topic of ours the broker unpacks, and refuses what grows too large', async (t) => {
    const topic = await kafka.topic(1)
    await send(topic, Types.GZIP, ['one'])
    await t.rejects(send(topic, Types.GZIP, [bomb]), /larger than the max message size/)
    await send(topic, Types.ZSTD, ['two'])
    t.strictSame(await read(topic, 2), ['one', 'two'])
  })
}
