// The diagnosis, from facts to its cause and what is told beside it.

import t from 'tap'
import { diagnose, type Facts } from '../../api/diagnosis.ts'
import type { ExecutionRow } from '../../postgres/reads/executions.ts'
import type { ProcessRow } from '../../postgres/reads/standing.ts'
import type { ActionRow, EventPlace, TimerRow, WaitRow } from '../../postgres/reads/work.ts'

const NOW = Date.parse('2026-01-01T12:00:00.000Z')
const ago = (ms: number) => new Date(NOW - ms).toISOString()

const row: ExecutionRow = {
  execution_id: 'x',
  tenant: 'tenant-a',
  partition: 3,
  status: 'running',
  current_state: 'open',
  data: '{}',
  last_seq: '4',
  last_offset: '17',
  workflow_name: 'order',
  workflow_version: '1',
  business_key: null,
  correlation_id: null,
  result: null,
  error: null,
  opened_at: ago(60_000),
  changed_at: ago(50_000),
}
const runtime: ProcessRow = {
  id: 'runtime-1',
  role: 'runtime',
  deployment: 'main',
  workflows: ['order\n1'],
  actions: [],
  queues: [],
  partitions: [3],
  seen_at: ago(14_000),
}
const worker: ProcessRow = { ...runtime, id: 'worker-1', role: 'worker', deployment: null, workflows: [], actions: ['pay'], queues: [''] }
const wait = (n: number, ...names: string[]): WaitRow => ({ wait: n, names, started_at: ago(50_000), timeout_at: null })
const timer = (n: number, inMs: number, purpose = 'sleep'): TimerRow => ({
  timer: n,
  purpose,
  action: null,
  fire_at: ago(-inMs),
  started_at: ago(50_000),
})
const action = (n: number, name = 'pay', changes: Partial<ActionRow> = {}): ActionRow => ({
  action: n,
  name,
  queue: null,
  key: null,
  guarantee: 'at-least-once',
  status: 'running',
  attempt: 1,
  attempts: 3,
  worker: null,
  last_error: null,
  result: null,
  scheduled_at: ago(50_000),
  requested_at: ago(50_000),
  next_attempt_at: null,
  ended_at: null,
  ...changes,
})
const came = (name: string, ms: number): EventPlace => ({
  event_id: `id-${name}`,
  event_name: name,
  partition: 3,
  log_offset: '17',
  appended_at: ago(ms),
})
const failing = (n: number, nextInMs: number | null) =>
  action(n, 'pay', {
    status: 'backing-off',
    last_error: '{"name":"E","message":"503"}',
    next_attempt_at: nextInMs === null ? null : ago(-nextInMs),
  })

/** A running execution whose runtime, worker and recorder are there. */
function told(open: Partial<Facts['open']>, { processes = [runtime, worker], next = 20, ...facts }: Changes = {}) {
  const checkpoint = (reader: string, at: number) => ({ reader, next: at, moved_at: ago(14_000), idle_ms: 14_000 })
  const checkpoints = [checkpoint('recorder', next), checkpoint('runtime.main', 15)]
  return diagnose({
    row,
    open: {
      actions: [],
      timers: [],
      waits: [],
      unanswered: [],
      newest: came('order.placed', 50_000),
      decisions: 2,
      pausedAt: null,
      ...open,
    },
    standing: { incidents: [], processes, checkpoints, progress: [] },
    partition: 3,
    logEnd: 20,
    now: NOW,
    ...facts,
  })
}
type Changes = Partial<Facts> & { processes?: ProcessRow[]; next?: number }

t.test('an event that an open wait takes is what its runtime has to answer', async (t) => {
  const go = { ...came('go', 14_000), kind: 'wanted' as const }
  const hangs = told({ waits: [wait(1, 'go')], unanswered: [go] })
  t.match(hangs, {
    cause: 'runtime-behind',
    summary: /^go, .* came at p3:17, 2026-01-01T11:59:46.000Z, and its runtime has not answered$/,
    evidence: {
      event: 'go',
      wait: 1,
      position: 'p3:17',
      since: ago(14_000),
      lateMs: 14_000,
      runtimes: [{ id: 'runtime-1', deployment: 'main', seenAt: ago(14_000) }],
      checkpoint: { next: 15, movedAt: ago(14_000) },
      logEnd: 20,
    },
    also: [],
  })
  const other = told({ waits: [wait(1, 'go'), wait(2, 'go', 'stop')], unanswered: [go] })
  t.equal(other.cause, 'runtime-behind')
  t.match(other.also, [/waits for go or stop/], 'one event answers one wait, the oldest')
  const early = told({ waits: [{ ...wait(1, 'go'), started_at: ago(100) }], unanswered: [go] })
  t.equal(early.cause, 'working', 'an event that came before its wait is late only from the wait on')

  t.match(told({ waits: [wait(1, 'go')], unanswered: [go] }, { processes: [worker] }), { cause: 'no-runtime', also: [] })
  const paused = { row: { ...row, status: 'paused' } }
  t.match(told({ waits: [wait(1, 'go')], unanswered: [go] }, paused), { cause: 'paused', also: [] }, 'it is held')
})

