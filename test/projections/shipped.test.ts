// The read models that come with Refold, folded in memory as the projector folds them.

import t from 'tap'
import type { FoldProjection, PlainRow } from '../../projections/define.ts'
import { type FromAudit, ProjectionEvent } from '../../projections/event.ts'
import { actionsByName, executionsByState } from '../../projections/shipped.ts'

type Given = { name?: string; payload?: unknown; at?: string; audit?: FromAudit }

function eventOf({ name = 'any', payload, at = '2026-01-01T10:00:00.000Z', audit }: Given, offset: number): ProjectionEvent {
  const event = {
    event_id: `0b8f1c7e-5d1e-4c3a-9a44-${String(offset).padStart(12, '0')}`,
    tenant: 'tenant',
    execution_id: '0b8f1c7e-5d1e-4c3a-9a44-2f1f6f0c9a01',
    event_name: name,
    event_type: 'workflow',
    from_state: '',
    to_state: '',
    user_id: null,
    payload: payload === undefined ? null : JSON.stringify(payload),
    created_at: Date.parse(at),
    causation_id: null,
    correlation_id: null,
    workflow_name: null,
    business_key: null,
    decision: 0,
    decision_chain: '',
    decision_seq: 0,
    decision_input: '',
  }
  return new ProjectionEvent(event, { partition: 0, offset, appendedAt: Date.parse(at) }, audit)
}

function foldAll({ keys, initial, evolve, tables }: FoldProjection, given: readonly Given[]): PlainRow[] {
  const rows = new Map<string, PlainRow>()
  for (const event of given.map(eventOf))
    for (const key of keys(event)) {
      const name = JSON.stringify(tables[0]?.key.map((column) => key[column]))
      const row = evolve(rows.get(name) ?? initial(key), event)
      if (row) rows.set(name, row)
      else rows.delete(name)
    }
  return [...rows.values()]
}

t.test('executions_by_state counts by the computed state and the hour of business time', async (t) => {
  const entered = (to: string, at: string): Given => ({ at, audit: { seq: 1, from: '', to } })
  const rows = foldAll(executionsByState, [
    entered('paid', '2026-01-01T10:00:00.000Z'),
    entered('paid', '2026-01-01T10:59:59.999Z'),
    entered('', '2026-01-01T10:30:00.000Z'),
    entered('paid', '2026-01-01T11:00:00.000Z'),
    entered('sent', '2026-01-01T10:30:00.000Z'),
  ])
  t.strictSame(rows, [
    { state: 'paid', hour: '2026-01-01T10:00:00.000Z', entered: 2 },
    { state: 'paid', hour: '2026-01-01T11:00:00.000Z', entered: 1 },
    { state: 'sent', hour: '2026-01-01T10:00:00.000Z', entered: 1 },
  ])
})

t.test('actions_by_name counts what was completed and what failed, and adds durations up', async (t) => {
  const rows = foldAll(actionsByName, [
    { name: 'action.completed', payload: { name: 'charge', duration_ms: 30 } },
    { name: 'action.attemptFailed', payload: { name: 'charge', duration_ms: 12 } },
    { name: 'action.completed', payload: { name: 'pack' } },
    { name: 'action.scheduled', payload: { name: 'charge', duration_ms: 1000 } },
    { name: 'case.paid', payload: null },
  ])
  t.strictSame(rows, [
    { action: 'charge', completed: 1, failed_attempts: 1, duration_ms: 42 },
    { action: 'pack', completed: 1, failed_attempts: 0, duration_ms: 0 },
  ])
})

t.test('what only the audit knows is refused to a projection that did not ask for it', async (t) => {
  t.throws(() => eventOf({}, 0).audit, /declare uses: \['audit'\]/)
})
