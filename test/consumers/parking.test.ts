// An execution that must stand still, while Postgres is away: it is parked once Postgres is back, and nothing else happens.

import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openExecution } from '../support/one-execution.ts'

type One = Awaited<ReturnType<typeof openExecution>>

/** Looked at now and then, as a process does. */
async function parked(t: Test, one: One): Promise<void> {
  const looking = setInterval(one.look, 5)
  t.teardown(() => clearInterval(looking))
  await one.until(() => (one.parked() === 1 ? true : undefined), 'its incident')
  t.equal(one.away.parks, 0)
}

t.test('a function that goes on by itself, between two records', async (t) => {
  const run = async ({ actions }: Parameters<Parameters<typeof openExecution>[1]>[0]) => {
    await Promise.race([actions.next({ after: 0 }), pause(30)])
    return actions.next({ after: 1 })
  }
  const one = await openExecution(t, run, { parks: 4 })
  await one.request(1)
  await parked(t, one)
})

t.test('a workflow that nobody registers', async (t) => {
  const one = await openExecution(t, async ({ actions }) => actions.next({ after: 0 }), { isKnown: false, parks: 4 })
  await parked(t, one)
})
