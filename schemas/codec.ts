// produce → [codec] → log → [codec] → accept → recorder | runtime
//
// Owns: bytes ⇄ events and action requests. Confluent framing: 0x00, the writer schema's id in 4 bytes, Avro. Doesn't own:
// where schema texts come from (registry.ts, the `schemas` table), nor the limits of a decoded event (workflow/limits.ts).
//
// C1  Decoding is synchronous, never throws and never makes more than its bytes hold, for any bytes under any schema.
// C2  The same bytes under the same schema text give the same answer in every process: it decides verdicts.
// C3  encode, then decode, gives back every event that the format's limits allow.

import avro, { type Type, type types } from 'avsc'
import { asError, RefoldError } from '../errors.ts'
import type { Decoded, DecodedRequest } from './decoded.ts'
import { ACTION_REQUEST_SCHEMA, type ActionRequest, WORKFLOW_EVENT_SCHEMA, type WorkflowEvent } from './generated.ts'
import { compileCheck, Malformed } from './walk.ts'
import { parseWriterSchema } from './writer-schema.ts'

/** Largest record value, in bytes. Part of the format. */
export const MAX_RECORD_BYTES = 1024 * 1024

const MAGIC = 0
const HEADER_BYTES = 5
const MAX_SCHEMA_ID = 2 ** 31 - 1

type Answer = Exclude<Decoded, { state: 'event' }>
type Unreadable = Extract<Decoded, { state: 'unreadable' }>

/** How records of one writer schema are read. */
type Reader = { check: ReturnType<typeof compileCheck>; resolver?: ReturnType<Type['createResolver']> } | Unreadable

const unreadable = (reason: Unreadable['reason'], detail: string): Unreadable => ({ state: 'unreadable', reason, detail })

type CodecOptions = {
  /** The registry's id of our own schema: written into each record. */
  schemaId: number
}

/** Reads and writes one kind of record: avsc, one type and one resolver a writer schema, behind a check of the bytes. */
class Codec<T extends object> {
  readonly #type: Type
  readonly #schemaId: number
  readonly #readers = new Map<number, Reader>()
  readonly #texts: readonly (keyof T)[]
  #scratch = Buffer.allocUnsafe(16 * 1024)

  constructor(schema: string, schemaId: number) {
    const type = avro.Type.forSchema(JSON.parse(schema) as Parameters<typeof avro.Type.forSchema>[0], {
      omitRecordMethods: true,
    }) as types.RecordType
    // avsc makes records by a constructor of its own; like this they are plain objects
    ;(type.recordConstructor as { prototype: object }).prototype = Object.prototype
    this.#type = type
    this.#schemaId = schemaId
    this.#texts = type.fields.filter(({ type: field }) => mayHoldText(field)).map(({ name }) => name as keyof T)
    this.#readers.set(schemaId, { check: compileCheck(type) })
  }

  encode(value: T): Buffer {
    try {
      let end = this.#type.encode(value, this.#scratch, HEADER_BYTES)
      if (end < 0) {
        this.#scratch = Buffer.allocUnsafe((this.#scratch.length - end) * 2)
        end = this.#type.encode(value, this.#scratch, HEADER_BYTES)
      }
      this.#scratch[0] = MAGIC
      this.#scratch.writeUInt32BE(this.#schemaId, 1)
      const bytes = Buffer.allocUnsafe(end)
      this.#scratch.copy(bytes, 0, 0, end)
      return bytes
    } catch (error) {
      throw new RefoldError('event-invalid', `it can't be written as ${this.#type.name}: ${asError(error).message}`, { cause: error })
    }
  }

