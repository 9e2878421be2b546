// Fake actions of a test, in the place of a worker: what the contract refuses there is refused here.

import type { z } from 'zod'
import { type Action, readScheduled } from '../workflow/action.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { readParameters, resultFailure, resultText } from '../workflow/contract.ts'
import { attemptFailure, type Failure } from '../workflow/failures.ts'
import { outcomeIdOf } from '../workflow/ids.ts'
import type { OpenAction } from '../workflow/replay.ts'
import type { Actions, Workflow } from '../workflow/workflow.ts'

/** An attempt as a fake action sees it. */
export type FakeCall<P = unknown> = { parameters: P; attempt: number; key: string }

type Fake<A> = A extends Action<infer P, infer _> ? (call: FakeCall<z.output<P>>) => unknown : never

/** Fakes by the names of the contracts. What they give is checked as they run: a literal in a test has too wide a type. */
export type Fakes<A extends Actions = Actions> = { readonly [K in keyof A as A[K]['name']]?: Fake<A[K]> }

type Input = (name: string, id: string, payload: object) => WorkflowEvent

/** Runs one attempt; its outcome as a worker appends it, made by `input`. */
export async function attemptOutcome(
  workflow: Workflow,
  fakes: Fakes | undefined,
  open: OpenAction,
  { tenant, executionId, input }: { tenant: string; executionId: string; input: Input },
): Promise<WorkflowEvent> {
  const { action, attempt, scheduled } = open
  const id = outcomeIdOf(tenant, executionId, action, attempt)
  const about = { action, attempt, name: readScheduled(scheduled).name, worker: 'test', duration_ms: 0 }
  const failed = (error: Failure) => input('action.attemptFailed', id, { ...about, error })
  try {
    const completed = input('action.completed', id, { ...about, result: await runFake(workflow, fakes, open) })
    const refused = resultFailure(completed)
    return refused ? failed(refused) : completed
  } catch (error) {
    return failed(attemptFailure(error))
  }
}

/** The result of one attempt, as the log holds it. Throws what a worker would report as the attempt's failure. */
async function runFake(workflow: Workflow, fakes: Fakes | undefined, { actionId, attempt, scheduled }: OpenAction) {
  const written = readScheduled(scheduled)
  const { name } = written
  const fake = fakes?.[name]
  if (!fake) throw Object.assign(new Error(`the test has no action ${name}`), { retryable: false })
  const contract = Object.values(workflow.actions).find((action) => action.name === name)
  const parameters = contract ? readParameters(contract, written) : written.parameters
  const result = await fake({ parameters, attempt, key: written.key ?? actionId })
  return JSON.parse(contract ? resultText(contract, result) : (JSON.stringify(result) ?? 'null')) as unknown
}
