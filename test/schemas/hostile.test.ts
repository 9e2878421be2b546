// C1: no bytes, under any schema, make the codec throw, take memory or time.

import fc from 'fast-check'
import t from 'tap'
import { createEventCodec, MAX_RECORD_BYTES } from '../../schemas/codec.ts'
import type { Decoded } from '../../schemas/decoded.ts'
import { anyType, EVENT_FIELDS, type Field, framed, schemaText, typeOf, varint } from '../support/avro.ts'
import { event } from '../support/events.ts'

const OURS = 7
const OTHER = 8

const isAnswer = ({ state }: Decoded) => state === 'event' || state === 'unreadable' || state === 'schema-needed'

/** A codec that knows a writer with one more field, in front. */
function codecWith(added: unknown) {
  const text = schemaText([{ name: 'added', type: added }, ...EVENT_FIELDS])
  const codec = createEventCodec({ schemaId: OURS })
  codec.addSchema(OTHER, text)
  return { codec, record: (added: Uint8Array) => framed(OTHER, Buffer.concat([added, eventBody()])) }
}

const eventBody = () => createEventCodec({ schemaId: OURS }).encode(event()).subarray(5)

void t.test('any bytes get an answer', async (t) => {
  const codec = createEventCodec({ schemaId: OURS })
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => isAnswer(codec.decode(bytes))))
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => isAnswer(codec.decode(framed(OURS, bytes)))))
  t.match(codec.decode(null), { state: 'unreadable', reason: 'undecodable' })
  t.match(codec.decode(new Uint8Array(0)), { state: 'unreadable', reason: 'undecodable' })
  t.match(codec.decode(Buffer.of(0, 0, 0, 0)), { state: 'unreadable', reason: 'undecodable' })
  t.match(codec.decode(Buffer.of(1, 0, 0, 0, OURS)), { state: 'unreadable', reason: 'undecodable' })
})

type Change = { kind: 'set' | 'insert' | 'delete' | 'cut'; at: number; byte: number }

const changes: fc.Arbitrary<Change[]> = fc.array(
  fc.record({
    kind: fc.constantFrom('set', 'insert', 'delete', 'cut'),
    at: fc.nat({ max: 400 }),
    byte: fc.oneof(fc.constantFrom(0, 1, 2, 0x7f, 0x80, 0xff), fc.nat({ max: 255 })),
  }),
  { minLength: 1, maxLength: 4 },
)

function changed(record: Uint8Array, list: readonly Change[]): Buffer {
  const bytes = [...record]
  for (const { kind, at, byte } of list) {
    const place = 5 + (at % Math.max(1, bytes.length - 5))
    if (kind === 'set') bytes[place] = byte
    else if (kind === 'insert') bytes.splice(place, 0, byte)
    else if (kind === 'delete') bytes.splice(place, 1)
    else bytes.splice(place)
  }
  return Buffer.from(bytes)
}

void t.test('spoiled records of our own schema get an answer', async (t) => {
  const codec = createEventCodec({ schemaId: OURS })
  const record = codec.encode(event({ payload: '{"a":[1,2,3]}', user_id: 'ü' }))
  const seen = new Set<string>()
  fc.assert(
    fc.property(changes, (list) => {
      const decoded = codec.decode(changed(record, list))
      seen.add(decoded.state)
      return isAnswer(decoded)
    }),
    { numRuns: 5000 },
  )
  t.strictSame([...seen].toSorted(), ['event', 'unreadable'], 'both kinds were seen')
})

void t.test('spoiled records of any other schema get an answer', async (t) => {
  const seen = new Set<string>()
  fc.assert(
    fc.property(anyType, fc.array(changes, { minLength: 20, maxLength: 20 }), (type, lists) => {
      const { codec } = codecWith(type)
      const writer = typeOf(schemaText([{ name: 'added', type }, ...EVENT_FIELDS]))
      const record = framed(OTHER, writer.toBuffer({ ...(writer.random() as object), ...event() }))
      return lists.every((list) => {
        const decoded = codec.decode(changed(record, list))
        seen.add(decoded.state)
        return isAnswer(decoded)
      })
    }),
    { numRuns: 200 },
  )
  t.strictSame([...seen].toSorted(), ['event', 'unreadable'], 'both kinds were seen')
})

void t.test('any text as a schema gets an answer, for any bytes', async (t) => {
  const bytes = framed(OTHER, eventBody())
  const answer = (text: string) => {
    const codec = createEventCodec({ schemaId: OURS })
    codec.addSchema(OTHER, text)
    return codec.decode(bytes)
  }
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => answer(text).state === 'unreadable'))
  const ours = schemaText()
  const seen = new Set<string>()
  fc.assert(
    fc.property(fc.nat({ max: ours.length - 1 }), fc.nat({ max: 8 }), fc.string({ maxLength: 3 }), (at, cut, put) => {
      const decoded = answer(ours.slice(0, at) + put + ours.slice(at + cut))
      seen.add(decoded.state)
      return isAnswer(decoded)
    }),
    { numRuns: 1000 },
  )
  t.strictSame([...seen].toSorted(), ['event', 'unreadable'], 'both kinds were seen')
})

