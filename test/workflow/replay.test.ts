// Replay by what it decides: the real accept, fold and replay on a history in memory.

import t from 'tap'
import { z } from 'zod'
import { runWorkflow } from '../../testing/run-workflow.ts'
import { defineAction } from '../../workflow/action.ts'
import { ActionFailed, WorkflowCancelled } from '../../workflow/failures.ts'
import { createReplay } from '../../workflow/replay.ts'
import { defineWorkflow } from '../../workflow/workflow.ts'

const double = defineAction({ name: 'double', parameters: z.object({ of: z.number() }), result: z.number() })
const flaky = defineAction({ name: 'flaky', parameters: z.object({}), result: z.string(), retry: { attempts: 3, backoff: '10 s' } })
const doubled = { double: ({ parameters }: { parameters: unknown }) => (parameters as { of: number }).of * 2 }

const names = (run: { history: readonly { event: { event_name: string } }[] }) => run.history.map(({ event }) => event.event_name)

for (const crashAfterEachRecord of [false, true])
  t.test(`parallel actions, data, state and result; replay from zero at every record: ${crashAfterEachRecord}`, async (t) => {
    const sum = defineWorkflow(
      { name: 'sum', version: '1', input: z.object({ a: z.number(), b: z.number() }), actions: { double } },
      async (context) => {
        context.setState('doubling')
        const [a, b] = await Promise.all([context.actions.double({ of: context.input.a }), context.actions.double({ of: context.input.b })])
        context.data.set('sum', a + b)
        context.setState('done')
        return { sum: a + b, at: context.now(), id: context.uuid(), chance: context.random() }
      },
    )
    const run = await runWorkflow(sum, { input: { a: 1, b: 2 }, actions: doubled, crashAfterEachRecord, copies: 2 })
    t.equal(run.state.status, 'completed')
    t.match(run.state.result, { sum: 6, at: Number, id: /^[0-9a-f-]{36}$/ })
    t.equal(run.state.currentState, 'done')
    t.equal(run.state.data['sum'], 6)
    t.strictSame(run.attempts, new Map([['double', 2]]))
    t.equal(run.refused, run.history.length, 'of each record one copy counts')
  })

t.test('a failed attempt is tried again after a logged timer, with its back-off, and then gives up', async (t) => {
  const once = defineWorkflow({ name: 'once', version: '1', actions: { flaky } }, async ({ actions }) => actions.flaky({}))
  const run = await runWorkflow(once, {
    actions: {
      flaky: ({ attempt }) => {
        if (attempt < 3) throw new Error(`not at ${attempt}`)
        return 'at last'
      },
    },
  })
  t.equal(run.state.result, 'at last')
  const waits = run.history
    .filter(({ event }) => event.event_name === 'timer.fired')
    .map(({ appendedAt }) => appendedAt - run.history[0]!.appendedAt)
  t.strictSame(waits, [10_000, 30_000])
  const lost = await runWorkflow(once, {
    actions: {
      flaky: () => {
        throw new Error('never')
      },
    },
  })
  t.equal(lost.state.status, 'failed')
  t.match(lost.state.error, { name: 'ActionFailed', message: 'flaky failed after 3 attempts: never' })
})

t.test('a wait finds an event sent before it, times out on the log, and has one winner', async (t) => {
  const waits = defineWorkflow({ name: 'waits', version: '1', actions: { double } }, async ({ actions, events }) => {
    await actions.double({ of: 1 })
    const early = await events.waitFor('hello', { timeout: '1 s' })
    const never = await events.waitFor(['goodbye'], { timeout: '3 days' })
    return { early: early?.payload, never }
  })
  const run = await runWorkflow(waits, { actions: doubled, events: [{ name: 'hello', payload: { n: 1 } }] })
  t.strictSame(run.state.result, { early: { n: 1 }, never: null })
  t.equal(run.history.at(-1)!.appendedAt - run.history[0]!.appendedAt, 3 * 86_400_000)
  const came = await runWorkflow(waits, { actions: doubled, events: [{ name: 'hello' }, { name: 'goodbye', after: 1000 }] })
  t.match(came.state.result, { never: { name: 'goodbye' } })
  t.ok(names(came).includes('timer.cancelled'))
})

t.test('cancel rejects what the function waits on, and lets it undo what it did', async (t) => {
  const undo = defineWorkflow({ name: 'undo', version: '1', actions: { double } }, async ({ actions, events }) => {
    try {
      await events.waitFor('go')
    } catch (error) {
      await actions.double({ of: 2 })
      throw error
    }
  })
  const run = await runWorkflow(undo, {
    actions: doubled,
    events: [{ name: 'workflow.cancelRequested', payload: { reason: 'enough' }, after: 5 }],
  })
  t.equal(run.state.status, 'cancelled')
  t.match(run.state.error, { name: 'WorkflowCancelled', message: 'cancelled: enough' })
  t.equal(run.attempts.get('double'), 1)
  t.ok(new WorkflowCancelled('x') instanceof Error && ActionFailed)
})

t.test('what comes while paused is fed at resume, in log order', async (t) => {
  const two = defineWorkflow({ name: 'two', version: '1' }, async ({ events }) => [
    (await events.waitFor('a')).payload,
    (await events.waitFor('a')).payload,
  ])
  const run = await runWorkflow(two, {
    events: [
      { name: 'workflow.pauseRequested', after: 1 },
      { name: 'a', payload: 1, after: 2 },
      { name: 'a', payload: 2, after: 3 },
      { name: 'workflow.resumeRequested', after: 4 },
    ],
  })
  t.strictSame(run.state.result, [1, 2])
  const satisfied = run.history.find(({ event }) => event.event_name === 'wait.satisfied')
  t.ok(satisfied!.seq > run.history.find(({ event }) => event.event_name === 'workflow.resumeRequested')!.seq)
})

