// produce → log → accept → [fold] → recorder, replay, REST
//
// An execution's state is a fold of its accepted events: `initial`, `applyEvent`. The recorder, replay, the runtime and
// the author's tests use this one function, so that a live state and a replayed one cannot differ.
//
// X1  Folded (no workflow.started): to_state moves the state, payload objects merge into data, a terminal to_state ends it.
// X2  Driven: only decisions move state and data; action results are kept under data.$actions.<name>.
// X3  Folding a row of the audit (whose from_state and to_state are computed) gives the same as folding the record.

import type { WorkflowEvent } from '../schemas/generated.ts'
import { payloadObject } from './events.ts'
import { isJsonObject, type JsonObject } from './json.ts'
import { isReservedName, isTerminalState, type TerminalState } from './names.ts'

export type ExecutionStatus = 'running' | 'paused' | TerminalState

/** The fold's version; a snapshot of another one is not used. */
export const FOLD_VERSION = 1

export type ExecutionState = {
  readonly tenant: string
  readonly executionId: string
  readonly mode: 'folded' | 'driven'
  readonly status: ExecutionStatus
  readonly currentState: string
  /** Parsed without loss: a number that a double cannot hold is a JSON.rawJSON value. */
  readonly data: JsonObject
  /** seq of the newest event folded; 0 before the first. */
  readonly seq: number
  readonly workflow: string | null
  readonly version: string | null
  readonly key: string | null
  readonly correlationId: string | null
  readonly result: unknown
  readonly error: unknown
  /** Append time of the first event, ms. */
  readonly openedAt: number
  /** Newest append time of the events folded, ms. */
  readonly changedAt: number
  /** Newest created_at of the events folded, ms: a state is that of a moment in business time if this is not after it. */
  readonly createdUntil: number
}

/** What a fold reads of an event; a record of the log has it, and so has a row of the audit. */
export type FoldedEvent = Pick<
  WorkflowEvent,
  'event_name' | 'to_state' | 'payload' | 'created_at' | 'decision' | 'correlation_id' | 'workflow_name' | 'business_key'
>

/** An accepted event: its seq, and its append time in ms. */
export type Accepted = { event: FoldedEvent; seq: number; appendedAt: number }

export const INITIAL_STATE = 'initial'

export function initial(tenant: string, executionId: string): ExecutionState {
  return {
    tenant,
    executionId,
    mode: 'folded',
    status: 'running',
    currentState: INITIAL_STATE,
    data: {},
    seq: 0,
    workflow: null,
    version: null,
    key: null,
    correlationId: null,
    result: null,
    error: null,
    openedAt: 0,
    changedAt: 0,
    createdUntil: 0,
  }
}

type Change = Partial<Omit<ExecutionState, 'tenant' | 'executionId'>>

const text = (value: unknown): string | null => (typeof value === 'string' ? value : null)

function started(event: FoldedEvent): Change {
  const payload = payloadObject(event) ?? {}
  return {
    mode: 'driven',
    status: 'running',
    data: {},
    workflow: text(payload['workflow_name']),
    version: text(payload['workflow_version']),
    key: text(payload['key']),
  }
}

/** The state an event moves its execution to; '' = none. */
function movesTo(state: ExecutionState, event: FoldedEvent): string {
  if (event.decision === 0 && event.event_name === 'workflow.started') return INITIAL_STATE
  if (state.mode === 'folded') return isReservedName(event.event_name) ? '' : event.to_state
  return event.decision > 0 && event.event_name === 'workflow.stateChanged' ? event.to_state : ''
}

/** X1. What an event of an execution without a function does. */
function folded(state: ExecutionState, event: FoldedEvent): Change {
  if (isReservedName(event.event_name)) return {}
  const payload = payloadObject(event)
  return {
    ...(payload ? { data: { ...state.data, ...payload } } : {}),
    ...(isTerminalState(event.to_state) ? { status: event.to_state } : {}),
  }
}

function withResult(state: ExecutionState, event: FoldedEvent): Change {
  const payload = payloadObject(event)
  const name = text(payload?.['name'])
  if (name === null) return {}
  const known = state.data['$actions']
  return { data: { ...state.data, $actions: { ...(isJsonObject(known) ? known : {}), [name]: payload?.['result'] ?? null } } }
}

/** X2. What an event of a driven execution does. */
function driven(state: ExecutionState, event: FoldedEvent): Change {
  const { event_name: name, decision } = event
  if (decision === 0) {
    if (name === 'action.completed') return withResult(state, event)
    if (name === 'workflow.pauseRequested') return { status: 'paused' }
    if (name === 'workflow.resumeRequested' || name === 'workflow.cancelRequested') return { status: 'running' }
    return {}
  }
  switch (name) {
    case 'workflow.dataUpdated':
      return { data: { ...state.data, ...payloadObject(event) } }
    case 'workflow.completed':
      return { status: 'completed', result: payloadObject(event)?.['result'] ?? null }
    case 'workflow.failed':
      return { status: 'failed', error: payloadObject(event)?.['error'] ?? null }
    case 'workflow.cancelled':
      return { status: 'cancelled', error: payloadObject(event)?.['error'] ?? null }
    default:
      return {}
  }
}

function changeBy(state: ExecutionState, event: FoldedEvent): Change {
  if (event.decision === 0 && event.event_name === 'workflow.started') return started(event)
  if (event.event_name === 'workflow.terminateRequested') return { status: 'terminated' }
  return state.mode === 'folded' ? folded(state, event) : driven(state, event)
}

/**
 * The next state. Events come in seq order without gaps; another seq is a mistake of the caller and throws.
 * Pure: the state given is not changed.
 */
export function applyEvent(state: ExecutionState, { event, seq, appendedAt }: Accepted): ExecutionState {
  if (seq !== state.seq + 1) throw new RangeError(`event ${seq} cannot follow ${state.seq} of execution ${state.executionId}`)
  const to = movesTo(state, event)
  return {
    ...state,
    currentState: to === '' ? state.currentState : to,
    workflow: state.workflow ?? event.workflow_name,
    key: state.key ?? event.business_key,
    correlationId: state.correlationId ?? event.correlation_id,
    ...changeBy(state, event),
    seq,
    openedAt: state.seq === 0 ? appendedAt : state.openedAt,
    changedAt: Math.max(state.changedAt, appendedAt),
    createdUntil: state.seq === 0 ? event.created_at : Math.max(state.createdUntil, event.created_at),
  }
}

/** from_state and to_state as the fold computes them, for the audit; to is '' where the event moves nothing. */
export const computedStates = (before: ExecutionState, event: FoldedEvent) => ({ from: before.currentState, to: movesTo(before, event) })

/** How an execution is named in maps; no tenant has a control character. */
export const executionKey = (tenant: string, executionId: string) => `${tenant}\n${executionId}`

/** True when nothing more will be accepted. */
export const isComplete = (state: ExecutionState) => isTerminalState(state.status)
