import t from 'tap'
import type { LogAppend } from '../../kafka/log.ts'
import { createEventProducer, draftEvent } from '../../producers/events.ts'
import { eventIdOf, executionIdOf, isUuid } from '../../workflow/ids.ts'
import { partitionOf } from '../../workflow/partition.ts'
import { event, EXECUTION } from '../support/events.ts'

const sender = { tenant: 'demo', now: 1_700_000_000_000 }

function drafted(...[draft, from = sender, index = 0]: [Parameters<typeof draftEvent>[0], Parameters<typeof draftEvent>[1]?, number?]) {
  const result = draftEvent(draft, from, index)
  if (result.state === 'refused') throw new Error(result.detail)
  return result.event
}

t.test('what a draft does not say has its default', async (t) => {
  const { event_id: id, ...rest } = drafted({ event_name: 'x', execution_id: EXECUTION })
  t.ok(isUuid(id))
  const { event_id: _, ...expected } = event({ event_name: 'x' })
  t.same(rest, expected)
})

t.test('ids are derived from the nearest thing that names the event', async (t) => {
  const keyed = { ...sender, idempotencyKey: 'request' }
  const base = { event_name: 'x', execution_id: EXECUTION }
  const given = '33333333-3333-4333-8333-33333333333F'
  t.equal(drafted({ ...base, event_id: given, idempotency_key: 'own' }, keyed, 3).event_id, given.toLowerCase())
  t.equal(drafted({ ...base, idempotency_key: 'own' }, keyed, 3).event_id, eventIdOf('demo', EXECUTION, 'own', 0))
  t.equal(drafted(base, keyed, 3).event_id, eventIdOf('demo', EXECUTION, 'request', 3))
  t.not(drafted(base).event_id, drafted(base).event_id)
})

t.test('an id given goes before workflow and key, which are kept', async (t) => {
  const made = { event_name: 'x', workflow_name: 'order', business_key: 'o-1' }
  t.match(drafted({ ...made, execution_id: EXECUTION.toUpperCase() }), { ...made, execution_id: EXECUTION })
  t.match(drafted(made), { ...made, execution_id: executionIdOf('demo', 'order', 'o-1') })
})

t.test('tenants with the same key have executions of their own', async (t) => {
  const made = { event_name: 'x', workflow_name: 'order', business_key: 'o-1' }
  t.not(drafted(made).execution_id, drafted(made, { ...sender, tenant: 'other' }).execution_id)
})

t.test('what accept would quarantine is refused before the log', async (t) => {
  const base = { event_name: 'x', execution_id: EXECUTION }
  const refused = (changes: object) => draftEvent({ ...base, ...changes }, sender, 0)
  t.match(refused({ event_name: 'action.completed' }), { state: 'refused', code: 'name-reserved' })
  t.match(refused({ event_id: '33333333-3333-8333-8333-333333333333' }), { state: 'refused', code: 'event-invalid', detail: /version 8/ })
  t.match(refused({ payload: { a: 1 } }), { state: 'refused', code: 'event-invalid', detail: /payload is no text/ })
  t.match(refused({ payload: '{' }), { state: 'refused', code: 'event-invalid', detail: /not JSON/ })
  t.match(refused({ to_state: 'a\nb' }), { state: 'refused', code: 'event-invalid', detail: /to_state/ })
  t.match(refused({ execution_id: null }), { state: 'refused', code: 'event-invalid', detail: /needs execution_id/ })
})

t.test('a record is keyed by its execution and lies in the partition of that key', async (t) => {
  const appended: LogAppend[] = []
  const append = async (record: LogAppend) => {
    appended.push(record)
    return { partition: record.partition, offset: 7, appendedAt: 1 }
  }
  const encode = () => new Uint8Array([1, 2])
  const producer = createEventProducer({ log: { append }, topic: 'refold.events', partitions: 12, encode })
  t.match(await producer.append(event(), { traceparent: 'x' }), { offset: 7 })
  await producer.append(event())
  const record = { topic: 'refold.events', partition: partitionOf(EXECUTION, 12), key: EXECUTION, value: new Uint8Array([1, 2]) }
  t.strictSame(appended, [{ ...record, headers: { traceparent: 'x' } }, record])
})
