// The partition of a key: Java's murmur2, as the Java client and kafkajs compute it. librdkafka clients must set
// partitioner=murmur2_random. Part of the format: golden keys in test/workflow/partition.test.ts.

const SEED = 0x9747b28c
const M = 0x5bd1e995

/** Java client's 32-bit murmur2 of the first `length` of `bytes`, as a signed int. */
export function murmur2(bytes: Uint8Array, length = bytes.length): number {
  let h = SEED ^ length
  let i = 0
  for (; i + 4 <= length; i += 4) {
    let k = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
    k = Math.imul(k, M)
    k ^= k >>> 24
    k = Math.imul(k, M)
    h = Math.imul(h, M) ^ k
  }
  const rest = length - i
  if (rest === 3) h ^= bytes[i + 2]! << 16
  if (rest >= 2) h ^= bytes[i + 1]! << 8
  if (rest >= 1) {
    h ^= bytes[i]!
    h = Math.imul(h, M)
  }
  h ^= h >>> 13
  h = Math.imul(h, M)
  return h ^ (h >>> 15)
}

const encoder = new TextEncoder()
/** Holds the keys that are expected, UUIDs: the encoder takes several times as long for one. */
const scratch = new Uint8Array(64)

function murmur2OfText(key: string): number {
  const { length } = key
  if (length > scratch.length) return murmur2(encoder.encode(key))
  for (let i = 0; i < length; i++) {
    const code = key.charCodeAt(i)
    if (code > 0x7f) return murmur2(encoder.encode(key))
    scratch[i] = code
  }
  return murmur2(scratch, length)
}

/** Partition (0 … partitions − 1) of a record with this key. */
export function partitionOf(key: string | Uint8Array, partitions: number): number {
  const hash = typeof key === 'string' ? murmur2OfText(key) : murmur2(key)
  return (hash & 0x7fffffff) % partitions
}
