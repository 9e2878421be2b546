// Why an execution stands where it stands: pure, from its row, its history, and what runs. The first cause that holds is
// named, what makes the others doubtful first; never a guess: each carries what it rests on.

import type { ExecutionRow } from '../postgres/reads/executions.ts'
import type { IncidentRow, ProcessRow, Standing } from '../postgres/reads/standing.ts'
import type { ActionRow, OpenWork } from '../postgres/reads/work.ts'
import { isTerminalState } from '../workflow/names.ts'

export type Facts = {
  row: ExecutionRow
  open: OpenWork
  standing: Standing
  partition: number
  /** One past the newest record of its partition; undefined while the log does not answer. */
  logEnd: number | undefined
  /** ms since 1970 UTC */
  now: number
}

export type Cause = {
  cause: string
  summary: string
  evidence: Record<string, unknown>
  byItself: string
  youCan: string[]
}

export type Diagnosis = Cause & { executionId: string; status: string; currentState: string; also: string[] }

/** A reader that has records waiting and did not move for so long is behind, ms. */
const BEHIND = 5000

type Look = (facts: Facts) => Cause | undefined

function ended({ row }: Facts): Cause | undefined {
  if (!isTerminalState(row.status)) return undefined
  return {
    cause: 'ended',
    summary: `it is ${row.status}`,
    evidence: { status: row.status, error: row.error === null ? null : (JSON.parse(row.error) as unknown), at: row.changed_at },
    byItself: 'nothing more',
    youCan: ['read its result: GET …/result', 'read its history: GET …/events'],
  }
}

function parked({ standing }: Facts): Cause | undefined {
  const incident: IncidentRow | undefined = standing.incidents[0]
  if (!incident) return undefined
  const base = { evidence: { incident: incident.id, openedAt: incident.opened_at, ...incident.evidence } }
  if (incident.kind === 'diverged')
    return {
      ...base,
      cause: 'diverged',
      summary: `its code no longer fits its history, at ${incident.summary}`,
      byItself: 'nothing is written for it until code that fits runs; events that come wait in the log',
      youCan: ['deploy code that fits this history (the version it was started with): it goes on by itself', 'terminate it'],
    }
  if (incident.kind === 'not-registered')
    return {
      ...base,
      cause: 'no-runtime',
      summary: incident.summary,
      byItself: 'it goes on when a runtime that registers this version starts',
      youCan: ['start a deployment with this version of the workflow', 'terminate it'],
    }
  return {
    ...base,
    cause: incident.kind,
    summary: incident.summary,
    byItself: 'nothing',
    youCan: ['terminate it', 'start a new execution for the rest of the work'],
  }
}

function recorderBehind({ standing, logEnd, partition }: Facts): Cause | undefined {
  const recorder = standing.checkpoints.find(({ reader }) => reader === 'recorder')
  if (!recorder || logEnd === undefined || logEnd <= recorder.next || recorder.idle_ms < BEHIND) return undefined
  return {
    cause: 'recorder-behind',
    summary: `the recorder stands at p${partition}:${recorder.next}, ${logEnd - recorder.next} records behind: this answer is as old`,
    evidence: { partition, checkpoint: recorder.next, logEnd, movedAt: recorder.moved_at },
    byItself: 'it goes on when a recorder runs and reaches Postgres; nothing is lost meanwhile',
    youCan: ['start a process with the role recorder', 'look at its /readyz and log lines'],
  }
}

function notDriven({ row }: Facts): Cause | undefined {
  if (row.workflow_version !== null) return undefined
  return {
    cause: 'not-driven',
    summary: 'no workflow function drives it: it is folded from the events sent to it',
    evidence: { state: row.current_state, changedAt: row.changed_at },
    byItself: 'it moves with the next event that a producer sends',
    youCan: ['send its next event: POST …/events'],
  }
}

function paused({ row, open }: Facts): Cause | undefined {
  if (row.status !== 'paused') return undefined
  return {
    cause: 'paused',
    summary: `it was paused at ${open.pausedAt ?? row.changed_at}`,
    evidence: { pausedAt: open.pausedAt },
    byItself: 'events wait in the log, in their order, until it is resumed',
    youCan: ['resume it: POST …/resume', 'cancel it (that resumes it too)'],
  }
}

