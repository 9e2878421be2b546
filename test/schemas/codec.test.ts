import { deepStrictEqual } from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { createEventCodec, createRequestCodec, MAX_RECORD_BYTES } from '../../schemas/codec.ts'
import { WORKFLOW_EVENT_SCHEMA, type ActionRequest } from '../../schemas/generated.ts'
import { anyType, EVENT_FIELDS, framed, schemaText, typeOf, varint } from '../support/avro.ts'
import { event } from '../support/events.ts'
import { validEvent } from '../support/valid-event.ts'

const OURS = 7
const OTHER = 8

void t.test('C3: encode, then decode, gives back every valid event', async (t) => {
  const codec = createEventCodec({ schemaId: OURS })
  fc.assert(
    fc.property(validEvent, (given) => {
      const decoded = codec.decode(codec.encode(given))
      deepStrictEqual(decoded, { state: 'event', event: given })
      deepStrictEqual(codec.decodeAccepted(codec.encode(given)), given)
    }),
    { numRuns: 500 },
  )
  t.pass('500 events')
})

void t.test('C3: the same for action requests, also when they are large', async (t) => {
  const codec = createRequestCodec({ schemaId: 3 })
  const request: ActionRequest = {
    action_id: '0190c5f0-0000-8000-8000-000000000001',
    tenant: 'demo',
    execution_id: '0190c5f0-0000-7000-8000-000000000002',
    action: 4,
    attempt: 1,
    name: 'reserve_stock',
    key: 'k',
    scheduled: JSON.stringify({ text: 'é'.repeat(200_000) }),
    user_id: null,
    requested_at: 1_700_000_000_000,
  }
  t.strictSame(codec.decode(codec.encode(request)), { state: 'request', request })
  t.strictSame(codec.decode(codec.encode({ ...request, scheduled: '{}' })), { state: 'request', request: { ...request, scheduled: '{}' } })
})

void t.test('records carry Confluent framing: 0x00, then the schema id', async (t) => {
  const bytes = createEventCodec({ schemaId: 0x01020304 }).encode(event())
  t.equal(bytes.subarray(0, 5).toString('hex'), '0001020304')
  t.same(typeOf(WORKFLOW_EVENT_SCHEMA).fromBuffer(bytes.subarray(5)), event(), 'and plain Avro behind it')
})

void t.test('decoded events are plain objects', async (t) => {
  const codec = createEventCodec({ schemaId: OURS })
  const decoded = codec.decode(codec.encode(event()))
  t.equal(decoded.state === 'event' && Object.getPrototypeOf(decoded.event), Object.prototype)
})

void t.test('an event with a field of another type is refused by name of the field', async (t) => {
  const codec = createEventCodec({ schemaId: OURS })
  t.throws(() => codec.encode(event({ tenant: 5 as unknown as string })), { code: 'event-invalid' })
  t.throws(() => codec.encode(event({ decision: 0.5 })), { code: 'event-invalid' })
})

void t.test('an unknown schema is asked for, and decodes once its text is there', async (t) => {
  const codec = createEventCodec({ schemaId: OURS })
  const bytes = createEventCodec({ schemaId: OTHER }).encode(event())
  t.strictSame(codec.decode(bytes), { state: 'schema-needed', schemaId: OTHER })
  codec.addSchema(OTHER, WORKFLOW_EVENT_SCHEMA)
  t.strictSame(codec.decode(bytes), { state: 'event', event: event() })
  codec.addSchema(OTHER, '"string"')
  t.strictSame(codec.decode(bytes), { state: 'event', event: event() }, 'the first text of an id stays')
})

void t.test('a schema id that no registry can have needs no question', async (t) => {
  const bytes = framed(0xfffffff0, Buffer.of(1, 2, 3))
  t.match(createEventCodec({ schemaId: OURS }).decode(bytes), { state: 'unreadable', reason: 'schema-unknown' })
})

void t.test("an older producer's record decodes with defaults", async (t) => {
  const codec = createEventCodec({ schemaId: OURS })
  const required = EVENT_FIELDS.filter(({ default: fallback }) => fallback === undefined)
  codec.addSchema(OTHER, schemaText(required))
  const bytes = framed(OTHER, typeOf(schemaText(required)).toBuffer(event()))
  t.strictSame(codec.decode(bytes), { state: 'event', event: event() })
})

void t.test("a newer producer's fields are skipped, whatever their type and place", async (t) => {
  const added = fc.array(fc.record({ type: anyType, at: fc.nat({ max: EVENT_FIELDS.length }) }), { minLength: 1, maxLength: 3 })
  fc.assert(
    fc.property(validEvent, added, (given, additions) => {
      const fields: unknown[] = [...EVENT_FIELDS]
      additions.forEach(({ type, at }, i) => fields.splice(at, 0, { name: `added_${i}`, type }))
      const writer = typeOf(schemaText(fields))
      const codec = createEventCodec({ schemaId: OURS })
      codec.addSchema(OTHER, schemaText(fields))
      const decoded = codec.decode(framed(OTHER, writer.toBuffer({ ...(writer.random() as object), ...given })))
      deepStrictEqual(decoded, { state: 'event', event: given })
    }),
    { numRuns: 300 },
  )
  t.pass('300 schemas')
})