/** Decodes, and fails if that took more than a moment: avsc alone would be gone for minutes, or out of memory. */
function refusedAtOnce(t: Tap, codec: ReturnType<typeof codecWith>['codec'], bytes: Uint8Array, what: string): void {
  const before = performance.now()
  const decoded = codec.decode(bytes)
  t.match(decoded, { state: 'unreadable', reason: 'undecodable' }, what)
  t.ok(performance.now() - before < 2000, `${what}: at once`)
}

type Tap = Pick<typeof t, 'match' | 'ok'>

void t.test('counts and lengths beyond the bytes are refused before anything is made', async (t) => {
  const nulls = codecWith({ type: 'array', items: 'null' })
  refusedAtOnce(t, nulls.codec, nulls.record(Buffer.concat([varint(400_000_000), varint(0)])), '400 million nulls')
  refusedAtOnce(t, nulls.codec, nulls.record(varint(2n ** 62n)), '2^62 nulls')
  refusedAtOnce(t, nulls.codec, nulls.record(Buffer.concat([varint(-400_000_000), varint(0), varint(0)])), 'a negative count')
  refusedAtOnce(t, nulls.codec, nulls.record(Buffer.concat([varint(-(2n ** 63n)), varint(0), varint(0)])), 'the smallest count')
  const blocks = Buffer.alloc(MAX_RECORD_BYTES / 2, varint(500_000))
  refusedAtOnce(t, nulls.codec, nulls.record(blocks), 'many blocks of many nulls')

  const justAllowed = nulls.codec.decode(nulls.record(Buffer.concat([varint(1_000_000), varint(0)])))
  t.match(justAllowed, { state: 'event' }, 'a million nulls are within the limit')
  refusedAtOnce(t, nulls.codec, nulls.record(Buffer.concat([varint(1_100_000), varint(0)])), 'and 1.1 million are not')

  const wide = codecWith({
    type: 'array',
    items: { type: 'record', name: 'Wide', fields: Array.from({ length: 2000 }, (_, i) => ({ name: `n${i}`, type: 'null' })) },
  })
  refusedAtOnce(t, wide.codec, wide.record(Buffer.concat([varint(1_000_000), varint(0)])), 'a million records of 2,000 nulls')

  for (const type of ['string', 'bytes']) {
    const { codec, record } = codecWith(type)
    for (const length of [-1n, 1_000_000n, 2n ** 31n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)])
      refusedAtOnce(t, codec, record(varint(length)), `${type} of ${length} bytes`)
  }
  const map = codecWith({ type: 'map', values: 'int' })
  refusedAtOnce(t, map.codec, map.record(Buffer.concat([varint(2), varint(1_000_000)])), 'a map with a long key')
})

void t.test('a block must have the bytes it claims: avsc would skip by them', async (t) => {
  const { codec, record } = codecWith({ type: 'array', items: 'int' })
  const block = (size: number) => record(Buffer.concat([varint(-2), varint(size), varint(1), varint(2), varint(0)]))
  t.strictSame(codec.decode(block(2)), { state: 'event', event: event() })
  for (const size of [0, 1, 3, -1, 100]) t.match(codec.decode(block(size)), { state: 'unreadable', reason: 'undecodable' }, `${size}`)
})

void t.test('a schema that contains itself is followed so deep and no deeper', async (t) => {
  const list: Field[] = [{ name: 'next', type: ['null', 'List'] }]
  const { codec, record } = codecWith(['null', { type: 'record', name: 'List', fields: list }])
  const nested = (depth: number) => record(Buffer.concat([Buffer.alloc(depth, varint(1)), varint(0)]))
  t.strictSame(codec.decode(nested(50)), { state: 'event', event: event() })
  refusedAtOnce(t, codec, nested(100), '100 deep')
  refusedAtOnce(t, codec, nested(1_000_000), 'a million deep')
  const endless = codecWith(['null', { type: 'record', name: 'Loop', fields: [{ name: 'self', type: 'Loop' }] }])
  refusedAtOnce(t, endless.codec, endless.record(varint(1)), 'a record that only contains itself')
})

void t.test('numbers, branches and symbols must be of their type', async (t) => {
  const refused = (type: unknown, bytes: Uint8Array, what: string) => {
    const { codec, record } = codecWith(type)
    t.match(codec.decode(record(bytes)), { state: 'unreadable', reason: 'undecodable' }, what)
  }
  refused('int', varint(2n ** 31n), 'an int of 33 bits')
  refused('long', Buffer.alloc(11, 0x80), 'a long of 11 bytes')
  refused('long', Buffer.from('ffffffffffffffffff02', 'hex'), 'a long of 65 bits')
  refused('boolean', Buffer.of(2), 'a boolean of 2')
  refused(['null', 'int'], varint(2), 'a branch above')
  refused(['null', 'int'], varint(-1), 'a branch below')
  refused({ type: 'enum', name: 'E', symbols: ['A'] }, varint(1), 'a symbol above')
  const { codec, record } = codecWith('long')
  t.match(codec.decode(record(varint(2n ** 63n - 1n))), { state: 'event' }, 'but a long that nobody reads may be as long as it likes')
})

void t.test('bytes left over are refused', async (t) => {
  const codec = createEventCodec({ schemaId: OURS })
  const record = codec.encode(event())
  t.match(codec.decode(Buffer.concat([record, Buffer.of(0)])), { state: 'unreadable', reason: 'undecodable', detail: /1 bytes are left/ })
})
