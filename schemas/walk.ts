// Bytes are hostile: five of them can claim an array of 4·10⁸ items, which avsc would make before it looks for them.
// A walk steps over a record's bytes by its writer schema, makes nothing, and throws Malformed where they are not what
// avsc may be given. Its work is bounded by the record's size, whatever the schema.

import { isUtf8 } from 'node:buffer'
import type { Type, types } from 'avsc'

/** Why bytes are not a record of their schema, and where. */
export class Malformed extends Error {
  override readonly name = 'Malformed'
}

/** Levels of records within records: only a schema that names itself gets this deep. */
const MAX_DEPTH = 64
/**
 * Items and fields of one record. An item may take no byte at all (an array of nulls), so the bytes alone bound nothing;
 * at some 10 ns a step this is about 10 ms.
 */
const MAX_STEPS = 1 << 20
const LONG_BYTES = 10

type Walk = (cursor: Cursor) => void

class Cursor {
  readonly bytes: Buffer
  readonly strict: boolean
  at: number
  depth = 0
  steps = 0

  constructor(bytes: Buffer, at: number, strict: boolean) {
    this.bytes = bytes
    this.at = at
    this.strict = strict
  }

  fail(what: string): never {
    throw new Malformed(`${what} at byte ${this.at}`)
  }

  /** A variable-length, zig-zag number; exact below 2⁵³, and never mistaken for a small one above. */
  long(): number {
    const first = this.bytes[this.at]
    if (first === undefined) return this.fail('record ends early')
    if (first < 0x80) {
      this.at++
      return (first >>> 1) ^ -(first & 1)
    }
    let sum = 0
    let unit = 1
    for (let taken = 1; taken <= LONG_BYTES; taken++) {
      const byte = this.bytes[this.at++]
      if (byte === undefined) return this.fail('record ends early')
      if (taken === LONG_BYTES && byte > 1) break
      sum += (byte & 0x7f) * unit
      if (byte < 0x80) return sum % 2 === 0 ? sum / 2 : -(sum + 1) / 2
      unit *= 128
    }
    return this.fail('number longer than 64 bits')
  }

  skip(length: number): void {
    if (length < 0 || length > this.bytes.length - this.at) this.fail(`length ${length} is beyond the record's end`)
    this.at += length
  }

  step(count: number): void {
    this.steps += count
    if (this.steps > MAX_STEPS) this.fail(`more than ${MAX_STEPS} items`)
  }
}

function walkInt(cursor: Cursor): void {
  const value = cursor.long()
  if (value !== (value | 0)) cursor.fail(`${value} is not a 32-bit number`)
}

function walkBoolean(cursor: Cursor): void {
  const value = cursor.bytes[cursor.at]
  if (value !== 0 && value !== 1) cursor.fail('neither true nor false')
  cursor.at++
}

function walkBytes(cursor: Cursor): void {
  cursor.skip(cursor.long())
}

function walkString(cursor: Cursor): void {
  const length = cursor.long()
  const from = cursor.at
  cursor.skip(length)
  if (cursor.strict && !isUtf8(cursor.bytes.subarray(from, cursor.at))) cursor.fail('text that is not UTF-8')
}

const walkFixed =
  (size: number): Walk =>
  (cursor) =>
    cursor.skip(size)

const walkIndex =
  (count: number): Walk =>
  (cursor) => {
    const index = cursor.long()
    if (index < 0 || index >= count) cursor.fail(`symbol ${index} of ${count}`)
  }

const walkUnion =
  (branches: readonly Walk[]): Walk =>
  (cursor) => {
    const index = cursor.long()
    const branch = branches[index] ?? cursor.fail(`branch ${index} of a union of ${branches.length}`)
    branch(cursor)
  }

/** Arrays and maps: blocks of a count and as many items, until a count of 0; a negative count is followed by the block's bytes. */
const walkBlocks =
  (item: Walk): Walk =>
  (cursor) => {
    for (let count = cursor.long(); count !== 0; count = cursor.long()) {
      const size = count < 0 ? cursor.long() : undefined
      const from = cursor.at
      count = Math.abs(count)
      cursor.step(count)
      for (let i = 0; i < count; i++) item(cursor)
      // avsc trusts the size when it skips a block and the count when it reads one
      if (size !== undefined && cursor.at !== from + size) cursor.fail(`block of ${cursor.at - from} bytes that claims ${size}`)
    }
  }

/** `fields` is filled after the walk is made, since a record may contain itself. */
const walkRecord =
  (fields: readonly Walk[]): Walk =>
  (cursor) => {
    if (++cursor.depth > MAX_DEPTH) cursor.fail(`records nested more than ${MAX_DEPTH} levels deep`)
    cursor.step(fields.length)
    for (const field of fields) field(cursor)
    cursor.depth--
  }

const PRIMITIVES: ReadonlyMap<string, Walk> = new Map<string, Walk>([
  ['null', () => {}],
  ['boolean', walkBoolean],
  ['int', walkInt],
  ['long', (cursor) => void cursor.long()],
  ['float', walkFixed(4)],
  ['double', walkFixed(8)],
  ['bytes', walkBytes],
  ['string', walkString],
])

function compile(type: Type, known: Map<Type, Walk>): Walk {
  const made = PRIMITIVES.get(type.typeName) ?? known.get(type)
  if (made) return made
  switch (type.typeName) {
    case 'record':
    case 'error': {
      const fields: Walk[] = []
      const walk = walkRecord(fields)
      known.set(type, walk)
      for (const field of (type as types.RecordType).fields) fields.push(compile(field.type, known))
      return walk
    }
    case 'array':
      return walkBlocks(compile((type as types.ArrayType).itemsType, known))
    case 'map': {
      const value = compile((type as types.MapType).valuesType as Type, known)
      return walkBlocks((cursor) => {
        walkString(cursor)
        value(cursor)
      })
    }
    case 'union:unwrapped':
    case 'union:wrapped':
      return walkUnion((type as types.UnwrappedUnionType).types.map((branch) => compile(branch, known)))
    case 'enum':
      return walkIndex((type as types.EnumType).symbols.length)
    case 'fixed':
      return walkFixed((type as types.FixedType).size)
    default:
      throw new Error(`no walk over the Avro type ${type.typeName}`)
  }
}

/**
 * The check for records of a writer schema: throws Malformed unless `bytes` from `at` on are exactly one record of it.
 * `strict` also looks at each text's bytes: UTF-8 it must be.
 */
export function compileCheck(writer: Type): (bytes: Buffer, at: number, strict: boolean) => void {
  const walk = compile(writer, new Map())
  return (bytes, at, strict) => {
    const cursor = new Cursor(bytes, at, strict)
    walk(cursor)
    if (cursor.at !== bytes.length) cursor.fail(`${bytes.length - cursor.at} bytes are left over`)
  }
}
