// What bench/projections.ts folds: a row an execution, and a counter by state and hour.

import { defineProjection } from '../projections/define.ts'

const HOUR = 3_600_000
const hours = new Map<number, string>()

/** Both sides use it; its texts are made once, as an author would. */
export function hourOf(ms: number): string {
  const hour = Math.floor(ms / HOUR)
  let text = hours.get(hour)
  if (text === undefined) hours.set(hour, (text = new Date(hour * HOUR).toISOString()))
  return text
}

export const cases = defineProjection({
  name: 'bench_cases',
  version: 1,
  columns: { execution: 'uuid', state: 'text', events: 'bigint', amount: 'double precision', business_key: 'text', last_at: 'timestamptz' },
  key: ['execution'],
  keys: (event) => [{ execution: event.executionId }],
  initial: ({ execution }) => ({ execution, state: null, events: 0, amount: 0, business_key: null, last_at: null }),
  evolve: (row, event) => ({
    execution: row.execution,
    state: event.toState === '' ? row.state : event.toState,
    events: (row.events ?? 0) + 1,
    amount: (row.amount ?? 0) + (event.payload as { amount: number }).amount,
    business_key: event.businessKey,
    last_at: new Date(event.appendedAt).toISOString(),
  }),
})

export const counters = defineProjection({
  name: 'bench_counters',
  version: 1,
  columns: { state: 'text', hour: 'timestamptz', events: 'bigint' },
  key: ['state', 'hour'],
  keys: (event) => [{ state: event.toState, hour: hourOf(event.createdAt) }],
  initial: (key) => ({ ...key, events: 0 }),
  evolve: (row) => ({ ...row, events: (row.events ?? 0) + 1 }),
  view: 'sum',
})

export const benchProjections = [cases, counters]
