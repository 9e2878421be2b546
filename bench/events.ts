// Events like those of an upstream system that keeps its processes here: seeded, so that every run has the same.

import type { WorkflowEvent } from '../schemas/generated.ts'
import { eventIdOf, executionIdOf } from '../workflow/ids.ts'

export const TENANT = 'bench'
/** Executions open at a time; a new one begins when one has had all its events. */
const OPEN = 600
const STATES = ['received', 'checked', 'priced', 'approved', 'packed', 'sent', 'billed', 'paid', 'filed', 'closed']

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

type Open = { id: string; key: string; done: number; length: number }

/** An event of about 276 bytes as Avro. */
export function eventOf(executionId: string, key: string, n: number, amount: number): WorkflowEvent {
  return {
    event_id: eventIdOf(TENANT, executionId, 'bench', n),
    tenant: TENANT,
    execution_id: executionId,
    event_name: `order.${STATES[n % STATES.length]}`,
    event_type: 'workflow',
    from_state: n === 0 ? '' : (STATES[(n - 1) % STATES.length] ?? ''),
    to_state: STATES[n % STATES.length] ?? '',
    user_id: 'clerk-17',
    payload: JSON.stringify({ step: n, amount, currency: 'EUR', note: 'as agreed with the customer', [`checked_${n}`]: true }),
    created_at: 1_700_000_000_000 + n * 1000,
    causation_id: null,
    correlation_id: null,
    workflow_name: 'order',
    business_key: key,
    decision: 0,
    decision_chain: '',
    decision_seq: 0,
    decision_input: '',
  }
}

/** `count` events of executions with 5 to 10 events each, interleaved as they would arrive. */
export function* eventsFrom(count: number, seed = 7): Generator<WorkflowEvent> {
  const random = randomOf(seed)
  let begun = 0
  const begin = (): Open => {
    const key = `order-${seed}-${++begun}`
    return { id: executionIdOf(TENANT, 'order', key), key, done: 0, length: 5 + Math.floor(random() * 6) }
  }
  const open = Array.from({ length: OPEN }, begin)
  for (let made = 0; made < count; made++) {
    const at = Math.floor(random() * OPEN)
    const execution = open[at] ?? begin()
    yield eventOf(execution.id, execution.key, execution.done++, Math.floor(random() * 100_000) / 100)
    if (execution.done === execution.length) open[at] = begin()
  }
}

/** The same, all at once. */
export const manyEvents = (count: number, seed = 7): WorkflowEvent[] => [...eventsFrom(count, seed)]
