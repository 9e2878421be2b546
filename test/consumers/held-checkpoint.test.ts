// Of an execution whose actions follow each other, each handed over in its process, one is always under way.

import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { openExecution, type Step } from '../support/one-execution.ts'

const STEPS = 900

const chain: Step = async ({ actions }) => {
  let value = 0
  for (let step = 0; step < STEPS; step++) value = await actions.next({ after: value })
  return value
}

t.test('an execution of many short actions, handed over, lets the checkpoint come after it', { timeout: 60_000 }, async (t) => {
  let ran = 0
  const one = await openExecution(t, chain, { handed: async () => (await pause(2), ++ran) })
  const behind: number[] = []
  while (!one.isOver()) {
    await pause(100)
    if (!one.isOver()) behind.push((await one.end()) - one.saved.next)
  }
  t.equal(ran, STEPS)
  t.ok(behind.length > 5, 'looked at while it ran')
  // 500, and what comes until the next checkpoint is stored.
  t.ok(Math.max(...behind) < 1000, `${Math.max(...behind)} of ${2 * STEPS} records behind at most`)
  t.ok(Math.max(...behind) > 100, 'handed over for most of the time')
})

t.test('a decision that is read back before its append is acknowledged holds nothing once it is', async (t) => {
  const one = await openExecution(t, chain)
  const first = await one.request(1)
  one.meanwhile(async (event) => {
    const appended = await one.others.append(event)
    // Read back, and what it asks for is acknowledged.
    await one.request(2)
    return appended
  })
  await one.others.append(one.ended(first, { result: '1' }))
  await one.request(2)
  await one.passed()
  t.equal(one.saved.next, 4)
})
