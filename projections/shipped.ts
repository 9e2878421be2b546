// Read models that any installation has use for.

import { defineProjection } from './define.ts'

const HOUR = 3_600_000
let newest = { hour: 0, text: new Date(0).toISOString() }

/** Most events are of the hour that the one before was of. */
function hourOf(ms: number): string {
  const hour = Math.floor(ms / HOUR)
  if (hour !== newest.hour) newest = { hour, text: new Date(hour * HOUR).toISOString() }
  return newest.text
}
const objectOf = (payload: unknown): Record<string, unknown> =>
  typeof payload === 'object' && payload !== null ? (payload as Record<string, unknown>) : {}

/** How many executions entered each state, by hour of business time. */
export const executionsByState = defineProjection({
  name: 'executions_by_state',
  version: 1,
  uses: ['audit'],
  columns: { state: 'text', hour: 'timestamptz', entered: 'bigint' },
  key: ['state', 'hour'],
  keys: (event) => (event.audit.to === '' ? [] : [{ state: event.audit.to, hour: hourOf(event.createdAt) }]),
  initial: (key) => ({ ...key, entered: 0 }),
  evolve: (row) => ({ ...row, entered: (row.entered ?? 0) + 1 }),
  view: 'sum',
})

// region fold
/** Attempts of actions by name: completed, failed, and how long they took in all, ms. */
export const actionsByName = defineProjection({
  name: 'actions_by_name',
  version: 1,
  columns: { action: 'text', completed: 'bigint', failed_attempts: 'bigint', duration_ms: 'bigint' },
  key: ['action'],
  keys(event) {
    if (event.name !== 'action.completed' && event.name !== 'action.attemptFailed') return []
    return [{ action: String(objectOf(event.payload)['name']) }]
  },
  initial: (key) => ({ ...key, completed: 0, failed_attempts: 0, duration_ms: 0 }),
  evolve(row, event) {
    const took = Number(objectOf(event.payload)['duration_ms'] ?? 0)
    const isDone = event.name === 'action.completed'
    return {
      ...row,
      completed: (row.completed ?? 0) + (isDone ? 1 : 0),
      failed_attempts: (row.failed_attempts ?? 0) + (isDone ? 0 : 1),
      duration_ms: (row.duration_ms ?? 0) + took,
    }
  },
  view: 'sum',
})
// endregion
