import { Partitioners } from 'kafkajs'
import fc from 'fast-check'
import t from 'tap'
import { murmur2, partitionOf } from '../../workflow/partition.ts'

t.test('murmur2 gives the numbers of the Java client (its own test vectors)', async (t) => {
  const golden: [string, number][] = [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ]
  for (const [key, hash] of golden) t.equal(murmur2(new TextEncoder().encode(key)), hash, key)
})

t.test('golden keys keep their partition of 12', async (t) => {
  t.equal(partitionOf('0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01', 12), 0)
  t.equal(partitionOf('00000000-0000-0000-0000-000000000000', 12), 9)
  t.equal(partitionOf('ffffffff-ffff-4fff-bfff-ffffffffffff', 12), 11)
})

t.test('any key goes where the Kafka client would send it', async () => {
  const partitioner = Partitioners.DefaultPartitioner()
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.integer({ min: 1, max: 200 }), (bytes, partitions) => {
      const partitionMetadata = Array.from({ length: partitions }, (_, partitionId) => ({
        partitionId,
        partitionErrorCode: 0,
        leader: 1,
        replicas: [],
        isr: [],
      }))
      const theirs = partitioner({ topic: 't', partitionMetadata, message: { key: Buffer.from(bytes), value: null } })
      return theirs === partitionOf(bytes, partitions)
    }),
  )
})
