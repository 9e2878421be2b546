// What a random program (random-workflow.ts) must end with: its result, data and state, told by an interpreter that knows nothing of
// Refold. Of steps side by side the program says what each writes, and time which comes last: there, any one of them is right.

import { ATTEMPTS, eventsOf, type Step } from './random-workflow.ts'

class Failed extends Error {}

/** What may stand at the end, by name: a data field, or STATE. */
type Kept = Map<string, ReadonlySet<unknown>>

/** No field of data is called so. */
const STATE = ''

/** What a program must give back, by the meaning of its steps alone; `came` are the events not yet taken, `kept` what it has written. */
function expectedOf(step: Step, came: Set<string>, kept: Kept): unknown {
  const tried = (one: Step, within: Kept) => {
    try {
      return expectedOf(one, came, within)
    } catch (error) {
      if (error instanceof Failed) return 'failed'
      throw error
    }
  }
  switch (step.kind) {
    case 'act':
      if (step.fails >= ATTEMPTS) throw new Failed()
      return step.value
    case 'exact':
      return step.value
    case 'once':
      return 'tried'
    case 'sleep':
      return 'slept'
    case 'wait':
      return came.delete(step.event) ? step.event : 'nothing came'
    case 'emit':
      return step.value
    case 'set':
      kept.set(step.name, new Set([step.value]))
      return step.value
    case 'state':
      kept.set(STATE, new Set([step.to]))
      return step.to
    case 'sequence':
      return step.steps.map((one) => expectedOf(one, came, kept))
    case 'parallel': {
      const branches = step.steps.map((): Kept => new Map())
      const results = step.steps.map((one, n) => tried(one, branches[n] ?? new Map()))
      for (const name of new Set(branches.flatMap((branch) => [...branch.keys()])))
        kept.set(name, new Set(branches.flatMap((branch) => [...(branch.get(name) ?? [])])))
      return results
    }
    case 'race':
      // What a loser writes, it has written: of such steps only actions and waits take time.
      tried(step.step, kept)
      return 'raced'
    case 'loop':
      return Array.from({ length: step.times }, () => expectedOf(step.step, came, kept))
    case 'compensate':
      try {
        return expectedOf(step.step, came, kept)
      } catch (error) {
        if (!(error instanceof Failed)) throw error
        return ['undone', step.undo]
      }
    default:
      return step satisfies never
  }
}

/** Results that actions of this name may have. */
function resultsOf(step: Step, name: string): unknown[] {
  switch (step.kind) {
    case 'act':
      return name === 'work' && step.fails < ATTEMPTS ? [step.value] : []
    case 'exact':
    case 'once':
      return name === step.kind ? [step.value] : []
    case 'sequence':
    case 'parallel':
      return step.steps.flatMap((one) => resultsOf(one, name))
    case 'race':
    case 'loop':
      return resultsOf(step.step, name)
    case 'compensate':
      return [...resultsOf(step.step, name), ...(name === 'work' ? [step.undo] : [])]
    case 'sleep':
    case 'wait':
    case 'emit':
    case 'set':
    case 'state':
      return []
    default:
      return step satisfies never
  }
}

function endingOf(program: Step): { result: unknown; kept: Kept } {
  const kept: Kept = new Map([[STATE, new Set(['initial'])]])
  try {
    return { result: expectedOf(program, new Set(eventsOf(program)), kept), kept }
  } catch (error) {
    if (error instanceof Failed) return { result: 'failed', kept }
    throw error
  }
}

export type Ending = { status: string; result: unknown; data: Readonly<Record<string, unknown>>; currentState: string }

/** What is not as the program demands; undefined: nothing. */
export function endingFault(program: Step, found: Ending | undefined): string | undefined {
  if (!found) return 'is not there'
  const { status, result, data, currentState } = found
  const ending = endingOf(program)
  const expected = JSON.stringify(ending.result)
  if (status !== 'completed' || JSON.stringify(result) !== expected) return `is ${status} with ${JSON.stringify(result)}, not ${expected}`
  const { $actions: results = {}, ...own } = data
  for (const name of new Set([...Object.keys(own), ...ending.kept.keys()])) {
    const value = name === STATE ? currentState : own[name]
    const allowed = [...(ending.kept.get(name) ?? [])]
    if (!allowed.includes(value))
      return `has ${name === STATE ? 'state' : `data ${name}`} ${JSON.stringify(value)}, not ${JSON.stringify(allowed)}`
  }
  for (const [name, value] of Object.entries(results as object))
    if (!resultsOf(program, name).includes(value)) return `has ${JSON.stringify(value)} as the result of an action ${name}`
  return undefined
}
