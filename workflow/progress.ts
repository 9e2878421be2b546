// accepted events → [progress of a driven execution] → REST, diagnosis
//
// A fold of an execution's history into what is open and what was done: one row an action, timers, waits.

import type { WorkflowEvent } from '../schemas/generated.ts'
import { payloadObject } from './events.ts'
import { type Failure, readFailure } from './failures.ts'

/** An event of a history; `payload` is JSON text. */
export type ProgressEvent = Pick<WorkflowEvent, 'event_name' | 'payload' | 'decision'> & { appendedAt: string }

export type ActionProgress = {
  /** Decision number of its action.scheduled. */
  action: number
  name: string
  queue: string | null
  key: string | null
  guarantee: string
  /** running: its attempt was asked for and has no outcome. */
  status: 'running' | 'backing-off' | 'completed' | 'failed' | 'cancelled'
  /** The newest attempt. */
  attempt: number
  /** The most its policy allows. */
  attempts: number
  scheduledAt: string
  /** When the newest attempt was asked for. */
  requestedAt: string
  endedAt: string | null
  worker: string | null
  lastError: Failure | null
  /** When the next attempt is due; of one that backs off. */
  nextAttemptAt: string | null
}

export type TimerProgress = { timer: number; purpose: string; action: number | null; fireAt: string; startedAt: string }
export type WaitProgress = { wait: number; names: readonly string[]; startedAt: string; timeoutAt: string | null }

export type Progress = {
  workflow: string | null
  version: string | null
  actions: Map<number, ActionProgress>
  timers: Map<number, TimerProgress>
  waits: Map<number, WaitProgress>
  pausedAt: string | null
  /** Decisions so far. */
  decisions: number
}

export const noProgress = (): Progress => ({
  workflow: null,
  version: null,
  actions: new Map(),
  timers: new Map(),
  waits: new Map(),
  pausedAt: null,
  decisions: 0,
})

const text = (value: unknown) => (typeof value === 'string' ? value : null)

function scheduled(n: number, payload: Readonly<Record<string, unknown>>, at: string): ActionProgress {
  const retry = payload['retry'] as { attempts?: unknown } | undefined
  return {
    action: n,
    name: String(payload['name']),
    queue: text(payload['queue']),
    key: text(payload['key']),
    guarantee: String(payload['guarantee']),
    status: 'running',
    attempt: 1,
    attempts: Number(retry?.attempts ?? 1),
    scheduledAt: at,
    requestedAt: at,
    endedAt: null,
    worker: null,
    lastError: null,
    nextAttemptAt: null,
  }
}

function outcome(progress: Progress, name: string, payload: Readonly<Record<string, unknown>>, at: string): void {
  const action = progress.actions.get(Number(payload['action']))
  if (!action || action.status !== 'running' || payload['attempt'] !== action.attempt) return
  action.worker = text(payload['worker'])
  if (name === 'action.completed') Object.assign(action, { status: 'completed', endedAt: at })
  else Object.assign(action, { status: 'backing-off', lastError: readFailure(payload['error']) })
}

/** Folds one event in; `progress` is changed. Events come in order of seq. */
export function addToProgress(progress: Progress, { event_name: name, payload: source, decision: n, appendedAt: at }: ProgressEvent): void {
  const payload = payloadObject({ payload: source }) ?? {}
  const action = progress.actions.get(Number(payload['action']))
  const timer = Number(payload['timer_id'])
  if (n > 0) progress.decisions = n
  switch (name) {
    case 'workflow.started':
      Object.assign(progress, { workflow: text(payload['workflow_name']), version: text(payload['workflow_version']) })
      return
    case 'workflow.pauseRequested':
      progress.pausedAt ??= at
      return
    case 'workflow.resumeRequested':
    case 'workflow.cancelRequested':
      progress.pausedAt = null
      return
    case 'action.scheduled':
      progress.actions.set(n, scheduled(n, payload, at))
      return
    case 'action.completed':
    case 'action.attemptFailed':
      return outcome(progress, name, payload, at)
    case 'action.retried':
      if (action) Object.assign(action, { status: 'running', attempt: Number(payload['attempt']), requestedAt: at, nextAttemptAt: null })
      return
    case 'action.failed':
    case 'action.cancelled':
      if (action) Object.assign(action, { status: name === 'action.failed' ? 'failed' : 'cancelled', endedAt: at, nextAttemptAt: null })
      return
    case 'timer.started': {
      const fireAt = String(payload['fire_at'])
      const of = action ? action.action : null
      progress.timers.set(n, { timer: n, purpose: String(payload['purpose']), action: of, fireAt, startedAt: at })
      if (payload['purpose'] === 'retry' && action) action.nextAttemptAt = fireAt
      return
    }
    case 'timer.fired':
    case 'timer.cancelled':
      progress.timers.delete(timer)
      return
    case 'wait.started':
      progress.waits.set(n, {
        wait: n,
        names: Array.isArray(payload['names']) ? payload['names'].map(String) : [],
        startedAt: at,
        timeoutAt: text(payload['timeout_at']),
      })
      return
    case 'wait.satisfied':
      progress.waits.delete(Number(payload['wait']))
  }
}
