// The author's kit, as an author uses it.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { z } from 'zod'
import { orderFulfilment, pack } from '../../examples/order-fulfilment/workflow.ts'
import { ActionFailed, defineAction, defineWorkflow } from '../../index.ts'
import { replayHistory, runWorkflow, tryAll } from '../../testing/index.ts'

const actions = {
  reserve_stock: () => ({ reservation: 'r1' }),
  check_credit: () => ({ approved: true }),
  charge: ({ attempt }: { attempt: number }) => {
    if (attempt < 3) throw new Error('503')
    return { payment: 'p1' }
  },
  pack: () => ({ parcel: 'x' }),
  release_stock: () => ({ released: true }),
}
const input = { order: 'o1', amount: 2000, lines: 3 }

t.test('one call tries a workflow in all the ways its life may go', async (t) => {
  const run = await tryAll(orderFulfilment, { input, actions, events: [{ name: 'order.approved' }] })
  t.strictSame(run.state.result, { outcome: 'shipped', parcels: 3 })
})

t.test('what is the same at each replay is the same in all of its ways, however its execution is named', async (t) => {
  const ids = defineWorkflow(
    { name: 'ids', version: '1', actions: { pack } },
    async ({ actions: { pack: run }, events, uuid, random, now, executionId }) => {
      const begun = now()
      await run({ order: 'o1', line: 1 })
      const { id } = await events.waitFor('go')
      return { begun, id, executionId, uuid: uuid(), random: random() }
    },
  )
  const events = [{ name: 'go' }]
  const plain = await tryAll(ids, { actions, events })
  const named = await tryAll(ids, { actions, events, key: 'another', startAt: Date.UTC(2030, 0, 1) })
  t.not(named.state.executionId, plain.state.executionId)
})

t.test('a race that the order of inputs decides: the failure says how it is tried', async (t) => {
  const race = defineWorkflow({ name: 'race', version: '1', actions: { pack } }, async ({ actions: { pack: run }, sleep }) =>
    Promise.race([run({ order: 'o1', line: 1 }).then(() => 'packed'), sleep(1000).then(() => 'late')]),
  )
  await t.rejects(tryAll(race, { actions }), /two runtimes, order \d+: it ended with .*"late".*seeds: 0/)
  t.equal((await tryAll(race, { actions, seeds: 0 })).state.result, 'packed')
})

t.test('a workflow that rests on something outside is found', async (t) => {
  let calls = 0
  const leaky = defineWorkflow({ name: 'leaky', version: '1' }, async ({ sleep }) => {
    await sleep(1000)
    return ++calls
  })
  await t.rejects(tryAll(leaky), /its memory lost after every record: it diverged at step 2, .*: expected .*"result":2}, got .*"result":3}/)
})

t.test('a history that was exported is replayed on today’s code', async (t) => {
  // Printed by `refold executions export`; test/docs/testing.test.ts runs the command.
  const text = readFileSync(path.join(import.meta.dirname, '../../examples/order-fulfilment/history.json'), 'utf8')
  t.equal(await replayHistory(orderFulfilment, text), undefined)
  const changed = defineWorkflow(
    { name: 'order-fulfilment', version: '1', actions: orderFulfilment.actions },
    async ({ setState, events }) => {
      setState('reserving')
      await events.waitFor('order.approved')
    },
  )
  t.match(await replayHistory(changed, text), { step: 2, expected: /action.scheduled/, got: /wait.started/ })
})

t.test('a decision that is another one at each replay: the failure says which, and both of it', async (t) => {
  let at = 0
  const drifting = defineWorkflow({ name: 'drifting', version: '1', actions: { pack } }, async ({ actions: { pack: run }, sleep }) => {
    await sleep(1000)
    return run({ order: 'o1', line: ++at })
  })
  await t.rejects(
    tryAll(drifting, { actions }),
    /its memory lost after every record: it diverged at step 2, this code decides otherwise than the history: expected action\.scheduled .*"line":2.*, got action\.scheduled .*"line":3/,
  )
})