t.test('an event that a workflow emits is read as its own input', async (t) => {
  const own = defineWorkflow({ name: 'own', version: '1' }, async ({ events }) => {
    events.emit('note', { n: 7 })
    return (await events.waitFor('note')).payload
  })
  t.strictSame((await runWorkflow(own)).state.result, { n: 7 })
})

t.test('a function that awaits something foreign is named, at once or at its next call', async (t) => {
  const foreign = defineWorkflow({ name: 'foreign', version: '1' }, async ({ setState }) => {
    await new Promise((resolve) => setImmediate(resolve))
    setState('late')
  })
  const run = await runWorkflow(foreign)
  t.match(run.divergence, { step: 1, reason: /awaits something that is not of its context/ })
  t.equal(run.history.length, 1, 'nothing is written')
})

t.test('code that no longer fits its history diverges with the step, what was expected and what it got', async (t) => {
  const before = defineWorkflow({ name: 'changed', version: '1', actions: { double } }, async ({ actions }) => {
    await actions.double({ of: 1 })
    await actions.double({ of: 2 })
  })
  const after = defineWorkflow({ name: 'changed', version: '1', actions: { double } }, async ({ actions }) => {
    await actions.double({ of: 1 })
    await actions.double({ of: 3 })
  })
  const { history } = await runWorkflow(before, { actions: doubled })
  const [first] = history
  const replay = createReplay({ workflow: after, tenant: first!.event.tenant, executionId: first!.event.execution_id })
  for (const fed of history) await replay.feed(fed)
  t.equal(replay.status, 'diverged')
  t.match(replay.divergence, { step: 2, expected: /"of":2/, got: /"of":3/ })
})

t.test('an unknown action names near ones; wrong parameters and input fail the execution with what is wrong', async (t) => {
  const wrong = defineWorkflow({ name: 'wrong', version: '1', actions: { double } }, async ({ actions }) =>
    (actions as unknown as Record<string, () => Promise<unknown>>)['duoble']!(),
  )
  t.match((await runWorkflow(wrong)).state.error, { name: 'InvalidCall', message: /no action duoble .* double/ })
  const bad = defineWorkflow(
    { name: 'bad', version: '1', input: z.object({ n: z.number() }), actions: { double } },
    async ({ actions, input }) => actions.double({ of: input.n }),
  )
  t.match((await runWorkflow(bad, { input: { n: 'x' } })).state.error, { name: 'InputInvalid', message: /^n: / })
})

t.test('an event of a test comes at its time, which may be written as authors write times', async (t) => {
  const waits = defineWorkflow({ name: 'waits', version: '1' }, async ({ events, now }) => {
    const began = now()
    await events.waitFor(['go'])
    return now() - began
  })
  for (const after of ['2 hours', 7_200_000])
    t.equal((await runWorkflow(waits, { events: [{ name: 'go', after }] })).state.result, 7_200_000)
  await t.rejects(runWorkflow(waits, { events: [{ name: 'go', after: 'soon' }] }), /"soon" is no length of time/)
})

t.test('a length of time that is none is told with its action and its option', async (t) => {
  const of = (options: object) => () => defineAction({ name: 'late', parameters: z.object({}), result: z.object({}), ...options })
  for (const [option, options] of Object.entries({
    timeout: { timeout: 'soon' },
    heartbeat: { heartbeat: 'soon' },
    'retry.backoff': { retry: { backoff: 'soon' } },
  }))
    t.throws(of(options), { name: 'TypeError', message: `action late: ${option}: "soon" is no length of time` })
})

t.test('the end of the function is the last decision, whatever comes before it is read back', async (t) => {
  const once = defineAction({ name: 'once', parameters: z.object({}), result: z.string(), retry: { attempts: 1 } })
  const race = defineWorkflow({ name: 'race', version: '1', actions: { double, once } }, async ({ actions, events, setState }) => {
    const winner = actions.double({ of: 1 })
    const loser = actions.once({}).catch(() => setState('regretted'))
    void events.waitFor('never')
    return Promise.race([winner, loser])
  })
  const { history } = await runWorkflow(race, { actions: { ...doubled, once: () => 'lost' } })
  const at = (name: string) => history.find(({ event }) => event.event_name === name)!
  const { tenant, execution_id: executionId } = at('workflow.started').event
  const lost = {
    ...at('action.completed').event,
    event_name: 'action.attemptFailed',
    payload: JSON.stringify({ action: 2, attempt: 1, error: { name: 'Error', message: 'no', retryable: false } }),
  }
  for (const late of [
    [lost],
    [{ ...lost, event_name: 'workflow.cancelRequested', payload: null }],
    [lost, { ...lost, event_name: 'never', payload: null }],
  ]) {
    const replay = createReplay({ workflow: race, tenant, executionId })
    const before = history.slice(0, history.indexOf(at('action.completed')) + 1)
    for (const fed of before) await replay.feed(fed)
    const decided = replay.decisions.map(({ event_name: name }) => name)
    t.equal(decided.at(-1), 'workflow.completed')
    for (const event of late) await replay.feed({ event, seq: 99, appendedAt: before.at(-1)!.appendedAt + 1 })
    t.equal(replay.status, 'running', 'not taken for a function that waits for ever')
    t.strictSame(
      replay.decisions.map(({ event_name: name }) => name),
      decided,
    )
    for (const event of replay.decisions.slice(replay.readBack)) await replay.feed({ event, seq: 100, appendedAt: 1 })
    t.equal(replay.status, 'ended')
  }
})
