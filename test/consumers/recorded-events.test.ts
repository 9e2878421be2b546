// What is kept of the events that this process's recorder committed.

import { test } from 'tap'
import { createRecordedEvents } from '../../consumers/recorded-events.ts'
import type { AuditRow } from '../../consumers/recorder-fold.ts'
import { event as anEvent } from '../support/events.ts'

const row = (offset: number, payload = '{}'): AuditRow => ({
  event: anEvent({ payload }),
  seq: offset + 1,
  from: 'a',
  to: 'b',
  content: '',
  partition: 1,
  offset,
  appendedAt: 0,
})
const offsets = (kept: ReturnType<ReturnType<typeof createRecordedEvents>['all']>) =>
  kept && [kept.next, ...kept.events.map((e) => e.offset)]

test('what follows on where a partition is followed is kept', async (t) => {
  const recorded = createRecordedEvents()
  recorded.add(1, 0, 2, [row(0), row(1)])
  t.equal(recorded.all(1), undefined, 'nobody follows it')
  recorded.follow(1, 2)
  t.strictSame(offsets(recorded.all(1)), [2])
  recorded.add(1, 2, 5, [row(2), row(4)])
  recorded.add(2, 0, 1, [row(0)])
  recorded.add(1, 5, 6, [])
  t.strictSame(offsets(recorded.all(1)), [6, 2, 4], 'refused records are passed')
  recorded.follow(1, 3)
  t.strictSame(offsets(recorded.all(1)), [6, 4])
  recorded.follow(1, 6)
  t.strictSame(offsets(recorded.all(1)), [6])
})

test('after a gap a new piece is given, once what is between was read back', async (t) => {
  const recorded = createRecordedEvents()
  recorded.follow(1, 2)
  recorded.add(1, 3, 4, [row(3)])
  recorded.add(1, 4, 5, [row(4)])
  t.equal(recorded.all(1), undefined)
  t.equal(recorded.end(1), undefined)
  recorded.follow(1, 2)
  t.equal(recorded.all(1), undefined, 'nothing of it was')
  recorded.follow(1, 3)
  t.strictSame(offsets(recorded.all(1)), [5, 3, 4])
  recorded.add(1, 7, 8, [row(7)])
  recorded.add(1, 9, 10, [row(9)])
  recorded.follow(1, 7)
  t.equal(recorded.all(1), undefined, 'of two gaps the newest piece')
  recorded.follow(1, 10)
  t.strictSame(offsets(recorded.all(1)), [10], 'all was read back')
  recorded.add(1, 10, 11, [row(10)])
  t.strictSame(offsets(recorded.all(1)), [11, 10])
  t.equal(recorded.end(1), 11)
})

test('what was read back already is left out', async (t) => {
  const recorded = createRecordedEvents()
  recorded.follow(1, 4)
  recorded.add(1, 2, 4, [row(2), row(3)])
  t.strictSame(offsets(recorded.all(1)), [4])
  recorded.add(1, 3, 6, [row(3), row(4), row(5)])
  t.strictSame(offsets(recorded.all(1)), [6, 4, 5])
  recorded.add(1, 4, 6, [row(4), row(5)])
  t.strictSame(offsets(recorded.all(1)), [6, 4, 5])
})

test('who follows from elsewhere begins anew', async (t) => {
  const recorded = createRecordedEvents()
  recorded.follow(1, 4)
  recorded.add(1, 4, 6, [row(4), row(5)])
  recorded.follow(1, 3)
  t.strictSame(offsets(recorded.all(1)), [3], 'before what is kept')
  recorded.add(1, 3, 4, [row(3)])
  recorded.follow(1, 9)
  t.strictSame(offsets(recorded.all(1)), [9], 'after it')
  recorded.leave()
  t.equal(recorded.all(1), undefined)
})

test('a partition is ours for as long as batches of it are added', async (t) => {
  let now = 0
  const recorded = createRecordedEvents(() => now)
  t.equal(recorded.isOurs(1), false)
  recorded.add(1, 0, 1, [row(0)])
  now = 999
  t.equal(recorded.isOurs(1), true)
  t.equal(recorded.isOurs(2), false)
  now = 1000
  t.equal(recorded.isOurs(1), false)
})

test('no more than so many events and bytes', async (t) => {
  const recorded = createRecordedEvents()
  recorded.follow(1, 0)
  recorded.add(
    1,
    0,
    500,
    Array.from({ length: 500 }, (_, i) => row(i)),
  )
  t.equal(recorded.all(1)?.events.length, 500)
  recorded.add(1, 500, 501, [row(500)])
  t.equal(recorded.all(1), undefined, 'of events')
  recorded.follow(1, 500)
  t.strictSame(offsets(recorded.all(1)), [501, 500], 'the newest')
  recorded.leave()
  recorded.follow(1, 0)
  recorded.add(1, 0, 1, [row(0, 'x'.repeat(600_000))])
  t.equal(recorded.all(1), undefined, 'of bytes')
  const large = row(0, 'x'.repeat(400_000))
  for (let partition = 0; partition < 60; partition++) {
    recorded.follow(partition, 0)
    recorded.add(partition, 0, 1, [large])
  }
  const kept = Array.from({ length: 60 }, (_, partition) => recorded.all(partition)).filter((one) => one !== undefined)
  t.equal(kept.length, 39, 'of bytes of all partitions: 16 MB')
  for (let partition = 0; partition < 60; partition++) recorded.follow(partition, 1)
  recorded.add(59, 1, 2, [row(1)])
  t.strictSame(offsets(recorded.all(59)), [2, 1], 'what was sent makes room')
  for (let round = 0; round < 60; round++) {
    recorded.leave()
    recorded.follow(1, 0)
    recorded.add(1, 0, 1, [large])
  }
  t.ok(recorded.all(1), 'and so does what nobody follows any more')
})

test('an event is told as the audit has it', async (t) => {
  const recorded = createRecordedEvents()
  recorded.follow(1, 7)
  const one = row(7)
  recorded.add(1, 7, 8, [one])
  const { event } = one
  t.strictSame(recorded.all(1)?.events, [
    {
      event_id: event.event_id,
      execution_id: event.execution_id,
      event_name: event.event_name,
      event_type: event.event_type,
      tenant: event.tenant,
      created_at: event.created_at,
      user_id: event.user_id,
      from_state: 'a',
      to_state: 'b',
      payload: '{}',
      seq: 8,
      partition: 1,
      offset: 7,
    },
  ])
})
