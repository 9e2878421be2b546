// One call that tries a workflow in all the ways its life may go: undisturbed, its memory lost after every record, every record
// repeated, and under two runtimes whose reads lag and whose worker dies. All must end the same.

import { isDeepStrictEqual } from 'node:util'
import { replayHistory } from './replay-history.ts'
import { runWorkflow, type RunOptions, type WorkflowRun } from './run-workflow.ts'
import { runTwoRuntimes } from './two-runtimes.ts'
import type { Workflow } from '../workflow/workflow.ts'

export type TryAllOptions = Omit<RunOptions, 'crashAfterEachRecord' | 'copies'> & {
  /** Orders tried under two runtimes (default 20). */
  seeds?: number
}

type End = { status: string; result: unknown; error: unknown }

const endOf = ({ status, result, error }: WorkflowRun['state']): End => ({ status, result, error })

function expectSame(way: string, expected: End, got: End, hint = ''): void {
  if (isDeepStrictEqual(expected, got)) return
  throw new Error(`${way}: it ended with ${JSON.stringify(got)}, undisturbed with ${JSON.stringify(expected)}${hint}`)
}

/** Said beside an end of the shuffled orders, where another end need not be a fault. */
const MAYBE_MEANT = 'If the order of outcomes, events and timers may decide its end (Promise.race), try it with seeds: 0'

/**
 * Gives the undisturbed run; throws where another way ends otherwise or diverges. Under two runtimes events come in any order
 * before the first timer, so a workflow whose end depends on that is tried without (`seeds: 0`).
 */
export async function tryAll(workflow: Workflow, options: TryAllOptions = {}): Promise<WorkflowRun> {
  const { seeds = 20, ...run } = options
  const plain = await runWorkflow(workflow, run)
  if (plain.divergence) throw new Error(`it diverged at step ${plain.divergence.step}: ${plain.divergence.reason}`)
  const expected = endOf(plain.state)
  expectSame(
    'its memory lost after every record',
    expected,
    endOf((await runWorkflow(workflow, { ...run, crashAfterEachRecord: true })).state),
  )
  expectSame('every record repeated', expected, endOf((await runWorkflow(workflow, { ...run, copies: 3 })).state))
  const misfit = await replayHistory(workflow, plain.history)
  if (misfit) throw new Error(`its own history does not fit it, at step ${misfit.step}: ${misfit.reason}`)
  for (let seed = 1; seed <= seeds; seed++) {
    const two = await runTwoRuntimes(workflow, { ...run, seed })
    if (two.faults.length > 0) throw new Error(`two runtimes, order ${seed}: ${two.faults.join('; ')}`)
    expectSame(`two runtimes, order ${seed}`, expected, endOf(two.state), `. ${MAYBE_MEANT}`)
  }
  return plain
}
