// What follows from an outcome is appended right behind it (decision 0015): a runtime and a recorder on a log in memory, where the test
// itself is the worker, and may let another record come first.

import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import type { WorkflowEvent } from '../../schemas/generated.ts'
import { event } from '../support/events.ts'
import { newId } from '../../workflow/ids.ts'
import { openExecution, type Step } from '../support/one-execution.ts'

const named = (events: readonly WorkflowEvent[]) =>
  events.map(({ event_name: name, decision_seq: seq }) => (seq === 0 ? name : `${name}@${seq}`))

const three: Step = async ({ actions }) => {
  let value = 0
  for (let step = 0; step < 3; step++) value = await actions.next({ after: value })
  return value
}

t.test('what follows from an outcome is right behind it, and says its seq', async (t) => {
  const one = await openExecution(t, three)
  for (let n = 1; n <= 3; n++) await one.tell(await one.request(n), n)
  await one.over()
  t.strictSame(named(await one.records()), [
    'workflow.started',
    'action.scheduled',
    'action.completed',
    'action.scheduled@4',
    'action.completed',
    'action.scheduled@6',
    'action.completed',
    'workflow.completed@8',
  ])
  t.strictSame(one.happened, { foreseen: 3, inVain: 0 })
  t.match(one.state(), { status: 'completed', result: 3 })
})

t.test('a cancel comes first: what was decided ahead does not stand, and nothing is asked for', async (t) => {
  const one = await openExecution(t, three)
  const first = await one.request(1)
  one.meanwhile(() => void one.ask('workflow.cancelRequested'))
  await one.tell(first, 1)
  await one.over()
  t.match(one.state(), { status: 'cancelled' })
  t.strictSame(one.happened, { foreseen: 1, inVain: 1 })
  const names = named(await one.records())
  t.strictSame(names.slice(0, 5), [
    'workflow.started',
    'action.scheduled',
    'workflow.cancelRequested',
    'action.completed',
    'action.scheduled@4',
  ])
  t.ok(names.includes('action.cancelled') && names.includes('workflow.cancelled'), String(names))
  t.equal(one.requested(), 1, 'the action decided ahead was never asked for')
  t.equal(one.parked(), 0)
})

t.test('it is terminated first', async (t) => {
  const one = await openExecution(t, three)
  const first = await one.request(1)
  one.meanwhile(() => void one.ask('workflow.terminateRequested'))
  await one.tell(first, 1)
  await one.over()
  t.match(one.state(), { status: 'terminated' })
  t.equal(one.requested(), 1)
  t.equal(one.parked(), 0)
})

t.test('another outcome of the same attempt comes first: it is the one that counts', async (t) => {
  const one = await openExecution(t, three)
  const first = await one.request(1)
  one.meanwhile(() => void one.others.append(one.ended(first, { result: '100' })))
  await one.tell(first, 1)
  const second = await one.request(2)
  t.match(JSON.parse(second.scheduled), { arguments: { after: 100 } })
  await one.tell(second, 2)
  await one.tell(await one.request(3), 3)
  await one.over()
  t.match(one.state(), { status: 'completed', result: 3 })
  t.equal(one.happened.inVain, 1)
  t.equal(one.parked(), 0)
})

t.test('what asks for the time is not decided ahead: it gets that of the outcome, as in every replay', async (t) => {
  const one = await openExecution(t, async ({ actions, now }) => {
    const times: number[] = []
    for (let step = 0; step < 3; step++) {
      await actions.next({ after: step })
      times.push(now())
    }
    return times
  })
  for (let n = 1; n <= 3; n++) await one.tell(await one.request(n), n)
  await one.over()
  t.strictSame(one.happened, { foreseen: 1, inVain: 1 }, 'the first time it is tried, and never again')
  t.notOk(named(await one.records()).some((name) => name.includes('@')))
  t.match(one.state(), { status: 'completed' })
  t.equal(one.parked(), 0)
})

t.test('the outcome is not written and what was decided on it is, behind an event of somebody else: it does not stand', async (t) => {
  const one = await openExecution(t, three)
  const first = await one.request(1)
  one.meanwhile(() => {
    void one.ask('workflow.cancelRequested')
    return Promise.reject(new Error('too large'))
  })
  await t.rejects(one.tell(first, 1), /too large/)
  await one.over()
  t.match(one.state(), { status: 'cancelled' })
  t.strictSame(named(await one.records()).slice(2, 4), ['workflow.cancelRequested', 'action.scheduled@4'])
  t.equal(one.parked(), 0)
})

t.test('the append of the outcome fails: its caller is told, and may append it again', async (t) => {
  const one = await openExecution(t, three)
  const first = await one.request(1)
  one.meanwhile(() => Promise.reject(new Error('not written')))
  await t.rejects(one.tell(first, 1), /not written/)
  // Made anew: what has no outcome is asked for again.
  const again = await one.request(2)
  t.equal(again.action_id, first.action_id)
  await one.tell(again, 7)
  const third = await one.request(3)
  t.match(JSON.parse(third.scheduled), { arguments: { after: 7 } })
  await one.tell(third, 8)
  await one.tell(await one.request(4), 9)
  await one.over()
  t.match(one.state(), { status: 'completed', result: 9 })
  t.equal(one.parked(), 0)
})

t.test('where something else comes first each time, it is given up but for one in twenty', async (t) => {
  const steps = 40
  const run: Step = async ({ actions }) => {
    for (let step = 0; step < steps; step++) await actions.next({ after: step })
  }
  const one = await openExecution(t, run, { oneIn: 20 })
  // What was asked of a memory that was made anew is asked for again.
  for (let n = 1; !one.isOver();) {
    if (one.requested() < n) {
      await pause(1)
      continue
    }
    const request = await one.request(n++)
    one.meanwhile(() => void one.others.append(event({ tenant: one.tenant, execution_id: one.executionId, event_id: newId() })))
    await one.tell(request, n)
  }
  t.match(one.state(), { status: 'completed' })
  t.ok(one.happened.inVain >= 3 && one.happened.inVain <= 6, `${one.happened.inVain} of ${steps} in vain`)
  t.equal(one.parked(), 0)
})