const runtimesOf = ({ row, standing }: Facts): ProcessRow[] =>
  standing.processes.filter(
    ({ role, workflows }) => role === 'runtime' && workflows.includes(`${row.workflow_name}\n${row.workflow_version}`),
  )

function noRuntime(facts: Facts): Cause | undefined {
  if (facts.row.workflow_version === null || runtimesOf(facts).length > 0) return undefined
  const { workflow_name: workflow, workflow_version: version } = facts.row
  const running = facts.standing.processes.filter(({ role }) => role === 'runtime')
  return {
    cause: 'no-runtime',
    summary: `no runtime that runs registers ${workflow} version ${version}`,
    evidence: {
      workflow,
      version,
      runtimes: running.map(({ id, workflows }) => ({ id, workflows: workflows.map((one) => one.replace('\n', ' ')) })),
    },
    byItself: 'it goes on when such a runtime starts',
    youCan: ['start one: refold start --app <module> --roles runtime', 'terminate it'],
  }
}

function unowned(facts: Facts): Cause | undefined {
  const { partition, standing } = facts
  const runtimes = runtimesOf(facts)
  if (runtimes.length === 0) return undefined // told as such
  if (runtimes.some(({ partitions }) => partitions.includes(partition))) return undefined
  const deployment = runtimes[0]?.deployment
  return {
    cause: 'partition-unowned',
    summary: `no runtime of deployment ${deployment} has partition ${partition} now`,
    evidence: {
      partition,
      runtimes: runtimes.map(({ id, partitions, seen_at: seenAt }) => ({ id, partitions, seenAt })),
      checkpoints: standing.checkpoints,
    },
    byItself: 'the group shares its partitions again within the session timeout (10 s unless set otherwise) and 5 s more',
    youCan: ['look whether the runtimes keep restarting', 'start another runtime'],
  }
}

function runtimeBehind(facts: Facts): Cause | undefined {
  const { standing, partition } = facts
  const recorder = standing.checkpoints.find(({ reader }) => reader === 'recorder')
  const deployment = runtimesOf(facts)[0]?.deployment
  const runtime = standing.checkpoints.find(({ reader }) => reader === `runtime.${deployment}`)
  if (!recorder || !runtime || runtime.next >= recorder.next || runtime.idle_ms < 2 * BEHIND) return undefined
  if (Object.keys(openOf(facts)).length > 0) return undefined // what it waits for holds its checkpoint
  return {
    cause: 'runtime-behind',
    summary: `the runtime stands at p${partition}:${runtime.next}, the recorder at ${recorder.next}`,
    evidence: { partition, runtime, recorder },
    byItself: 'it goes on as it catches up',
    youCan: ['start more runtimes of this deployment', 'look at its /readyz and log lines'],
  }
}

function openOf({ open }: Facts): Partial<Record<'action' | 'wait' | 'timer', true>> {
  return {
    ...(open.actions.length > 0 ? { action: true as const } : {}),
    ...(open.waits.length > 0 ? { wait: true as const } : {}),
    ...(open.timers.length > 0 ? { timer: true as const } : {}),
  }
}

/** The newest attempt's error. */
const errorOf = ({ last_error: text }: ActionRow) => (text === null ? null : (JSON.parse(text) as { message?: string }))

const workersOf = ({ standing }: Facts, { name, queue }: ActionRow): ProcessRow[] =>
  standing.processes.filter(({ role, actions, queues }) => role === 'worker' && actions.includes(name) && queues.includes(queue ?? ''))

function noWorker(facts: Facts): Cause | undefined {
  const stuck = facts.open.actions.find((action) => action.status === 'running' && workersOf(facts, action).length === 0)
  if (!stuck) return undefined
  const { name, queue, action, requested_at: requestedAt } = stuck
  const workers = facts.standing.processes.filter(({ role }) => role === 'worker')
  return {
    cause: 'no-worker',
    summary: `no worker that runs implements ${name}${queue === null ? '' : ` in queue ${queue}`}`,
    evidence: { action, name, queue, requestedAt, workers: workers.map(({ id, actions, queues }) => ({ id, actions, queues })) },
    byItself: 'the request waits in its topic; the first worker that implements it runs it',
    youCan: [`start a worker that implements ${name}`, 'cancel or terminate the execution'],
  }
}

