// Two projections of a world, and what is wrong with their rows, told by the record alone.

import { defineProjection } from '../../../projections/define.ts'
import type { MemoryProjection } from './projection.ts'
import type { World } from './world.ts'

export const counted = defineProjection({
  name: 'counted',
  version: 1,
  columns: { event_name: 'text', events: 'bigint' },
  key: ['event_name'],
  keys: (event) => [{ event_name: event.name }],
  initial: (key) => ({ ...key, events: 0 }),
  evolve: (row) => ({ ...row, events: (row.events ?? 0) + 1 }),
  view: 'sum',
})

/** The names of an open execution's events, in order; one that was completed has no row. */
export const followed = defineProjection({
  name: 'followed',
  version: 1,
  columns: { execution: 'uuid', events: 'text' },
  key: ['execution'],
  keys: (event) => [{ execution: event.executionId }],
  initial: (key) => ({ ...key, events: '' }),
  evolve: (row, event) => (event.name === 'workflow.completed' ? null : { ...row, events: `${row.events} ${event.name}` }),
})

export function rowFaults({ record, projections }: World): string[] {
  const faults: string[] = []
  const expected = new Map<string, number>()
  for (const { partition, history } of record.executions.values())
    for (const { event } of history)
      expected.set(`${partition} ${event.event_name}`, 1 + (expected.get(`${partition} ${event.event_name}`) ?? 0))
  const rows = [...(projections.get(counted)?.rows.values() ?? [])]
  const found = new Map(rows.map(({ partition, row }) => [`${partition} ${String(row['event_name'])}`, row['events']]))
  for (const [name, events] of expected)
    if (found.get(name) !== events) faults.push(`${String(found.get(name))} of ${name} are counted, not ${events}`)
  if (found.size > expected.size) faults.push(`${found.size} counters, not ${expected.size}`)
  const open = new Map([...(projections.get(followed)?.rows.values() ?? [])].map(({ row }) => [row['execution'], row['events']]))
  for (const { executionId, history } of record.executions.values()) {
    const names = history.map(({ event }) => event.event_name)
    // What comes after the end is late, and refused.
    const events = names.includes('workflow.completed') ? undefined : names.map((name) => ` ${name}`).join('')
    if (open.get(executionId) !== events) faults.push(`${executionId} is followed as ${String(open.get(executionId))}, not ${events}`)
  }
  for (const { parked, early } of projections.values()) faults.push(...parked, ...early)
  return faults
}

/** J9, of all projections. */
export function aheadOf({ projections }: World): MemoryProjection['ahead'] {
  const all = { written: 0, inVain: 0, refused: 0 }
  for (const { ahead } of projections.values()) for (const what of ['written', 'inVain', 'refused'] as const) all[what] += ahead[what]
  return all
}
