// The contract of notifications: ten flat fields, in this form, for ever; what comes beside them breaks no old reader.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { readNotification } from '../../reader/index.ts'
import { type EventToTell, fieldsOf } from '../../workflow/notification.ts'

const OLD = JSON.parse(readFileSync(path.join(import.meta.dirname, 'fixture', 'old-entry.json'), 'utf8')) as string[]

const EVENT: EventToTell = {
  event_id: '0b8f1c7e-5d1e-4c3a-9a44-2f1f6f0c9a01',
  execution_id: '0b8f1c7e-5d1e-4c3a-9a44-2f1f6f0c9a02',
  event_name: 'order.placed',
  event_type: 'workflow',
  tenant: 'demo',
  created_at: Date.UTC(2026, 10, 27),
  user_id: null,
  from_state: 'initial',
  to_state: 'placed',
  payload: '{"total":9007199254740993}',
  seq: 1,
  partition: 7,
  offset: 12,
}

t.test('what is sent begins with the ten fields as they were recorded', async (t) => {
  const sent = fieldsOf(EVENT, 9)
  t.strictSame(sent.slice(0, OLD.length), OLD)
  t.strictSame(sent.slice(OLD.length), ['seq', '1', 'position', 'p7:12', 'previous_position', 'p7:9'])
  t.strictSame(fieldsOf({ ...EVENT, payload: null }, null).slice(-7), ['{}', 'seq', '1', 'position', 'p7:12', 'previous_position', ''])
})

t.test('a reader that picks fields by name reads an old entry, and a new one with fields it does not know', async (t) => {
  const old = readNotification('1-0', OLD)
  t.match(old, {
    eventName: 'order.placed',
    userId: null,
    fromState: 'initial',
    payloadJson: '{"total":9007199254740993}',
    seq: null,
    position: '',
  })
  t.match(readNotification('1-1', ['something_new', 'x', ...fieldsOf(EVENT, null)]), {
    eventId: EVENT.event_id,
    seq: 1,
    position: 'p7:12',
    previousPosition: null,
  })
})
