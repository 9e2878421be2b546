// A seeded stream of events of many executions, with repeats, conflicts and late ones, and what must come of it.

import type { WorkflowEvent } from '../../schemas/generated.ts'
import { eventIdOf, executionIdOf } from '../../workflow/ids.ts'
import { event } from '../support/events.ts'

export const TENANT = 'soak'

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** What must be accepted of an execution, in order, and how it must end. */
export type Expected = { accepted: WorkflowEvent[]; ended: boolean; currentState: string; data: Record<string, unknown> }

export type Workload = { events: WorkflowEvent[]; expected: Map<string, Expected>; repeats: number; conflicts: number; late: number }

const STATES = ['', 'open', 'checked', 'sent', 'open', '']

function freshEvent(executionId: string, i: number, random: () => number): WorkflowEvent {
  const ends = random() < 0.01
  return event({
    tenant: TENANT,
    execution_id: executionId,
    event_id: eventIdOf(TENANT, executionId, `e${i}`, 0),
    event_name: 'soak.stepped',
    to_state: ends ? 'completed' : (STATES[Math.floor(random() * STATES.length)] ?? ''),
    payload: JSON.stringify({ n: i, [`k${i % 7}`]: i }),
    created_at: 1_700_000_000_000 + i,
  })
}

/** What the rules make of an event, worked out here without Refold's code. */
function expect(work: Workload, one: WorkflowEvent): void {
  const known = work.expected.get(one.execution_id)
  const execution = known ?? { accepted: [], ended: false, currentState: 'initial', data: {} }
  if (!known) work.expected.set(one.execution_id, execution)
  const same = execution.accepted.find(({ event_id: id }) => id === one.event_id)
  if (same) {
    if (same.payload === one.payload && same.to_state === one.to_state) work.repeats++
    else work.conflicts++
  } else if (execution.ended) work.late++
  else {
    execution.accepted.push(one)
    execution.currentState = one.to_state || execution.currentState
    execution.ended = one.to_state === 'completed'
    Object.assign(execution.data, JSON.parse(one.payload ?? '{}'))
  }
}

/** `count` events of about `executions` executions. */
export function createWorkload(count: number, executions: number, seed: number): Workload {
  const random = randomOf(seed)
  const work: Workload = { events: [], expected: new Map(), repeats: 0, conflicts: 0, late: 0 }
  for (let i = 0; i < count; i++) {
    const executionId = executionIdOf(TENANT, 'soak', `${seed}-${Math.floor(random() * executions)}`)
    const earlier = work.expected.get(executionId)?.accepted
    const again = earlier?.[Math.floor(random() * earlier.length)]
    const dice = random()
    let one = freshEvent(executionId, i, random)
    if (again && dice < 0.03) one = again
    else if (again && dice < 0.04) one = { ...again, payload: '{"other":true}', to_state: '' }
    work.events.push(one)
    expect(work, one)
  }
  return work
}
