import { deepStrictEqual } from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { createOwnEvents } from '../../consumers/own-events.ts'
import { createEventCodec } from '../../schemas/codec.ts'
import { event } from '../support/events.ts'
import { validEvent } from '../support/valid-event.ts'

const codec = createEventCodec({ schemaId: 7 })

/** What is known after one event was appended at p3:10; `bytes`: what was sent. */
function appended(one = event(), bytes = codec.encode(one)) {
  const own = createOwnEvents()
  own.writing(one, 3, bytes)
  own.written(one, { partition: 3, offset: 10 })
  return { own, one, bytes }
}

void t.test('an event that this process appended is known by its place and its bytes, once', async (t) => {
  const { own, one, bytes } = appended()
  t.equal(own.take({ partition: 3, offset: 10, value: Buffer.from(bytes) }), one, 'the very event')
  t.equal(own.take({ partition: 3, offset: 10, value: bytes }), undefined, 'read again it is decoded')
})

void t.test('anything else is decoded', async (t) => {
  const places = { 'another partition': { partition: 2, offset: 10 }, 'another offset': { partition: 3, offset: 9 } }
  for (const [what, place] of Object.entries(places)) {
    const { own, bytes } = appended()
    t.equal(own.take({ ...place, value: bytes }), undefined, what)
  }
  const other = Buffer.from(codec.encode(event()))
  other.writeUInt8(other.readUInt8(other.length - 1) ^ 1, other.length - 1)
  t.equal(
    appended().own.take({ partition: 3, offset: 10, value: other }),
    undefined,
    'other bytes at its place: another log, or another copy',
  )
  t.equal(appended().own.take({ partition: 3, offset: 10, value: null }), undefined, 'a record without a value')
  const unsaid = createOwnEvents()
  unsaid.written(event(), { partition: 3, offset: 10 })
  t.equal(unsaid.take({ partition: 3, offset: 10, value: codec.encode(event()) }), undefined, 'its bytes are not known')
})

void t.test('one that breaks a limit of the format is decoded: it may be read otherwise, or not at all', async (t) => {
  const half = event({ payload: JSON.stringify({ half: 'x' }).replace('x', '\ud83d') })
  const { own, bytes } = appended(half)
  t.equal(own.take({ partition: 3, offset: 10, value: bytes }), undefined)
  t.equal(codec.decode(bytes).state, 'unreadable')
})

void t.test('what was passed is forgotten, and so is the oldest where nobody reads', async (t) => {
  const { own, bytes } = appended()
  own.take({ partition: 3, offset: 11, value: bytes })
  t.equal(own.take({ partition: 3, offset: 10, value: bytes }), undefined, 'passed')
  const many = createOwnEvents()
  for (let offset = 0; offset < 2001; offset++) {
    const one = event()
    many.writing(one, 0, bytes)
    many.written(one, { partition: 0, offset })
  }
  t.equal(many.take({ partition: 0, offset: 0, value: bytes }), undefined, 'the oldest of 2,001')
  t.ok(many.take({ partition: 0, offset: 1, value: bytes }), 'the next one')
})

void t.test('O1: what is given is what decoding would give', async (t) => {
  fc.assert(
    fc.property(validEvent, (one) => {
      const { own, bytes } = appended(one)
      deepStrictEqual({ state: 'event', event: own.take({ partition: 3, offset: 10, value: bytes }) }, codec.decode(bytes))
    }),
    { numRuns: 300 },
  )
  t.pass('300 events')
})
