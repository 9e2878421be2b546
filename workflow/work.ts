// accepted events → [fold of the work] → recorder → workflow_actions, workflow_timers, workflow_waits
//
// What a driven execution has asked for: one row for each action, timer and wait, by the number of the decision that made it.
//
// W1  Pure: rows are replaced, never changed; the same events give the same rows, however they are cut into batches.
// W2  Decisions have the last word on a row; inputs only move what is open. (A decision may be appended after inputs that its
//     replay had not seen: a wait is satisfied though the cancel came first in the log.)
//     No decision ends a wait that is cancelled: where cancel and wait came close together, or a second cancel came, its row may
//     be wrong until the execution ends. What is open then, the history says (postgres/reads/work.ts).
// W3  Nothing in a payload makes a row that the tables can't hold: numbers are whole and small, times are times.

import type { WorkflowEvent } from '../schemas/generated.ts'
import { payloadObject } from './events.ts'
import { type Failure, readFailure } from './failures.ts'
import type { JsonObject } from './json.ts'
import { LIMITS } from './limits.ts'

/** What became of something whose execution ended before it did: `abandoned`. All times are append times, ms. */
type Times = { startedAt: number; endedAt: number | null }

export type ActionRow = Times & {
  kind: 'action'
  /** Decision number of its action.scheduled. */
  n: number
  name: string
  queue: string | null
  /** The author's idempotency key; null: the action's id. */
  key: string | null
  guarantee: string
  /** running: its attempt was asked for and has no outcome · backing-off: it has failed, what comes next is not decided or due yet. */
  status: 'running' | 'backing-off' | 'completed' | 'failed' | 'cancelled' | 'abandoned'
  /** The newest attempt. */
  attempt: number
  /** The most its policy allows. */
  attempts: number
  /** When the newest attempt was asked for. */
  requestedAt: number
  /** When the next attempt is due; of one that backs off. */
  nextAttemptAt: number | null
  worker: string | null
  lastError: Failure | null
  /** JSON value; undefined until it is completed. */
  result?: unknown
}

export type TimerRow = Times & {
  kind: 'timer'
  n: number
  purpose: string
  /** The action that it retries. */
  action: number | null
  fireAt: number
  status: 'open' | 'fired' | 'cancelled' | 'abandoned'
}

export type WaitRow = Times & {
  kind: 'wait'
  n: number
  names: readonly string[]
  timeoutAt: number | null
  status: 'open' | 'satisfied' | 'timed-out' | 'cancelled' | 'abandoned'
  /** The event that satisfied it. */
  eventId: string | null
  eventName: string | null
}

export type WorkRow = ActionRow | TimerRow | WaitRow

/** Rows of one kind by their numbers. */
export type Rows<R> = { get(n: number): R | undefined; set(n: number, row: R): unknown; values(): Iterable<R> }

export type Work = { actions: Rows<ActionRow>; timers: Rows<TimerRow>; waits: Rows<WaitRow> }

/** What the fold reads of an accepted event. */
export type WorkEvent = { event: Pick<WorkflowEvent, 'event_name' | 'payload' | 'decision'>; appendedAt: number }

export const noWork = () => ({
  actions: new Map<number, ActionRow>(),
  timers: new Map<number, TimerRow>(),
  waits: new Map<number, WaitRow>(),
})

const ENDS: ReadonlySet<string> = new Set(['workflow.completed', 'workflow.failed', 'workflow.cancelled', 'workflow.terminateRequested'])

/** Names of the events that this fold knows; all others leave it as it is. */
export const WORK_EVENTS: readonly string[] = [
  'action.scheduled',
  'action.completed',
  'action.attemptFailed',
  'action.retried',
  'action.failed',
  'action.cancelled',
  'timer.started',
  'timer.fired',
  'timer.cancelled',
  'wait.started',
  'wait.satisfied',
  'workflow.cancelRequested',
  ...ENDS,
]
const known: ReadonlySet<string> = new Set(WORK_EVENTS)

export const isWork = ({ event_name: name }: { event_name: string }): boolean => known.has(name)

/** Numbers of the rows that an event may change beside the open ones. */
export function rowsNamed(event: { payload: string | null }): number[] {
  const { action, timer_id: timer, wait } = payloadObject(event) ?? {}
  const named = [count(action), count(timer), count(wait)].filter((n) => n !== undefined)
  const timeoutOf = count(timer)
  return timeoutOf === undefined || timeoutOf === 1 ? named : [...named, timeoutOf - 1]
}

const text = (value: unknown) => (typeof value === 'string' ? value : null)
const count = (value: unknown) =>
  Number.isInteger(value) && Number(value) > 0 && Number(value) <= LIMITS.decisions ? Number(value) : undefined

function time(value: unknown): number | null {
  const ms = typeof value === 'string' ? Date.parse(value) : Number.NaN
  return ms >= LIMITS.earliest && ms <= LIMITS.latest ? ms : null
}

const isOpen = (row: WorkRow) => row.endedAt === null

function put<R extends WorkRow>(rows: Rows<R>, row: R): [R] {
  rows.set(row.n, row)
  return [row]
}

function scheduled(n: number, payload: JsonObject, at: number): ActionRow {
  const retry = payload['retry'] as { attempts?: unknown } | null | undefined
  return {
    kind: 'action',
    n,
    name: text(payload['name']) ?? '',
    queue: text(payload['queue']),
    key: text(payload['key']),
    guarantee: text(payload['guarantee']) ?? '',
    status: 'running',
    attempt: 1,
    attempts: count(retry?.attempts) ?? 1,
    startedAt: at,
    requestedAt: at,
    nextAttemptAt: null,
    endedAt: null,
    worker: null,
    lastError: null,
  }
}

