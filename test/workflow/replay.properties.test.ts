// Random workflow programs: whatever crashes and however often records are repeated, the outcome is the one that an
// interpreter of the program alone gives, and nothing diverges.

import t from 'tap'
import { runWorkflow, type RunOptions } from '../../testing/run-workflow.ts'
import { endingFault } from '../support/random-ending.ts'
import { doOther, doWork, eventsOf, programOf, workflowOf } from '../support/random-workflow.ts'

const SEEDS = 5000

const WAYS: readonly { name: string; options: RunOptions }[] = [
  { name: 'undisturbed', options: {} },
  { name: 'each record repeated', options: { copies: 3 } },
  { name: 'the memory lost after each record', options: { crashAfterEachRecord: true } },
]

for (const { name, options } of WAYS)
  t.test(`${SEEDS} random programs end as they must: ${name}`, { timeout: 300_000 }, async (t) => {
    const wrong: object[] = []
    let events = 0
    for (let seed = 1; seed <= SEEDS; seed++) {
      const program = programOf(seed)
      const sent = eventsOf(program).map((event) => ({ name: event, payload: event }))
      const run = await runWorkflow(workflowOf(program), {
        ...options,
        actions: { work: doWork, exact: doOther, once: doOther },
        events: sent,
      })
      events += run.history.length
      const fault = endingFault(program, run.state)
      if (fault !== undefined) wrong.push({ seed, fault, divergence: run.divergence })
    }
    t.strictSame(wrong.slice(0, 3), [])
    t.ok(events > SEEDS, `${events} events`)
  })
