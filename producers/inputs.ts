// [produce] → log → accept → runtime → decisions
//
// The inputs Refold makes itself: a start, outcomes of attempts, fired timers, and what a person asks of an execution.
// Their ids are derived, so that each is accepted once, however many processes append it.

import type { ActionRequest, WorkflowEvent } from '../schemas/generated.ts'
import { resultFailure } from '../workflow/contract.ts'
import type { Failure } from '../workflow/failures.ts'
import { firedIdOf, outcomeIdOf, startIdOf } from '../workflow/ids.ts'
import type { RequestName } from '../workflow/names.ts'

type Of = { tenant: string; executionId: string; /** ms since 1970 UTC */ now: number }

function input({ tenant, executionId, now }: Of, event_name: string, event_id: string, payload: string | null): WorkflowEvent {
  return {
    event_id,
    tenant,
    execution_id: executionId,
    event_name,
    event_type: 'workflow',
    from_state: '',
    to_state: '',
    user_id: null,
    payload,
    created_at: now,
    causation_id: null,
    correlation_id: null,
    workflow_name: null,
    business_key: null,
    decision: 0,
    decision_chain: '',
    decision_seq: 0,
    decision_input: '',
  }
}

export type Start = Of & {
  workflow: string
  version: string
  key: string | null
  /** JSON text, kept byte for byte. */
  input: string
  userId: string | null
  correlationId: string | null
}

export function startedEvent({ workflow, version, key, input: given, userId, correlationId, ...of }: Start): WorkflowEvent {
  const known = JSON.stringify({ workflow_name: workflow, workflow_version: version, key })
  const event = input(of, 'workflow.started', startIdOf(of.tenant, of.executionId), `${known.slice(0, -1)},"input":${given}}`)
  return { ...event, user_id: userId, correlation_id: correlationId, workflow_name: workflow, business_key: key }
}

/** How an attempt ended; a result is JSON text. */
export type AttemptOutcome = { result: string } | { error: Failure }

/**
 * The outcome of one attempt: `action.completed` or `action.attemptFailed`, which it is also where the log cannot hold the result.
 * `duration` in ms.
 */
export function outcomeEvent(
  request: ActionRequest,
  outcome: AttemptOutcome,
  by: { worker: string; duration: number; now: number },
): WorkflowEvent {
  const { tenant, execution_id: executionId, action, attempt, name, action_id: actionId } = request
  const about = JSON.stringify({ action, attempt, name, worker: by.worker, duration_ms: by.duration }).slice(0, -1)
  const id = outcomeIdOf(tenant, executionId, action, attempt)
  const of = { tenant, executionId, now: by.now }
  const bare =
    'result' in outcome
      ? input(of, 'action.completed', id, `${about},"result":${outcome.result}}`)
      : input(of, 'action.attemptFailed', id, `${about},"error":${JSON.stringify(outcome.error)}}`)
  const event = { ...bare, causation_id: actionId }
  const error = 'result' in outcome ? resultFailure(event) : undefined
  return error ? outcomeEvent(request, { error }, by) : event
}

export const firedEvent = (of: Of, timer: number): WorkflowEvent =>
  input(of, 'timer.fired', firedIdOf(of.tenant, of.executionId, timer), JSON.stringify({ timer_id: timer }))

/** What a person or a system asks of an execution; `id` is the sender's. */
export function requestEvent(
  of: Of,
  name: RequestName,
  { id, reason, action, userId }: { id: string; reason: string | null; action?: number | undefined; userId: string | null },
): WorkflowEvent {
  const payload = { ...(reason === null ? {} : { reason }), ...(action === undefined ? {} : { action }) }
  return { ...input(of, name, id, JSON.stringify(payload)), user_id: userId }
}