t.test('a timer past its time, a failed attempt, a cancel and a function that waits for nothing are too', async (t) => {
  const late = told({ timers: [timer(1, -12_000), timer(2, 60_000)] })
  t.match(late, {
    cause: 'runtime-behind',
    summary: /^its sleep was due at 2026-01-01T11:59:48/,
    evidence: { timer: 1, fireAt: ago(12_000) },
  })
  t.match(late.also, [/sleeps until 2026-01-01T12:01/], 'of what is not due yet, the time is true')
  const timeout = told({ waits: [wait(1, 'go')], timers: [timer(2, -12_000, 'timeout')] })
  t.match(timeout, { cause: 'runtime-behind', summary: /^the timeout of its wait was due/, also: [] })
  const retry = told({ actions: [failing(1, -12_000)], timers: [{ ...timer(2, -12_000, 'retry'), action: 1 }] })
  t.match(retry, { cause: 'runtime-behind', summary: /^the next attempt was due/, evidence: { action: 1 }, also: [] })
  const failed = told({ actions: [failing(1, null)], unanswered: [{ ...came('action.attemptFailed', 12_000), kind: 'failed' }] })
  t.match(failed, { cause: 'runtime-behind', summary: /^the failure of an attempt came at p3:17/, also: [/pay failed 1 of 3/] })
  const cancelled = told({
    timers: [timer(1, 60_000)],
    unanswered: [{ ...came('workflow.cancelRequested', 12_000), kind: 'cancel' }],
  })
  t.match(cancelled, { cause: 'runtime-behind', summary: /^the request to cancel it came/ })
  t.match(told({}), {
    cause: 'runtime-behind',
    summary: /^its newest event, order.placed, came at p3:17/,
    evidence: { since: ago(50_000) },
  })
  const dead = told({ timers: [timer(1, -12_000)] }, { processes: [runtime, { ...runtime, id: 'other', partitions: [1] }] })
  t.match(dead.evidence['runtimes'], [{ id: 'runtime-1' }])
  t.equal((dead.evidence['runtimes'] as object[]).length, 1, 'the one that has its partition')
})

t.test('what came just now is being answered', async (t) => {
  const go = { ...came('go', 300), kind: 'wanted' as const }
  t.match(told({ newest: came('order.placed', 300) }), {
    cause: 'working',
    summary: /order.placed, came at p3:17, .*: its runtime is deciding/,
    evidence: { decisions: 2, lastSeq: 4, changedAt: row.changed_at },
  })
  t.match(told({ waits: [wait(1, 'go')], unanswered: [go] }), { cause: 'working', summary: /^go, .*: its runtime is deciding/, also: [] })
  t.match(told({ timers: [timer(1, -300), timer(2, 60_000)] }), { cause: 'working', also: [/sleeps until/] })
})

t.test('no runtime is blamed for what may wait for the recorder', async (t) => {
  const due = { timers: [timer(1, -12_000)] }
  t.match(told(due, { logEnd: 27 }), {
    cause: 'recorder-behind',
    summary: /p3:20, 7 records behind/,
    evidence: { checkpoint: 20, logEnd: 27 },
  })
  const checkpoints = [{ reader: 'recorder', next: 20, moved_at: ago(10), idle_ms: 10 }]
  const moving = told(due, { logEnd: 27, standing: { incidents: [], processes: [runtime], checkpoints, progress: [] } })
  t.match(moving, { cause: 'working', summary: /its next decision may be there: 7 records of its partition are not recorded yet/ })
  t.match(told(due, { logEnd: undefined }), { cause: 'working', summary: /the log does not answer now/ })
})

t.test('all that is open is told, of each kind ten', async (t) => {
  const both = told({ waits: [wait(1, 'a'), wait(2, 'b')], timers: [timer(3, 60_000), timer(4, 30_000)] })
  t.match(both, { cause: 'waiting-for-event', evidence: { names: ['a'] } })
  t.match(both.also, [/waits for b/, /sleeps until 2026-01-01T12:00:30/, /sleeps until 2026-01-01T12:01:00/])
  const many = Array.from({ length: 30 }, (_, i) => action(i + 1))
  const wide = told({
    actions: [...many, action(31, 'ship'), action(32, 'pack'), failing(33, 60_000), failing(34, 60_000)],
    waits: [wait(35, 'a')],
  })
  t.match(wide, { cause: 'no-worker', evidence: { name: 'ship' } })
  t.match(wide.also.slice(0, 3), [/implements pack/, /pay failed/, /pay failed/])
  t.equal(wide.also.filter((line) => /attempt 1 of pay/.test(line)).length, 10)
  t.match(wide.also.slice(-2), ['and 20 more: action-running', /waits for a/], 'one kind hides no other')
})