void t.test('a writer may use another namespace, or none: names count, as in the Avro specification', async (t) => {
  for (const namespace of ['com.acme.orders', '']) {
    const codec = createEventCodec({ schemaId: OURS })
    codec.addSchema(OTHER, schemaText(EVENT_FIELDS, { namespace }))
    t.strictSame(codec.decode(framed(OTHER, typeOf(WORKFLOW_EVENT_SCHEMA).toBuffer(event()))), { state: 'event', event: event() })
  }
})

void t.test('fields named like members of every object are skipped like others', async (t) => {
  for (const added of ['valueOf', 'toString', 'constructor', '__proto__', 'hasOwnProperty']) {
    const codec = createEventCodec({ schemaId: OURS })
    // avsc itself can't write such a field: its value, 42, is put in front by hand
    codec.addSchema(OTHER, schemaText([{ name: added, type: 'int' }, ...EVENT_FIELDS]))
    const body = Buffer.concat([Buffer.of(84), typeOf(WORKFLOW_EVENT_SCHEMA).toBuffer(event())])
    t.strictSame(codec.decode(framed(OTHER, body)), { state: 'event', event: event() }, added)
  }
})

void t.test('a schema that cannot be read as an event makes its records schema-unreadable', async (t) => {
  const deep = `${'{"type":"array","items":'.repeat(5000)}"int"${'}'.repeat(5000)}`
  const doubling = Array.from({ length: 40 }, (_, i) => ({
    name: `d${i}`,
    type: {
      type: 'record',
      name: `D${i}`,
      fields: ['a', 'b'].map((name) => ({ name, type: i === 0 ? 'int' : `D${i - 1}`, default: i === 0 ? 1 : {} })),
    },
  }))
  const texts: Record<string, string> = {
    'not JSON': 'syntax = "proto3"; message Event {}',
    'JSON schema': '{"type":"object","properties":{}}',
    'not a record': '"string"',
    'another record': schemaText(EVENT_FIELDS, { name: 'Order' }),
    'required field missing': schemaText(EVENT_FIELDS.slice(1)),
    'a field of another type': schemaText(EVENT_FIELDS.map((field) => (field.name === 'tenant' ? { ...field, type: 'double' } : field))),
    'an unknown type': schemaText([...EVENT_FIELDS, { name: 'x', type: 'toString' }]),
    'no fields': '{"type":"record","name":"WorkflowEvent"}',
    'nested without end': schemaText([...EVENT_FIELDS, { name: 'x', type: 'REPLACED' }]).replace('"REPLACED"', deep),
    'far too long': schemaText([...EVENT_FIELDS, { name: 'x'.repeat(300_000), type: 'int' }]),
    null: 'null',
  }
  for (const [what, given] of Object.entries(texts)) {
    const codec = createEventCodec({ schemaId: OURS })
    codec.addSchema(OTHER, given)
    t.match(codec.decode(framed(OTHER, Buffer.of(1, 2))), { state: 'unreadable', reason: 'schema-unreadable', detail: String }, what)
  }
  const codec = createEventCodec({ schemaId: OURS })
  codec.addSchema(OTHER, schemaText([...EVENT_FIELDS, ...doubling]))
  t.match(codec.decode(framed(OTHER, Buffer.of(1, 2))), { state: 'unreadable', reason: 'undecodable' }, 'defaults that double are dropped')
})

void t.test('dates that a number cannot hold are bad dates, those it can are left to the limits', async (t) => {
  const codec = createEventCodec({ schemaId: OURS })
  const plain = codec.encode(event({ created_at: 1 }))
  const at = plain.indexOf(Buffer.of(0, 2)) + 1 // payload null, then 1 as a zig-zag number
  const withDate = (millis: bigint) => Buffer.concat([plain.subarray(0, at), varint(millis), plain.subarray(at + 1)])
  t.strictSame(codec.decode(withDate(-5n)), { state: 'event', event: event({ created_at: -5 }) })
  for (const millis of [9_405_000_000_000_000n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)])
    t.match(codec.decode(withDate(millis)), { state: 'unreadable', reason: 'bad-date' }, `${millis}`)
  t.match(codec.decode(withDate(9_000_000_000_000_000n)), { state: 'event', event: { created_at: 9_000_000_000_000_000 } })
})

void t.test('text that is not UTF-8 is undecodable; the replacement character itself is text', async (t) => {
  const codec = createEventCodec({ schemaId: OURS })
  const bytes = codec.encode(event({ to_state: 'ab�' }))
  t.strictSame(codec.decode(bytes), { state: 'event', event: event({ to_state: 'ab�' }) })
  const spoiled = Buffer.from(bytes)
  spoiled.set([0xff, 0xfe, 0xfd], spoiled.indexOf('�'))
  t.match(codec.decode(spoiled), { state: 'unreadable', reason: 'undecodable' })
})

void t.test('size limit: one byte more is too large', async (t) => {
  const codec = createEventCodec({ schemaId: OURS })
  const empty = codec.encode(event({ payload: '' })).length
  const fits = codec.encode(event({ payload: 'x'.repeat(MAX_RECORD_BYTES - empty - 2) }))
  t.equal(fits.length, MAX_RECORD_BYTES)
  t.match(codec.decode(fits), { state: 'event' })
  t.match(codec.decode(Buffer.concat([fits, Buffer.of(0)])), { state: 'unreadable', reason: 'too-large' })
})
