// Snappy, read only and capped: plain as librdkafka writes it, or in the blocks of snappy-java as the Java client and the
// brokers do.

import { Malformed, TooLarge, Unpacked } from './unpacked.ts'

/** Of snappy-java's blocks; two version numbers follow, then blocks of a length and plain snappy. */
const MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])
const BLOCKS_AT = MAGIC.length + 8

/** Errors: TooLarge beyond `limit` bytes, Malformed. */
export function unsnappy(packed: Buffer, limit: number): Buffer {
  const out = new Unpacked(limit)
  if (!packed.subarray(0, MAGIC.length).equals(MAGIC)) plain(packed, out, limit)
  else {
    for (let at = BLOCKS_AT; at < packed.length;) {
      if (at + 4 > packed.length) throw new Malformed('a block without its length')
      const length = packed.readUInt32BE(at)
      if (at + 4 + length > packed.length) throw new Malformed('a block that is cut off')
      plain(packed.subarray(at + 4, at + 4 + length), out, limit)
      at += 4 + length
    }
  }
  return out.taken()
}

/** The length that a block says it unpacks to, and where its first element is. */
function preamble(bytes: Buffer): { length: number; at: number } {
  let length = 0
  for (let at = 0; at < 5; at++) {
    const byte = byteAt(bytes, at)
    length += (byte & 0x7f) * 2 ** (7 * at)
    if (byte < 0x80) return { length, at: at + 1 }
  }
  throw new Malformed('a length of more than 32 bits')
}

function plain(bytes: Buffer, out: Unpacked, limit: number): void {
  const floor = out.length
  const { length, at: first } = preamble(bytes)
  if (floor + length > limit) throw new TooLarge(`unpacks to more than ${limit} bytes`)
  out.reserve(length)
  for (let at = first; at < bytes.length;) at = element(bytes, at, out, floor)
  if (out.length - floor !== length) throw new Malformed('a block unpacks to another length than it says')
}

function byteAt(bytes: Buffer, at: number): number {
  const byte = bytes[at]
  if (byte === undefined) throw new Malformed('an element that is cut off')
  return byte
}

function littleEndian(bytes: Buffer, at: number, size: number): number {
  if (at + size > bytes.length) throw new Malformed('an element that is cut off')
  return bytes.readUIntLE(at, size)
}

/** One element, by the two low bits of its tag: a literal, or a copy with an offset of 11, 16 or 32 bits. Answers the next. */
function element(bytes: Buffer, at: number, out: Unpacked, floor: number): number {
  const tag = byteAt(bytes, at)
  const upper = tag >> 2
  switch (tag & 3) {
    case 0: {
      const more = Math.max(0, upper - 59)
      const length = (more === 0 ? upper : littleEndian(bytes, at + 1, more)) + 1
      out.literal(bytes, at + 1 + more, length)
      return at + 1 + more + length
    }
    case 1:
      out.repeat(((tag >> 5) << 8) | byteAt(bytes, at + 1), (upper & 7) + 4, floor)
      return at + 2
    case 2:
      out.repeat(littleEndian(bytes, at + 1, 2), upper + 1, floor)
      return at + 3
    default:
      out.repeat(littleEndian(bytes, at + 1, 4), upper + 1, floor)
      return at + 5
  }
}
