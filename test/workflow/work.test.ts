import t from 'tap'
import type { WorkflowEvent } from '../../schemas/generated.ts'
import { applyWork, isWork, noWork, rowsNamed, type Work } from '../../workflow/work.ts'
import { event } from '../support/events.ts'

const START = 1_700_000_000_000
const at = (n: number) => START + n * 1000
const POLICY = { attempts: 3, backoff_ms: 1000, factor: 2, max_ms: 60_000 }
const scheduled = (name = 'reserve') => ({
  name,
  key: null,
  group: null,
  arguments: {},
  parameters: {},
  retry: POLICY,
  timeout_ms: 1,
  guarantee: 'at-least-once',
  queue: 'q',
})

/** Name, payload, decision number; a second apart. */
type Step = [name: string, payload: object | string | null, decision?: number]

const eventOf = ([name, payload, decision = 0]: Step): WorkflowEvent =>
  event({ event_name: name, payload: typeof payload === 'string' ? payload : payload && JSON.stringify(payload), decision })

function workOf(...steps: Step[]): Work {
  const work = noWork()
  for (const [i, step] of steps.entries()) applyWork(work, { event: eventOf(step), appendedAt: at(i) })
  return work
}

t.test('an action: attempts, back-off, result', async (t) => {
  const steps: Step[] = [
    ['action.scheduled', scheduled(), 1],
    ['action.attemptFailed', { action: 1, attempt: 1, worker: 'w1', error: { name: 'Busy', message: 'no stock', code: 'E1' } }],
    ['timer.started', { fire_at: new Date(at(9)).toISOString(), purpose: 'retry', action: 1 }, 2],
  ]
  t.match(workOf(...steps).actions.get(1), {
    status: 'backing-off',
    attempt: 1,
    attempts: 3,
    worker: 'w1',
    queue: 'q',
    lastError: { name: 'Busy', message: 'no stock', code: 'E1' },
    nextAttemptAt: at(9),
    endedAt: null,
  })
  steps.push(['timer.fired', { timer_id: 2 }], ['action.retried', { action: 1, attempt: 2, name: 'reserve' }, 3])
  t.match(workOf(...steps).actions.get(1), { status: 'running', attempt: 2, requestedAt: at(4), nextAttemptAt: null })
  steps.push(
    ['action.completed', { action: 1, attempt: 1, result: 'old' }],
    ['action.completed', { action: 1, attempt: 2, worker: 'w2', result: { a: 1 } }],
  )
  const work = workOf(...steps)
  t.match(work.actions.get(1), { status: 'completed', result: { a: 1 }, startedAt: at(0), endedAt: at(6), worker: 'w2' })
  t.match(work.timers.get(2), { status: 'fired', purpose: 'retry', action: 1, endedAt: at(3) })
})

t.test('an action that fails for good keeps its last error', async (t) => {
  const work = workOf(
    ['action.scheduled', scheduled(), 1],
    ['action.attemptFailed', { action: 1, attempt: 1, error: { name: 'E', message: 'm', retryable: false } }],
    ['action.failed', { action: 1, name: 'reserve', error: { name: 'E', message: 'final' } }, 2],
  )
  t.match(work.actions.get(1), { status: 'failed', lastError: { message: 'final' }, endedAt: at(2) })
})

t.test('a wait: satisfied, timed out, cancelled', async (t) => {
  const waits: Step[] = [
    ['wait.started', { names: ['a', 'b'], timeout_at: new Date(at(60)).toISOString() }, 1],
    ['timer.started', { fire_at: new Date(at(60)).toISOString(), purpose: 'timeout' }, 2],
  ]
  t.match(workOf(...waits).waits.get(1), { status: 'open', names: ['a', 'b'], timeoutAt: at(60) })
  const satisfied = workOf(
    ...waits,
    ['wait.satisfied', { wait: 1, event_id: 'x', event_name: 'b' }, 3],
    ['timer.cancelled', { timer_id: 2 }, 4],
  )
  t.match(satisfied.waits.get(1), { status: 'satisfied', eventId: 'x', eventName: 'b', endedAt: at(2) })
  t.match(satisfied.timers.get(2), { status: 'cancelled', endedAt: at(3) })
  t.match(workOf(...waits, ['timer.fired', { timer_id: 2 }]).waits.get(1), { status: 'timed-out', endedAt: at(2) })
  t.match(workOf(...waits, ['workflow.cancelRequested', {}]).waits.get(1), { status: 'cancelled' })
})