/** An attempt's outcome counts while that attempt runs. */
function outcome(row: ActionRow, name: string, payload: JsonObject, at: number): ActionRow | undefined {
  if (row.status !== 'running' || payload['attempt'] !== row.attempt) return undefined
  const worker = text(payload['worker'])
  if (name === 'action.completed') return { ...row, status: 'completed', worker, result: payload['result'] ?? null, endedAt: at }
  return { ...row, status: 'backing-off', worker, lastError: readFailure(payload['error']) }
}

function onAction(work: Work, name: string, payload: JsonObject, at: number): WorkRow[] {
  const row = work.actions.get(count(payload['action']) ?? 0)
  if (!row) return []
  switch (name) {
    case 'action.retried': {
      const attempt = count(payload['attempt']) ?? row.attempt + 1
      return put(work.actions, { ...row, status: 'running', attempt, requestedAt: at, nextAttemptAt: null, endedAt: null })
    }
    case 'action.failed': {
      const lastError = payload['error'] === undefined ? row.lastError : readFailure(payload['error'])
      return put(work.actions, { ...row, status: 'failed', lastError, nextAttemptAt: null, endedAt: at })
    }
    case 'action.cancelled':
      return put(work.actions, { ...row, status: 'cancelled', nextAttemptAt: null, endedAt: at })
    default: {
      const after = outcome(row, name, payload, at)
      return after ? put(work.actions, after) : []
    }
  }
}

function timerStarted(work: Work, n: number, payload: JsonObject, at: number): WorkRow[] {
  const action = count(payload['action']) ?? null
  const [purpose, fireAt] = [text(payload['purpose']) ?? '', time(payload['fire_at']) ?? at]
  const changed: WorkRow[] = put(work.timers, { kind: 'timer', n, purpose, action, fireAt, status: 'open', startedAt: at, endedAt: null })
  const retried = action === null || purpose !== 'retry' ? undefined : work.actions.get(action)
  return retried ? [...changed, ...put(work.actions, { ...retried, nextAttemptAt: fireAt })] : changed
}

/** A timer that bounds a wait is the decision right after it. */
function timerEnded(work: Work, status: 'fired' | 'cancelled', payload: JsonObject, at: number): WorkRow[] {
  const row = work.timers.get(count(payload['timer_id']) ?? 0)
  if (!row || !isOpen(row)) return []
  const changed: WorkRow[] = put(work.timers, { ...row, status, endedAt: at })
  const wait = row.purpose === 'timeout' ? work.waits.get(row.n - 1) : undefined
  if (!wait || !isOpen(wait)) return changed
  return [...changed, ...put(work.waits, { ...wait, status: status === 'fired' ? 'timed-out' : 'cancelled', endedAt: at })]
}

function waitStarted(work: Work, n: number, payload: JsonObject, at: number): WorkRow[] {
  const names = Array.isArray(payload['names']) ? payload['names'].filter((name) => typeof name === 'string') : []
  const row: WaitRow = {
    kind: 'wait',
    n,
    names,
    timeoutAt: time(payload['timeout_at']),
    status: 'open',
    startedAt: at,
    endedAt: null,
    eventId: null,
    eventName: null,
  }
  return put(work.waits, row)
}

function waitSatisfied(work: Work, payload: JsonObject, at: number): WorkRow[] {
  const row = work.waits.get(count(payload['wait']) ?? 0)
  if (!row) return []
  const [eventId, eventName] = [text(payload['event_id']), text(payload['event_name'])]
  return put(work.waits, { ...row, status: 'satisfied', eventId, eventName, endedAt: at })
}

const openOf = <R extends WorkRow>(rows: Rows<R>): R[] => [...rows.values()].filter(isOpen)

/** A cancel ends what the function waits on; actions and timers have decisions of their own that say so. */
const cancelled = (work: Work, at: number): WorkRow[] =>
  openOf(work.waits).flatMap((row) => put(work.waits, { ...row, status: 'cancelled', endedAt: at }))

const abandoned = (work: Work, at: number): WorkRow[] => [
  ...openOf(work.actions).flatMap((row) => put(work.actions, { ...row, status: 'abandoned', nextAttemptAt: null, endedAt: at })),
  ...openOf(work.timers).flatMap((row) => put(work.timers, { ...row, status: 'abandoned', endedAt: at })),
  ...openOf(work.waits).flatMap((row) => put(work.waits, { ...row, status: 'abandoned', endedAt: at })),
]

/**
 * Folds one event in, in order of seq; `work` holds the open rows and those the event names, and is changed. Answers the
 * rows that are new or other than before.
 */
export function applyWork(work: Work, { event, appendedAt: at }: WorkEvent): WorkRow[] {
  const { event_name: name, decision: n } = event
  if (ENDS.has(name)) return abandoned(work, at)
  const payload = payloadObject(event) ?? {}
  switch (name) {
    case 'action.scheduled':
      return put(work.actions, scheduled(n, payload, at))
    case 'timer.started':
      return timerStarted(work, n, payload, at)
    case 'timer.fired':
    case 'timer.cancelled':
      return timerEnded(work, name === 'timer.fired' ? 'fired' : 'cancelled', payload, at)
    case 'wait.started':
      return waitStarted(work, n, payload, at)
    case 'wait.satisfied':
      return waitSatisfied(work, payload, at)
    case 'workflow.cancelRequested':
      return cancelled(work, at)
    default:
      return isWork(event) ? onAction(work, name, payload, at) : []
  }
}
