// One call that tries a workflow in all the ways its life may go: undisturbed, its memory lost after every record, every record
// repeated, and under two runtimes whose reads lag and whose worker dies. All must end the same.

import { isDeepStrictEqual } from 'node:util'
import { replayHistory } from './replay-history.ts'
import { runWorkflow, type RunOptions, type WorkflowRun } from './run-workflow.ts'
import { runTwoRuntimes } from './two-runtimes.ts'
import type { Divergence } from '../workflow/replay.ts'
import type { Actions, Workflow } from '../workflow/workflow.ts'

export type TryAllOptions<A extends Actions = Actions> = Omit<RunOptions<A>, 'crashAfterEachRecord' | 'copies'> & {
  /** Orders tried under two runtimes (default 20). */
  seeds?: number
}

type End = Pick<WorkflowRun['state'], 'status' | 'currentState' | 'data' | 'result' | 'error'>

/** Without `data.$actions`, which is the last result by name, whichever of parallel calls that was. */
function endOf({ status, currentState, data, result, error }: WorkflowRun['state']): End {
  const own = Object.fromEntries(Object.entries(data).filter(([name]) => name !== '$actions'))
  return { status, currentState, data: own, result, error }
}

/** Names the decision that is another one, which says more than the end it led to. */
function expectFit(way: string, divergence: Divergence | undefined): void {
  if (!divergence) return
  const { step, reason, expected, got } = divergence
  throw new Error(`${way}: it diverged at step ${step}, ${reason}: expected ${expected}, got ${got}`)
}

function expectSame(way: string, expected: End, got: End, hint = ''): void {
  if (isDeepStrictEqual(expected, got)) return
  throw new Error(`${way}: it ended with ${JSON.stringify(got)}, undisturbed with ${JSON.stringify(expected)}${hint}`)
}

/** Said beside an end of the shuffled orders, where another end need not be a fault. */
const MAYBE_MEANT = 'If the order of outcomes, events and timers may decide its end (Promise.race), try it with seeds: 0'

/**
 * Gives the undisturbed run; throws where another way ends otherwise or diverges. Under two runtimes outcomes, sleeps and events without a
 * time come in any order, so a workflow whose end depends on that is tried without (`seeds: 0`).
 */
export async function tryAll<A extends Actions>(workflow: Workflow<A>, options: NoInfer<TryAllOptions<A>> = {}): Promise<WorkflowRun> {
  const { seeds = 20, ...run } = options
  const plain = await runWorkflow(workflow, run)
  expectFit('undisturbed', plain.divergence)
  const expected = endOf(plain.state)
  const tryWay = async (way: string, disturbed: RunOptions<A>) => {
    const { divergence, state } = await runWorkflow(workflow, disturbed)
    expectFit(way, divergence)
    expectSame(way, expected, endOf(state))
  }
  await tryWay('its memory lost after every record', { ...run, crashAfterEachRecord: true })
  await tryWay('every record repeated', { ...run, copies: 3 })
  expectFit('its own history replayed', await replayHistory(workflow, plain.history))
  for (let seed = 1; seed <= seeds; seed++) {
    const two = await runTwoRuntimes(workflow, { ...run, seed })
    expectFit(`two runtimes, order ${seed}`, two.divergences[0])
    if (two.faults.length > 0) throw new Error(`two runtimes, order ${seed}: ${two.faults.join('; ')}`)
    expectSame(`two runtimes, order ${seed}`, expected, endOf(two.state), `. ${MAYBE_MEANT}`)
  }
  return plain
}
