import { deepStrictEqual } from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
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

/** How many of the events of so many bytes are known when all were appended to these partitions and none was read. */
function known(count: number, size: number): number[] {
  const own = createOwnEvents()
  const bytes = Buffer.alloc(size)
  for (let offset = 0; offset < count; offset++) {
    const one = event()
    own.writing(one, offset % 3, bytes)
    own.written(one, { partition: offset % 3, offset })
  }
  return Array.from({ length: count }, (_, offset) => offset).filter((offset) => own.take({ partition: offset % 3, offset, value: bytes }))
}

void t.test('where nobody reads, the oldest are forgotten: by number and by bytes', async (t) => {
  t.strictSame(known(10_002, 10).slice(0, 2), [2, 3], 'ten thousand')
  t.strictSame(known(10, 1_000_000), [2, 3, 4, 5, 6, 7, 8, 9], 'eight million bytes')
})

void t.test('what was read leaves room', async (t) => {
  const own = createOwnEvents()
  const bytes = Buffer.alloc(1_000_000)
  for (let offset = 0; offset < 30; offset++) {
    const one = event()
    own.writing(one, 0, bytes)
    own.written(one, { partition: 0, offset })
    // Acknowledged once more, at the same place.
    own.writing(one, 0, bytes)
    own.written(one, { partition: 0, offset })
    if (offset >= 5) t.equal(own.take({ partition: 0, offset: offset - 5, value: bytes }) !== undefined, true)
  }
})

void t.test('what was read back is kept no longer, whoever keeps the event', async (t) => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const own = createOwnEvents()
  const one = event()
  const bytes = ((): WeakRef<Buffer> => {
    const made = Buffer.alloc(1_000_000)
    own.writing(one, 0, made)
    own.written(one, { partition: 0, offset: 0 })
    own.take({ partition: 0, offset: 0, value: made })
    return new WeakRef(made)
  })()
  await setImmediate()
  gc()
  t.equal(bytes.deref(), undefined)
  t.ok(one)
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
