// Projections for the tests on real servers. PROJECTION_CODE chooses: `2` is version 2 of `cases`; `changed` folds otherwise
// under the same version; `fragile` throws at an event named `poison`.

import { defineApp, defineProjection } from '../../index.ts'

const code = process.env['PROJECTION_CODE'] ?? '1'

export const cases = defineProjection({
  name: 'cases',
  version: code === '2' ? 2 : 1,
  columns: { execution: 'uuid', events: 'bigint', state: 'text', amount: 'double precision', came_from: 'text', last_at: 'timestamptz' },
  key: ['execution'],
  keys: (event) => [{ execution: event.executionId }],
  initial: ({ execution }) => ({ execution, events: 0, state: null, amount: 0, came_from: '', last_at: null }),
  evolve(row, event) {
    if (code === 'fragile' && event.name === 'poison') throw new Error('poison')
    const { amount } = (event.payload ?? {}) as { amount?: number }
    const counted = code === 'changed' && event.toState === 'paid' ? 2 : 1
    return {
      ...row,
      events: (row.events ?? 0) + counted,
      state: event.toState === '' ? row.state : event.toState,
      amount: (row.amount ?? 0) + (amount ?? 0),
      came_from: event.fromState,
      last_at: new Date(event.appendedAt).toISOString(),
    }
  },
})

export const states = defineProjection({
  name: 'states',
  version: 1,
  columns: { state: 'text', events: 'bigint' },
  key: ['state'],
  keys: (event) => (event.toState === '' ? [] : [{ state: event.toState }]),
  initial: ({ state }) => ({ state, events: 0 }),
  evolve: (row) => ({ ...row, events: (row.events ?? 0) + 1 }),
  view: 'sum',
})

export const handled = defineProjection({
  name: 'handled',
  version: 1,
  tables: { names: { columns: { name: 'text', events: 'bigint' }, key: ['name'], view: 'sum' } },
  async handle(tx, events) {
    await tx.query(
      `INSERT INTO names AS n (partition, tenant, name, events)
       SELECT partition, tenant, name, count(*) FROM unnest($1::int[], $2::text[], $3::text[]) AS e (partition, tenant, name) GROUP BY 1, 2, 3
       ON CONFLICT (tenant, name, partition) DO UPDATE SET events = n.events + excluded.events`,
      [events.map(({ partition }) => partition), events.map(({ tenant }) => tenant), events.map(({ name }) => name)],
    )
  },
})

export default defineApp({ projections: [cases, states, handled] })
