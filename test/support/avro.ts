// Avro by hand, for tests: bytes that no honest encoder writes, and writer schemas that no honest registry holds.

import avro, { type Type } from 'avsc'
import fc from 'fast-check'
import { WORKFLOW_EVENT_SCHEMA } from '../../schemas/generated.ts'

export type Field = { name: string; type: unknown; default?: unknown }

/** The fields of our own event schema. */
export const EVENT_FIELDS = (JSON.parse(WORKFLOW_EVENT_SCHEMA) as { fields: Field[] }).fields

/** Text of a writer schema with these fields; ours unless told otherwise. */
export function schemaText(fields: readonly unknown[] = EVENT_FIELDS, changes: object = {}): string {
  return JSON.stringify({ type: 'record', name: 'WorkflowEvent', namespace: 'refold', fields, ...changes })
}

export const typeOf = (text: string): Type => avro.Type.forSchema(JSON.parse(text) as Parameters<typeof avro.Type.forSchema>[0])

/** Confluent framing. */
export function framed(schemaId: number, body: Uint8Array): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(schemaId, 1)
  return Buffer.concat([head, body])
}

/** A zig-zag number in as few bytes as it takes. */
export function varint(value: number | bigint): Buffer {
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, (BigInt(value) << 1n) ^ (BigInt(value) >> 63n))
  do {
    bytes.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0))
    rest >>= 7n
  } while (rest > 0n)
  return Buffer.from(bytes)
}

const PRIMITIVES = ['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string']

const typeName = () => fc.stringMatching(/^N[0-9a-f]{12}$/)
const named = (types: unknown[]): Field[] => types.map((type, i) => ({ name: `f${i}`, type }))

/** Any Avro type, with named types of distinct names. */
export const anyType: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  type: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(...PRIMITIVES),
    fc.record({ type: fc.constant('array'), items: tie('type') }),
    fc.record({ type: fc.constant('map'), values: tie('type') }),
    fc.uniqueArray(fc.constantFrom(...PRIMITIVES), { minLength: 1, maxLength: 4 }),
    fc.record({ type: fc.constant('fixed'), name: typeName(), size: fc.integer({ min: 1, max: 20 }) }),
    fc.record({ type: fc.constant('enum'), name: typeName(), symbols: fc.constantFrom(['A'], ['A', 'B', 'C']) }),
    fc.record({ type: fc.constant('record'), name: typeName(), fields: fc.array(tie('type'), { maxLength: 4 }).map(named) }),
  ),
})).type