t.test('decisions have the last word: what a replay had decided before the input it had not seen', async (t) => {
  const late = workOf(
    ['wait.started', { names: ['a'] }, 1],
    ['action.scheduled', scheduled(), 2],
    ['workflow.cancelRequested', {}],
    ['wait.satisfied', { wait: 1, event_id: 'x', event_name: 'a' }, 3],
    ['action.completed', { action: 2, attempt: 1, result: 7 }],
    ['action.cancelled', { action: 2, name: 'reserve' }, 4],
  )
  t.match(late.waits.get(1), { status: 'satisfied' })
  t.match(late.actions.get(2), { status: 'cancelled', result: 7 })
})

t.test('the end of an execution leaves nothing open', async (t) => {
  const open: Step[] = [
    ['action.scheduled', scheduled('a'), 1],
    ['action.scheduled', scheduled('b'), 2],
    ['action.completed', { action: 1, attempt: 1, result: null }],
    ['timer.started', { fire_at: new Date(at(60)).toISOString(), purpose: 'sleep' }, 3],
    ['wait.started', { names: ['x'] }, 4],
  ]
  for (const [name, decision] of [
    ['workflow.completed', 5],
    ['workflow.failed', 5],
    ['workflow.cancelled', 5],
    ['workflow.terminateRequested', 0],
  ] as const) {
    const { actions, timers, waits } = workOf(...open, [name, {}, decision])
    t.same(
      [...actions.values(), ...timers.values(), ...waits.values()].map(({ status }) => status),
      ['completed', 'abandoned', 'abandoned', 'abandoned'],
      name,
    )
  }
})

t.test('whatever a payload holds, the tables can hold the rows', async (t) => {
  const strange = workOf(
    ['action.scheduled', '{"name":7,"retry":{"attempts":1e300},"guarantee":null,"queue":[]}', 1],
    ['action.scheduled', 'null', 2],
    ['action.retried', '{"action":1,"attempt":1e300}', 3],
    ['timer.started', '{"fire_at":"2026-01-01T00:00:00.000Z","purpose":{},"action":-1}', 4],
    ['wait.started', '{"names":"x","timeout_at":"+275760-09-13T00:00:00.000Z"}', 5],
    ['wait.started', '{"names":["a",1,null]}', 6],
    ['action.completed', '{"action":9,"attempt":1}'],
    ['timer.fired', '{"timer_id":99999999999}'],
    ['wait.satisfied', '[]', 7],
  )
  t.match(strange.actions.get(1), { name: '', attempts: 1, attempt: 2, guarantee: '', queue: null })
  t.match(strange.actions.get(2), { name: '', attempts: 1 })
  t.match(strange.timers.get(4), { purpose: '', action: null })
  t.match(strange.waits.get(5), { names: [], timeoutAt: null })
  t.same(strange.waits.get(6)?.names, ['a'])
})

t.test('events of others are none of its, and rows they may change are named', async (t) => {
  t.notOk(isWork(event()))
  t.ok(isWork(event({ event_name: 'timer.fired' })))
  t.same(applyWork(noWork(), { event: event({ event_name: 'order.placed', payload: '{"action":1}' }), appendedAt: 1 }), [])
  t.same(rowsNamed({ payload: '{"timer_id":5}' }), [5, 4])
  t.same(rowsNamed({ payload: '{"timer_id":1}' }), [1])
  t.same(rowsNamed({ payload: '{"action":3,"attempt":9}' }), [3])
  t.same(rowsNamed({ payload: '{"wait":3}' }), [3])
  t.same(rowsNamed({ payload: null }), [])
})
