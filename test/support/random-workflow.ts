// Workflow programs made from a seed. What each must end with, random-ending.ts says.

import { z } from 'zod'
import { ActionFailed } from '../../workflow/failures.ts'
import { defineAction } from '../../workflow/action.ts'
import { defineWorkflow, type Workflow, type WorkflowContext } from '../../workflow/workflow.ts'
import type { FakeCall } from '../../testing/fakes.ts'

/** `fails`: attempts of the action that fail first; more than it has, and it fails for good. */
export type Step =
  | { kind: 'act'; value: number; fails: number }
  | { kind: 'exact'; value: number }
  | { kind: 'once'; value: number }
  | { kind: 'sleep'; ms: number }
  | { kind: 'wait'; event: string; comes: boolean }
  | { kind: 'emit'; value: number }
  | { kind: 'set'; name: string; value: number }
  | { kind: 'state'; to: string }
  | { kind: 'sequence' | 'parallel'; steps: Step[] }
  | { kind: 'race'; step: Step; ms: number }
  | { kind: 'loop'; times: number; step: Step }
  | { kind: 'compensate'; step: Step; undo: number }

export const ATTEMPTS = 3

export const work = defineAction({
  name: 'work',
  parameters: z.object({ value: z.number(), fails: z.number() }),
  result: z.number(),
  retry: { attempts: ATTEMPTS, backoff: 50, factor: 2 },
})

export const exact = defineAction({
  name: 'exact',
  parameters: z.object({ value: z.number() }),
  result: z.number(),
  retry: { attempts: 20, backoff: 20, max: 200 },
  guarantee: 'exactly-once',
})

/** Its outcome may be unknown; so the program asks only whether it was tried. */
export const once = defineAction({
  name: 'once',
  parameters: z.object({ value: z.number() }),
  result: z.number(),
  retry: { attempts: 1 },
  guarantee: 'at-most-once',
})

/** The action's effect: it fails as often as the program says, then gives back its value. */
export function doWork({ parameters, attempt }: FakeCall): number {
  const { value, fails } = parameters as { value: number; fails: number }
  if (attempt <= fails) throw new Error(`attempt ${attempt} of ${value}`)
  return value
}

export const doOther = ({ parameters }: FakeCall): number => (parameters as { value: number }).value

type Random = () => number

/** mulberry32. */
export function randomOf(seed: number): Random {
  let a = seed >>> 0
  return () => {
    a = (a + 0x6d2b79f5) | 0
    let x = Math.imul(a ^ (a >>> 15), 1 | a)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}

type Made = { count: number; random: Random }

function stepOf(made: Made, depth: number): Step {
  const value = ++made.count
  const { random } = made
  const below = (n: number) => Math.floor(random() * n)
  const children = () => Array.from({ length: 1 + below(3) }, () => stepOf(made, depth - 1))
  switch (below(depth > 0 ? 13 : 9)) {
    case 0:
    case 1:
      return { kind: 'act', value, fails: below(5) }
    case 2:
      return { kind: 'sleep', ms: 1 + below(1000) }
    case 3:
      return { kind: 'wait', event: `event-${value}`, comes: random() < 0.6 }
    case 4:
      return { kind: 'emit', value }
    case 5:
      return { kind: 'set', name: `d${below(4)}`, value }
    case 6:
      return { kind: 'state', to: `s${value}` }
    case 7:
      return { kind: 'exact', value }
    case 8:
      return { kind: 'once', value }
    case 9:
      return { kind: 'sequence', steps: children() }
    case 10:
      return { kind: 'parallel', steps: children() }
    case 11:
      return random() < 0.5
        ? { kind: 'race', step: stepOf(made, 0), ms: 1 + below(200) }
        : { kind: 'loop', times: 1 + below(3), step: stepOf(made, depth - 1) }
    default:
      return { kind: 'compensate', step: stepOf(made, depth - 1), undo: value }
  }
}

export const programOf = (seed: number): Step => {
  const made: Made = { count: 0, random: randomOf(seed) }
  return { kind: 'sequence', steps: Array.from({ length: 3 }, () => stepOf(made, 2)) }
}

/** The events a program waits for and that come. */
export function eventsOf(step: Step): string[] {
  switch (step.kind) {
    case 'wait':
      return step.comes ? [step.event] : []
    case 'sequence':
    case 'parallel':
      return step.steps.flatMap(eventsOf)
    case 'race':
    case 'loop':
    case 'compensate':
      return eventsOf(step.step)
    case 'act':
    case 'exact':
    case 'once':
    case 'sleep':
    case 'emit':
    case 'set':
    case 'state':
      return []
    default:
      return step satisfies never
  }
}

type Context = WorkflowContext<unknown, { work: typeof work; exact: typeof exact; once: typeof once }>

/** `hurry`: all times are so many times as short. */
export async function run(step: Step, context: Context, hurry = 1): Promise<unknown> {
  switch (step.kind) {
    case 'act':
      // In a loop the same key comes again: its result is in the cache, or the work is done once more with the same result.
      return context.actions.work({ value: step.value, fails: step.fails }, { key: `${context.executionId}-${step.value}` })
    case 'exact':
      return context.actions.exact({ value: step.value })
    case 'once':
      return context.actions.once({ value: step.value }).then(
        () => 'tried',
        () => 'tried',
      )
    case 'sleep':
      return context.sleep(Math.ceil(step.ms / hurry)).then(() => 'slept')
    case 'wait': {
      // Its event comes once: in a loop, a later turn waits in vain.
      const event = await context.events.waitFor(step.event, { timeout: 5000 / hurry })
      return event === null ? 'nothing came' : event.payload
    }
    case 'emit':
      context.events.emit(`own-${step.value}`, step.value)
      return (await context.events.waitFor(`own-${step.value}`)).payload
    case 'set':
      context.data.set(step.name, step.value)
      return context.data.get(step.name)
    case 'state':
      context.setState(step.to)
      return context.getCurrentState()
    case 'sequence': {
      const results: unknown[] = []
      for (const one of step.steps) results.push(await run(one, context, hurry))
      return results
    }
    case 'parallel':
      return Promise.all(step.steps.map((one) => run(one, context, hurry).catch(failed)))
    case 'race':
      // Who wins depends on time; that one did, not.
      await Promise.race([run(step.step, context, hurry).catch(failed), context.sleep(Math.ceil(step.ms / hurry))])
      return 'raced'
    case 'loop': {
      const results: unknown[] = []
      for (let i = 0; i < step.times; i++) results.push(await run(step.step, context, hurry))
      return results
    }
    case 'compensate':
      try {
        return await run(step.step, context, hurry)
      } catch {
        return ['undone', await context.actions.work({ value: step.undo, fails: 0 })]
      }
    default:
      return step satisfies never
  }
}

export const failed = (error: unknown) => (error instanceof ActionFailed ? 'failed' : String(error))

export const workflowOf = (program: Step): Workflow =>
  defineWorkflow({ name: 'random', version: '1', actions: { work, exact, once } }, (context) => run(program, context).catch(failed))
