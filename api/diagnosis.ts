// Why an execution stands where it stands: pure, from its row, its history, and what runs. The first cause that holds is
// named, what makes the others doubtful first; never a guess: each carries what it rests on. Whatever else holds is told beside it.

import type { ExecutionRow } from '../postgres/reads/executions.ts'
import type { IncidentRow, ProcessRow, Standing } from '../postgres/reads/standing.ts'
import type { ActionRow, OpenWork } from '../postgres/reads/work.ts'
import { isTerminalState } from '../workflow/names.ts'
import { type Due, type Owed, owed } from './due.ts'

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
/** A runtime that did not answer for so long is behind, ms: more than a busy one needs, and than clocks differ. */
const LATE = 2000
/** Of a cause so many are told beside the first; of a wide fan-out the rest is a number. */
const MOST_TOLD = 10

/** `open` less what is due. */
type Known = Omit<Facts, 'open'> & { open: Owed & Pick<OpenWork, 'decisions' | 'pausedAt'> }

type Look = (facts: Known) => Cause | readonly Cause[] | undefined

function ended({ row }: Known): Cause | undefined {
  if (!isTerminalState(row.status)) return undefined
  return {
    cause: 'ended',
    summary: `it is ${row.status}`,
    evidence: { status: row.status, error: row.error === null ? null : (JSON.parse(row.error) as unknown), at: row.changed_at },
    byItself: 'nothing more',
    youCan: ['read its result: GET …/result', 'read its history: GET …/events'],
  }
}

