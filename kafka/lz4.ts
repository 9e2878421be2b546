// LZ4 frames, read only and capped. Checksums are passed over: the broker has checked the batch's own.

import { Malformed, Unpacked } from './unpacked.ts'

const MAGIC = 0x184d2204
/** Bits of a frame's flags. */
const FLAG = { contentSize: 0x08, contentChecksum: 0x04, blockChecksum: 0x10, dictionary: 0x01, independent: 0x20 } as const
const VERSION = 1
/** Of a block's length: it is not packed. */
const STORED = 0x80000000
const MIN_MATCH = 4

/** Errors: TooLarge beyond `limit` bytes, Malformed. */
export function unlz4(packed: Buffer, limit: number): Buffer {
  const out = new Unpacked(limit)
  for (let at = 0; at < packed.length;) at = frame(packed, at, out)
  return out.taken()
}

function uint32(bytes: Buffer, at: number): number {
  if (at + 4 > bytes.length) throw new Malformed('a frame that is cut off')
  return bytes.readUInt32LE(at)
}

/** Answers where the frame ends. */
function frame(bytes: Buffer, from: number, out: Unpacked): number {
  if (uint32(bytes, from) !== MAGIC) throw new Malformed('not an LZ4 frame')
  const flags = bytes[from + 4] ?? 0
  if (flags >> 6 !== VERSION || (flags & FLAG.dictionary) !== 0) throw new Malformed('an LZ4 frame of a kind that Kafka does not write')
  const start = out.length
  // Magic, flags, block size, the content's size if it is told, the header's checksum.
  let at = from + 6 + (flags & FLAG.contentSize ? 8 : 0) + 1
  for (;;) {
    const length = uint32(bytes, at)
    at += 4
    if (length === 0) break
    const size = length % STORED
    if (at + size > bytes.length) throw new Malformed('a block that is cut off')
    const floor = flags & FLAG.independent ? out.length : start
    if (length >= STORED) out.literal(bytes, at, size)
    else block(bytes.subarray(at, at + size), out, floor)
    at += size + (flags & FLAG.blockChecksum ? 4 : 0)
  }
  return at + (flags & FLAG.contentChecksum ? 4 : 0)
}

/** A length whose first four bits are 15 goes on in bytes, as long as they are 255. */
function longer(bytes: Buffer, at: number, length: number): { length: number; at: number } {
  if (length < 15) return { length, at }
  let [total, next] = [length, at]
  for (;;) {
    const byte = bytes[next++]
    if (byte === undefined) throw new Malformed('a length that is cut off')
    total += byte
    if (byte < 255) return { length: total, at: next }
  }
}

/** Sequences of literals and a copy; the last has literals only. */
function block(bytes: Buffer, out: Unpacked, floor: number): void {
  for (let at = 0; at < bytes.length;) {
    const token = bytes[at] ?? 0
    const literals = longer(bytes, at + 1, token >> 4)
    out.literal(bytes, literals.at, literals.length)
    at = literals.at + literals.length
    if (at === bytes.length) return
    if (at + 2 > bytes.length) throw new Malformed('a copy that is cut off')
    const back = bytes.readUInt16LE(at)
    const match = longer(bytes, at + 2, token & 15)
    out.repeat(back, match.length + MIN_MATCH, floor)
    at = match.at
  }
}