t.test('the same where only a shuffled order finds it', async (t) => {
  let replays = 0
  // Undisturbed it is one; each of the ways before the shuffled orders starts it a number of times that is known.
  const late = defineWorkflow({ name: 'late', version: '1', actions: { pack } }, async ({ actions: { pack: run } }) => {
    const line = ++replays > before ? replays : 1
    return run({ order: 'o1', line })
  })
  let before = Infinity
  await tryAll(late, { actions, seeds: 0 })
  before = replays * 2
  await t.rejects(tryAll(late, { actions }), /two runtimes, order 1: it diverged at step 1, this code decides otherwise.*expected .*, got /)
})

t.test('a result that the log cannot hold is refused as at a worker, and not tried again', async (t) => {
  const refused = [
    [
      'x'.repeat(999_000),
      'too-large',
      /^fetch failed after 1 attempt: its result cannot be kept in the log: the outcome has 999\d\d\d bytes/,
    ],
    ['a\0b', 'not-storable', /: its result cannot be kept in the log: payload has NUL/],
    [JSON.parse('['.repeat(70) + ']'.repeat(70)), 'too-deep', /: its result cannot be kept in the log: payload is nested/],
  ] as const
  const fetch = defineAction({ name: 'fetch', parameters: z.object({}), result: z.unknown() })
  const reader = defineWorkflow({ name: 'reader', version: '1', actions: { fetch } }, async ({ actions }) => {
    const failure: unknown = await actions.fetch({}).catch((error: unknown) => error)
    return failure instanceof ActionFailed ? { name: failure.errorName, code: failure.code, message: failure.message } : 'kept'
  })
  for (const [result, code, message] of refused) {
    const run = await tryAll(reader, { actions: { fetch: () => result }, seeds: 3 })
    t.match(run.state.result, { name: 'ResultInvalid', code, message })
    t.equal(run.attempts.get('fetch'), 1)
  }
  t.equal((await runWorkflow(reader, { actions: { fetch: () => 'x'.repeat(990_000) } })).state.result, 'kept', 'one that just fits')
})

t.test('an event comes at its time in all of its ways, so the function is told the same time, and a wait ends as it must', async (t) => {
  const timed = defineWorkflow({ name: 'timed', version: '1', actions: { pack } }, async ({ actions: { pack: run }, events, now }) => {
    const begun = now()
    await run({ order: 'o1', line: 1 })
    const none = await events.waitFor('late', { timeout: '1 hour' })
    const late = await events.waitFor('late')
    return { none, late: late.name, after: now() - begun }
  })
  const run = await tryAll(timed, { actions, events: [{ name: 'late', after: '2 hours' }] })
  t.strictSame(run.state.result, { none: null, late: 'late', after: 7_200_000 })
})

t.test('a timeout whose time is before an event ends its wait in every order, whatever sleeps beside it', async (t) => {
  const days = (n: number) => `${n} days` as const
  const first = defineWorkflow({ name: 'first', version: '1' }, async ({ events, sleep }) => {
    const [came] = await Promise.all([events.waitFor('x', { timeout: days(3) }), sleep(days(10))])
    return came ? 'came' : 'timed out'
  })
  const last = defineWorkflow({ name: 'last', version: '1' }, async ({ events, sleep }) => {
    const [, came] = await Promise.all([sleep(days(10)), events.waitFor('x', { timeout: days(3) })])
    return came ? 'came' : 'timed out'
  })
  for (const workflow of [first, last]) {
    const { state } = await tryAll(workflow, { events: [{ name: 'x', after: days(5) }], seeds: 100 })
    t.equal(state.result, 'timed out')
  }
  // A reminder sleeps past the timeout before the event comes.
  const approval = defineWorkflow({ name: 'approval', version: '1' }, async ({ events, sleep, data, now }) => {
    const begun = now()
    const remind = async () => {
      await sleep('2 hours')
      data.set('reminded', true)
      await sleep('5 days')
    }
    const approve = async () => {
      const approved = await events.waitFor('approved', { timeout: '1 hour' })
      if (approved) return 'approved'
      // One hour before the event comes; longer, if the timeout was late.
      await sleep('46 hours')
      return (await events.waitFor('approved', { timeout: '1 ms' })) ? 'late' : `never, after ${now() - begun} ms`
    }
    const [end] = await Promise.all([approve(), remind()])
    return end
  })
  const { state } = await tryAll(approval, { events: [{ name: 'approved', after: '2 days' }], seeds: 100 })
  t.equal(state.result, 'never, after 169200001 ms')
})