function retrying(facts: Facts): Cause | undefined {
  const action = facts.open.actions.find(({ status }) => status === 'backing-off')
  if (!action) return undefined
  const { name, attempt, attempts, next_attempt_at: nextAttemptAt } = action
  const lastError = errorOf(action)
  return {
    cause: 'action-retrying',
    summary: `${name} failed ${attempt} of ${attempts} times: ${lastError?.message ?? 'no message'}`,
    evidence: { action: action.action, name, attempt, attempts, lastError, nextAttemptAt, worker: action.worker },
    // Before the runtime's decision is recorded nothing is known of a next attempt, not even that there is one.
    byItself: nextAttemptAt === null ? 'the runtime decides what comes next' : `attempt ${attempt + 1} starts at ${nextAttemptAt}`,
    youCan: ['mend what the error names', 'try it now: POST …/retry', 'cancel the execution'],
  }
}

function attempting(facts: Facts): Cause | undefined {
  const action = facts.open.actions.find(({ status }) => status === 'running')
  if (!action) return undefined
  const { name, attempt, requested_at: requestedAt } = action
  const told = facts.standing.progress.find((one) => one.action === action.action && one.attempt === attempt)
  return {
    cause: 'action-running',
    summary: `attempt ${attempt} of ${name} was asked for at ${requestedAt} and has no outcome yet`,
    evidence: {
      action: action.action,
      name,
      attempt,
      requestedAt,
      waitedMs: Math.max(0, facts.now - Date.parse(requestedAt)),
      lastError: errorOf(action),
      progress: told?.progress == null ? null : (JSON.parse(told.progress) as unknown),
      heartbeatAt: told?.told_at ?? null,
      workers: workersOf(facts, action).map(({ id }) => id),
    },
    byItself: 'its outcome, or its timeout, comes as an event',
    youCan: ['look at the log lines of its workers', 'start more workers if they are busy'],
  }
}

function waiting({ open }: Facts): Cause | undefined {
  const wait = open.waits[0]
  if (!wait) return undefined
  return {
    cause: 'waiting-for-event',
    summary: `it waits for ${wait.names.join(' or ')} since ${wait.started_at}`,
    evidence: { wait: wait.wait, names: wait.names, startedAt: wait.started_at, timeoutAt: wait.timeout_at },
    byItself: wait.timeout_at === null ? 'it waits without an end' : `the wait times out at ${wait.timeout_at}`,
    youCan: [`send the event: POST …/events with event_name ${wait.names.join(' or ')}`, 'cancel the execution'],
  }
}

function sleeping({ open }: Facts): Cause | undefined {
  // Those of retries and of waits are told with what they belong to.
  const timer = open.timers.filter(({ purpose }) => purpose === 'sleep').toSorted((a, b) => a.fire_at.localeCompare(b.fire_at))[0]
  if (!timer) return undefined
  return {
    cause: 'timer',
    summary: `it sleeps until ${timer.fire_at}`,
    evidence: { timer: timer.timer, fireAt: timer.fire_at, startedAt: timer.started_at },
    byItself: `it goes on at ${timer.fire_at}`,
    youCan: ['wait', 'cancel the execution'],
  }
}

const working = ({ open, row }: Facts): Cause => ({
  cause: 'working',
  summary: 'nothing is open: its runtime is deciding, or its next decision is on its way',
  evidence: { decisions: open.decisions, lastSeq: Number(row.last_seq), changedAt: row.changed_at },
  byItself: 'its next event comes within a moment',
  youCan: ['ask again'],
})

const LOOKS: readonly Look[] = [
  ended,
  recorderBehind,
  notDriven,
  parked,
  paused,
  noRuntime,
  unowned,
  noWorker,
  retrying,
  attempting,
  waiting,
  sleeping,
  runtimeBehind,
]

export function diagnose(facts: Facts): Diagnosis {
  const found = LOOKS.map((look) => look(facts)).filter((cause) => cause !== undefined)
  const [first = working(facts), ...others] = found
  const { execution_id: executionId, status, current_state: currentState } = facts.row
  const also = first.cause === 'ended' ? [] : others.map(({ summary }) => summary)
  return { executionId, status, currentState, ...first, also }
}
