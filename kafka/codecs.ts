// Compressed batches from outside. kafkajs unzips without a bound, lacks all codecs but gzip, and an error in a codec fails the
// whole fetch, for every partition in it and for ever. So: capped codecs of all four kinds, that answer a batch which they
// can't unpack, or not within the cap, with as many empty records as it holds; each keeps its offset and is quarantined by
// itself. Topics that we make have compression.type=uncompressed, so that the broker unpacks (and refuses what grows beyond
// max.message.bytes): there, no reader comes here.

import { gunzip, gzip, zstdCompress, zstdDecompress } from 'node:zlib'
import type { InputType } from 'node:zlib'
import { promisify } from 'node:util'
import kafkajs from 'kafkajs'
import { unlz4 } from './lz4.ts'
import { unsnappy } from './snappy.ts'
import { Malformed, TooLarge } from './unpacked.ts'

/** Bytes that one batch may unpack to; 16 times what a topic takes by default. A constant, so that all readers agree. */
export const UNPACKED_LIMIT = 16 * 1024 * 1024

type Unpack = (packed: Buffer) => Promise<Buffer>
type Pack = (bytes: InputType) => Promise<Buffer>

const CAPPED = { maxOutputLength: UNPACKED_LIMIT }
const gunzipped = promisify(gunzip)
const unzstd = promisify(zstdDecompress)

/** Tells kafkajs our codecs; its table is global, so once is enough and twice does no harm. */
export function registerCodecs(): void {
  const { CompressionCodecs, CompressionTypes } = kafkajs
  CompressionCodecs[CompressionTypes.GZIP] = () => codec((packed) => gunzipped(packed, CAPPED), promisify(gzip))
  CompressionCodecs[CompressionTypes.ZSTD] = () => codec((packed) => unzstd(packed, CAPPED), promisify(zstdCompress))
  CompressionCodecs[CompressionTypes.Snappy] = () => codec(async (packed) => unsnappy(packed, UNPACKED_LIMIT), unwritten)
  CompressionCodecs[CompressionTypes.LZ4] = () => codec(async (packed) => unlz4(packed, UNPACKED_LIMIT), unwritten)
}

const unwritten: Pack = () => Promise.reject(new TypeError('Refold reads this compression and does not write it'))

function codec(unpack: Unpack, pack: Pack) {
  return {
    compress: (encoder: { buffer: Buffer }) => pack(encoder.buffer),
    async decompress(packed: Buffer): Promise<Buffer> {
      try {
        return await unpack(packed)
      } catch (error) {
        if (isOfTheBytes(error)) return emptyRecords(recordCount(packed))
        throw error
      }
    },
  }
}

/** The bytes are to blame, so every reader finds the same, always; and not, say, a lack of memory. */
export function isOfTheBytes(error: unknown): boolean {
  if (error instanceof TooLarge || error instanceof Malformed) return true
  if (!(error instanceof Error && 'code' in error && typeof error.code === 'string')) return false
  return /^(ERR_BUFFER_TOO_LARGE|Z_DATA_ERROR|Z_BUF_ERROR|Z_NEED_DICT|ZSTD_error_(?!memory|stage).*)$/.test(error.code)
}

// The codec is given only the packed bytes. They are the end of the batch in the response's buffer, so the batch's header
// (61 bytes, of which the last 4 are the number of records) lies right before them.
const HEADER = 61
const MAGIC_AT = 16
const LAST_OFFSET_DELTA_AT = 23
// kafkajs spreads a batch's records into one call's arguments: from about 125,000 on that overflows the stack.
const MOST_RECORDS = 100_000

/** Number of records of the batch whose packed part this is; checked against the header's other fields. */
export function recordCount(packed: Buffer): number {
  const start = packed.byteOffset - HEADER
  if (start >= 0) {
    const header = new DataView(packed.buffer, start, HEADER)
    const count = header.getInt32(HEADER - 4)
    const fits = header.getInt8(MAGIC_AT) === 2 && header.getInt32(LAST_OFFSET_DELTA_AT) + 1 >= count
    if (fits && count >= 0 && count <= MOST_RECORDS) return count
  }
  throw new Error(`A compressed batch can't be unpacked within ${UNPACKED_LIMIT} bytes, and its header can't be read`)
}

/** `count` records without key, value or headers, as a batch holds them. */
export function emptyRecords(count: number): Buffer {
  const bytes: number[] = []
  for (let i = 0; i < count; i++) {
    const offsetDelta = varint(i)
    // length, attributes, timestamp delta, offset delta, no key, no value, no headers
    bytes.push(...varint(offsetDelta.length + 5), 0, 0, ...offsetDelta, 1, 1, 0)
  }
  return Buffer.from(bytes)
}

function varint(value: number): number[] {
  const bytes: number[] = []
  let rest = value * 2 // zigzag of a number ≥ 0
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128)
  return [...bytes, rest]
}