function parked({ standing }: Known): Cause | undefined {
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

function recorderBehind({ standing, logEnd, partition }: Known): Cause | undefined {
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

function notDriven({ row }: Known): Cause | undefined {
  if (row.workflow_version !== null) return undefined
  return {
    cause: 'not-driven',
    summary: 'no workflow function drives it: it is folded from the events sent to it',
    evidence: { state: row.current_state, changedAt: row.changed_at },
    byItself: 'it moves with the next event that a producer sends',
    youCan: ['send its next event: POST …/events'],
  }
}

function paused({ row, open }: Known): Cause | undefined {
  if (row.status !== 'paused') return undefined
  return {
    cause: 'paused',
    summary: `it was paused at ${open.pausedAt ?? row.changed_at}`,
    evidence: { pausedAt: open.pausedAt },
    byItself: 'events wait in the log, in their order, until it is resumed',
    youCan: ['resume it: POST …/resume', 'cancel it (that resumes it too)'],
  }
}

const runtimesOf = ({ row, standing }: Known): ProcessRow[] =>
  standing.processes.filter(
    ({ role, workflows }) => role === 'runtime' && workflows.includes(`${row.workflow_name}\n${row.workflow_version}`),
  )

function noRuntime(facts: Known): Cause | undefined {
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

function unowned(facts: Known): Cause | undefined {
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

const recorderOf = ({ standing }: Known) => standing.checkpoints.find(({ reader }) => reader === 'recorder')

/** Nothing that the log holds is unknown here. */
const isRecorded = (facts: Known) => facts.logEnd !== undefined && facts.logEnd <= (recorderOf(facts)?.next ?? 0)

/** What a runtime that is there should answer. */
function dueOf(facts: Known): readonly Due[] {
  const { row, standing, open } = facts
  const isHeld = isTerminalState(row.status) || row.status === 'paused' || standing.incidents.length > 0
  return isHeld || runtimesOf(facts).length === 0 ? [] : open.due
}

function runtimeBehind(facts: Known): readonly Cause[] {
  const { partition, standing, logEnd, now } = facts
  // What is not recorded yet may be the answer.
  if (!isRecorded(facts)) return []
  const runtimes = runtimesOf(facts)
  const owners = runtimes.filter(({ partitions }) => partitions.includes(partition))
  const asked = owners.length > 0 ? owners : runtimes
  const checkpoint = standing.checkpoints.find(({ reader }) => reader === `runtime.${asked[0]?.deployment}`)
  const late = dueOf(facts).filter(({ since }) => now - Date.parse(since) > LATE)
  return late.map(({ what, since, evidence }) => ({
    cause: 'runtime-behind',
    summary: `${what}, and its runtime has not answered`,
    evidence: {
      ...evidence,
      since,
      lateMs: now - Date.parse(since),
      partition,
      runtimes: asked.map(({ id, deployment, seen_at: seenAt }) => ({ id, deployment, seenAt })),
      checkpoint: checkpoint ? { next: checkpoint.next, movedAt: checkpoint.moved_at } : null,
      logEnd,
    },
    byItself: 'it goes on when its runtime does, or when another of its deployment takes over; one that hangs counts as gone after 30 s',
    youCan: [
      'look at the seenAt of its runtime (told every 5 s), its /readyz and log lines; restart one that hangs',
      'start more runtimes of this deployment',
    ],
  }))
}

/** The newest attempt's error. */
const errorOf = ({ last_error: text }: ActionRow) => (text === null ? null : (JSON.parse(text) as { message?: string }))

const workersOf = ({ standing }: Known, { name, queue }: ActionRow): ProcessRow[] =>
  standing.processes.filter(({ role, actions, queues }) => role === 'worker' && actions.includes(name) && queues.includes(queue ?? ''))

const running = ({ open }: Known) => open.actions.filter(({ status }) => status === 'running')

function noWorker(facts: Known): readonly Cause[] {
  const workers = facts.standing.processes.filter(({ role }) => role === 'worker')
  const stuck = running(facts).filter((action) => workersOf(facts, action).length === 0)
  return stuck.map(({ name, queue, action, requested_at: requestedAt }) => ({
    cause: 'no-worker',
    summary: `no worker that runs implements ${name}${queue === null ? '' : ` in queue ${queue}`}`,
    evidence: { action, name, queue, requestedAt, workers: workers.map(({ id, actions, queues }) => ({ id, actions, queues })) },
    byItself: 'the request waits in its topic; the first worker that implements it runs it',
    youCan: [`start a worker that implements ${name}`, 'cancel or terminate the execution'],
  }))
}

function retry(action: ActionRow): Cause {
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

const retrying = ({ open }: Known): readonly Cause[] => open.actions.filter(({ status }) => status === 'backing-off').map(retry)

function attempting(facts: Known): readonly Cause[] {
  const manned = running(facts).map((action) => ({ action, workers: workersOf(facts, action) }))
  return manned.filter(({ workers }) => workers.length > 0).map(({ action, workers }) => attemptOf(facts, action, workers))
}

function attemptOf({ standing, now }: Known, action: ActionRow, workers: readonly ProcessRow[]): Cause {
  const { name, attempt, requested_at: requestedAt } = action
  const told = standing.progress.find((one) => one.action === action.action && one.attempt === attempt)
  return {
    cause: 'action-running',
    summary: `attempt ${attempt} of ${name} was asked for at ${requestedAt} and has no outcome yet`,
    evidence: {
      action: action.action,
      name,
      attempt,
      requestedAt,
      waitedMs: Math.max(0, now - Date.parse(requestedAt)),
      lastError: errorOf(action),
      progress: told?.progress == null ? null : (JSON.parse(told.progress) as unknown),
      heartbeatAt: told?.told_at ?? null,
      workers: workers.map(({ id }) => id),
    },
    byItself: 'its outcome, or its timeout, comes as an event',
    youCan: ['look at the log lines of its workers', 'start more workers if they are busy'],
  }
}

const waiting = ({ open }: Known): readonly Cause[] =>
  open.waits.map((wait) => ({
    cause: 'waiting-for-event',
    summary: `it waits for ${wait.names.join(' or ')} since ${wait.started_at}`,
    evidence: { wait: wait.wait, names: wait.names, startedAt: wait.started_at, timeoutAt: wait.timeout_at },
    byItself: wait.timeout_at === null ? 'it waits without an end' : `the wait times out at ${wait.timeout_at}`,
    youCan: [`send the event: POST …/events with event_name ${wait.names.join(' or ')}`, 'cancel the execution'],
  }))

/** The first to fire first. */
const sleeping = ({ open }: Known): readonly Cause[] =>
  open.timers
    // Those of retries and of waits are told with what they belong to.
    .filter(({ purpose }) => purpose === 'sleep')
    .toSorted((a, b) => a.fire_at.localeCompare(b.fire_at))
    .map(({ timer, fire_at: fireAt, started_at: startedAt }) => ({
      cause: 'timer',
      summary: `it sleeps until ${fireAt}`,
      evidence: { timer, fireAt, startedAt },
      byItself: `it goes on at ${fireAt}`,
      youCan: ['wait', 'cancel the execution'],
    }))

function working(facts: Known): Cause {
  const { open, row, logEnd } = facts
  const recorder = recorderOf(facts)?.next ?? 0
  const unknown =
    logEnd === undefined ? 'the log does not answer now' : `${logEnd - recorder} records of its partition are not recorded yet`
  const why = isRecorded(facts)
    ? 'its runtime is deciding, or its next decision is on its way'
    : `its next decision may be there: ${unknown}`
  return {
    cause: 'working',
    summary: `${open.due[0]?.what ?? 'nothing is open'}: ${why}`,
    evidence: { ...open.due[0]?.evidence, decisions: open.decisions, lastSeq: Number(row.last_seq), changedAt: row.changed_at },
    byItself: 'its next event comes within a moment',
    youCan: ['ask again'],
  }
}

/** What is due and not late, as far as can be known. */
const answering = (facts: Known) => (dueOf(facts).length > 0 && runtimeBehind(facts).length === 0 ? working(facts) : undefined)

const LOOKS: readonly Look[] = [
  ended,
  recorderBehind,
  notDriven,
  parked,
  paused,
  noRuntime,
  unowned,
  runtimeBehind,
  noWorker,
  retrying,
  attempting,
  answering,
  waiting,
  sleeping,
]

/** Of each cause its own share, so that none hides another. */
function beside(causes: readonly Cause[]): string[] {
  const groups = Map.groupBy(causes, ({ cause }) => cause)
  return [...groups].flatMap(([cause, all]) => [
    ...all.slice(0, MOST_TOLD).map(({ summary }) => summary),
    ...(all.length > MOST_TOLD ? [`and ${all.length - MOST_TOLD} more: ${cause}`] : []),
  ])
}

export function diagnose(facts: Facts): Diagnosis {
  const { decisions, pausedAt } = facts.open
  const known: Known = { ...facts, open: { ...owed(facts.open, facts.now), decisions, pausedAt } }
  const found = LOOKS.flatMap((look) => look(known) ?? [])
  const [first = working(known), ...others] = found
  const { execution_id: executionId, status, current_state: currentState } = facts.row
  return { executionId, status, currentState, ...first, also: first.cause === 'ended' ? [] : beside(others) }
}
