// Fake actions of a test, in the place of a worker: what the contract refuses there is refused here.

import type { z } from 'zod'
import { type Action, readScheduled } from '../workflow/action.ts'
import { readParameters, resultText } from '../workflow/contract.ts'
import type { OpenAction } from '../workflow/replay.ts'
import type { Actions, Workflow } from '../workflow/workflow.ts'

/** An attempt as a fake action sees it. */
export type FakeCall<P = unknown> = { parameters: P; attempt: number; key: string }

type Fake<A> = A extends Action<infer P, infer _> ? (call: FakeCall<z.output<P>>) => unknown : never

/** Fakes by the names of the contracts. What they give is checked as they run: a literal in a test has too wide a type. */
export type Fakes<A extends Actions = Actions> = { readonly [K in keyof A as A[K]['name']]?: Fake<A[K]> }

type Attempt = Pick<OpenAction, 'actionId' | 'name' | 'attempt' | 'scheduled'>

/** The result of one attempt, as the log holds it. Throws what a worker would report as the attempt's failure. */
export async function runFake(workflow: Workflow, fakes: Fakes | undefined, { actionId, name, attempt, scheduled }: Attempt) {
  const fake = fakes?.[name]
  if (!fake) throw Object.assign(new Error(`the test has no action ${name}`), { retryable: false })
  const written = readScheduled(scheduled)
  const contract = Object.values(workflow.actions).find((action) => action.name === name)
  const parameters = contract ? readParameters(contract, written) : written.parameters
  const result = await fake({ parameters, attempt, key: written.key ?? actionId })
  return JSON.parse(contract ? resultText(contract, result) : (JSON.stringify(result) ?? 'null')) as unknown
}
