// G3: "until such an attempt has ended, the runtime's checkpoint stays where it is". Of an execution whose actions follow each other, each of
// them short and each handed over, it stays until the execution ends: between two of them it is never settled.

import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { openExecution, type Step } from '../support/one-execution.ts'

const chain: Step = async ({ actions }) => {
  let value = 0
  for (let step = 0; step < 400; step++) value = await actions.next({ after: value })
  return value
}

t.test('an execution of many short actions, handed over, lets the checkpoint come after it', { timeout: 60_000 }, async (t) => {
  let ran = 0
  const one = await openExecution(t, chain, { handed: async () => (await pause(8), ++ran) })
  const seen: { ran: number; checkpoint: number; end: number }[] = []
  while (!one.isOver()) {
    await pause(300)
    if (!one.isOver()) seen.push({ ran, checkpoint: one.saved.next, end: await one.end() })
  }
  t.comment(JSON.stringify(seen))
  const last = seen.at(-1)
  t.ok(last && last.end - last.checkpoint < 200, JSON.stringify(last))
})

t.test('the same execution, its requests through the topic', { timeout: 60_000 }, async (t) => {
  const one = await openExecution(t, chain)
  let most = 0
  for (let n = 1; n <= 400; n++) {
    const request = await one.request(n)
    await pause(8)
    await one.tell(request, n)
    if (n > 100) most = Math.max(most, (await one.end()) - one.saved.next)
  }
  await one.over()
  t.ok(most < 200, `${most} records behind at most`)
})