t.test('events of a time that has come are there before a timer of a later one', async (t) => {
  const both = defineWorkflow({ name: 'both', version: '1' }, async ({ events, sleep }) => {
    const x = Promise.race([events.waitFor('x').then(() => 'came'), sleep('6 days').then(() => 'late')])
    const [, ...rest] = await Promise.all([events.waitFor('any'), events.waitFor('y'), x])
    return rest[1]
  })
  const events = [{ name: 'any' }, { name: 'y', after: '5 days' }, { name: 'x', after: '5 days' }] as const
  t.equal((await tryAll(both, { events, seeds: 100 })).state.result, 'came')
})

t.test('a cancel is an event like others: what the signal says is the same in all of its ways', async (t) => {
  const patient = defineWorkflow(
    { name: 'patient', version: '1', actions: { pack } },
    async ({ actions: { pack: run }, sleep, signal, now, uuid, random, data }) => {
      const begun = now()
      signal.addEventListener('abort', () => data.set('reason', String(signal.reason)))
      const before = signal.aborted
      let at = 0
      await run({ order: 'o1', line: 1 })
      try {
        await sleep('1 day')
        at = now()
      } catch {
        at = now()
        // Cleaning up after a cancel: calls count as ever.
        await run({ order: 'o1', line: 2 })
      }
      return { before, aborted: signal.aborted, after: at - begun, id: uuid(), chance: random() }
    },
  )
  const events = [{ name: 'workflow.cancelRequested', payload: { reason: 'no need' }, after: '1 hour' }]
  const { state } = await tryAll(patient, { actions, events })
  t.match(state.result, { before: false, aborted: true, after: 3_600_000, id: /^[0-9a-f-]{36}$/ })
  t.match(state.data, { reason: /no need/ })
  t.match((await tryAll(patient, { actions })).state.result, { aborted: false, after: 86_400_000 })
})

t.test('what it kept and the state it is in are a part of its end', async (t) => {
  const last = defineWorkflow({ name: 'last', version: '1', actions: { pack } }, async ({ actions: { pack: run }, data, setState }) => {
    const each = async (line: number) => {
      await run({ order: 'o1', line })
      data.set('last', line)
      setState(`line ${line}`)
    }
    await Promise.all([each(1), each(2), each(3)])
  })
  await t.rejects(tryAll(last, { actions }), /two runtimes, order \d+: it ended with .*"last":[12].*undisturbed with .*"last":3.*seeds: 0/)
  t.match((await tryAll(last, { actions, seeds: 0 })).state, { currentState: 'line 3', data: { last: 3 } })
  const all = defineWorkflow({ name: 'all', version: '1', actions: { pack } }, async ({ actions: { pack: run } }) =>
    Promise.all([run({ order: 'o1', line: 1 }), run({ order: 'o1', line: 2 })]),
  )
  const parcels = { pack: ({ parameters }: { parameters: { line: number } }) => ({ parcel: `p${parameters.line}` }) }
  t.match(
    (await tryAll(all, { actions: parcels })).state.result,
    [{ parcel: 'p1' }, { parcel: 'p2' }],
    'results in any order: no other end',
  )
})
