// Builds events for tests: valid unless told otherwise.

import type { WorkflowEvent } from '../../schemas/generated.ts'
import { decisionIdOf, firedIdOf, outcomeIdOf, startIdOf } from '../../workflow/ids.ts'

export const TENANT = 'demo'
export const EXECUTION = '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01'

/** An outside event; `changes` replace single fields. */
export function event(changes: Partial<WorkflowEvent> = {}): WorkflowEvent {
  return {
    event_id: '11111111-1111-4111-8111-111111111111',
    tenant: TENANT,
    execution_id: EXECUTION,
    event_name: 'order.placed',
    event_type: 'workflow',
    from_state: '',
    to_state: '',
    user_id: null,
    payload: null,
    created_at: 1_700_000_000_000,
    causation_id: null,
    correlation_id: null,
    workflow_name: null,
    business_key: null,
    decision: 0,
    decision_chain: '',
    decision_seq: 0,
    decision_input: '',
    ...changes,
  }
}

const json = (value: unknown) => JSON.stringify(value)

export function started(changes: Partial<WorkflowEvent> = {}): WorkflowEvent {
  const base = event({
    event_name: 'workflow.started',
    payload: json({ workflow_name: 'order', workflow_version: '1', key: 'o-1', input: {} }),
    ...changes,
  })
  return { ...base, event_id: changes.event_id ?? startIdOf(base.tenant, base.execution_id) }
}

export function decision(n: number, chain: string, changes: Partial<WorkflowEvent> = {}): WorkflowEvent {
  const base = event({ event_name: 'workflow.stateChanged', to_state: `s${n}`, decision: n, decision_chain: chain, ...changes })
  return { ...base, event_id: changes.event_id ?? decisionIdOf(base.tenant, base.execution_id, n) }
}

export function fired(timer: number, changes: Partial<WorkflowEvent> = {}): WorkflowEvent {
  const base = event({ event_name: 'timer.fired', payload: json({ timer_id: timer }), ...changes })
  return { ...base, event_id: changes.event_id ?? firedIdOf(base.tenant, base.execution_id, timer) }
}

export function outcome(action: number, attempt: number, changes: Partial<WorkflowEvent> = {}): WorkflowEvent {
  const base = event({ event_name: 'action.completed', payload: json({ action, attempt, name: 'reserve', result: 1 }), ...changes })
  return { ...base, event_id: changes.event_id ?? outcomeIdOf(base.tenant, base.execution_id, action, attempt) }
}