  addSchema(id: number, text: string): void {
    if (this.#readers.has(id)) return
    this.#readers.set(id, this.#readerOf(id, text))
  }

  /** A record's value, or why there is none. `checked`: its bytes went through `check` before, under the same schema text. */
  read(given: Uint8Array | null, checked = false): T | Answer {
    if (given === null) return unreadable('undecodable', 'the record has no value')
    if (given.length > MAX_RECORD_BYTES) return unreadable('too-large', `record of ${given.length} bytes, at most ${MAX_RECORD_BYTES}`)
    if (given.length < HEADER_BYTES || given[0] !== MAGIC) return unreadable('undecodable', 'no Confluent framing: 0x00 and a schema id')
    const bytes = Buffer.isBuffer(given) ? given : Buffer.from(given.buffer, given.byteOffset, given.byteLength)
    const schemaId = bytes.readUInt32BE(1)
    const reader = this.#readers.get(schemaId)
    if (reader === undefined) {
      if (schemaId > MAX_SCHEMA_ID) return unreadable('schema-unknown', `no registry has a schema ${schemaId}`)
      return { state: 'schema-needed', schemaId }
    }
    return 'state' in reader ? reader : this.#readWith(reader, bytes, checked)
  }

  #readerOf(id: number, text: string): Reader {
    try {
      const writer = parseWriterSchema(text)
      return { check: compileCheck(writer), resolver: this.#type.createResolver(writer, { ignoreNamespaces: true }) }
    } catch (error) {
      return unreadable('schema-unreadable', `schema ${id} can't be read as ${this.#type.name}: ${asError(error).message}`)
    }
  }

  #readWith({ check, resolver }: Exclude<Reader, Unreadable>, bytes: Buffer, checked: boolean): T | Answer {
    try {
      if (!checked) check(bytes, HEADER_BYTES, false)
      const { value } = this.#type.decode(bytes, HEADER_BYTES, resolver) as { value: T }
      // Bytes that are not UTF-8 come out as U+FFFD: only then is it worth looking whether they were
      if (!checked && this.#texts.some((field) => (value[field] as string | null)?.includes('\uFFFD'))) check(bytes, HEADER_BYTES, true)
      return value
    } catch (error) {
      const { message } = asError(error)
      if (error instanceof Malformed) return unreadable('undecodable', message)
      // avsc's word for a long beyond 2⁵³, and created_at is the only one
      if (message === 'potential precision loss') return unreadable('bad-date', 'a date beyond 2⁵³ milliseconds')
      return unreadable('undecodable', message)
    }
  }
}

function mayHoldText(type: Type): boolean {
  const branches = type.typeName.startsWith('union') ? (type as types.UnwrappedUnionType).types : [type]
  return branches.some(({ typeName }) => typeName === 'string')
}

const isAnswer = (read: object): read is Answer => 'state' in read

export type EventCodec = {
  /** The record's value; throws `event-invalid` when a field has another type. Check limits before: `checkEvent`. */
  encode(event: WorkflowEvent): Buffer
  /** Never throws, for any bytes. */
  decode(bytes: Uint8Array | null): Decoded
  /** Of a record that the recorder accepted: the walk over its bytes, 5 % of a rebuild, was its work. undefined: unreadable. */
  decodeAccepted(bytes: Uint8Array | null): WorkflowEvent | undefined
  /** Learns a writer schema by its text, once an id; one that can't be read makes its records `schema-unreadable`. */
  addSchema(id: number, text: string): void
}

export type RequestCodec = {
  encode(request: ActionRequest): Buffer
  decode(bytes: Uint8Array | null): DecodedRequest
  addSchema(id: number, text: string): void
}

export function createEventCodec({ schemaId }: CodecOptions): EventCodec {
  const codec = new Codec<WorkflowEvent>(WORKFLOW_EVENT_SCHEMA, schemaId)
  return {
    encode: (event) => codec.encode(event),
    decode(bytes) {
      const read = codec.read(bytes)
      return isAnswer(read) ? read : { state: 'event', event: read }
    },
    decodeAccepted(bytes) {
      const read = codec.read(bytes, true)
      return isAnswer(read) ? undefined : read
    },
    addSchema: (id, text) => codec.addSchema(id, text),
  }
}

export function createRequestCodec({ schemaId }: CodecOptions): RequestCodec {
  const codec = new Codec<ActionRequest>(ACTION_REQUEST_SCHEMA, schemaId)
  return {
    encode: (request) => codec.encode(request),
    decode(bytes) {
      const read = codec.read(bytes)
      return isAnswer(read) ? read : { state: 'request', request: read }
    },
    addSchema: (id, text) => codec.addSchema(id, text),
  }
}
