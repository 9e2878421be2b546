// Folds whose rows come and go, for the tests of provenance and changes.

import { defineApp, defineProjection } from '../../index.ts'

/** Open cases: a row is removed by `closed`, and there again after `reopened`. */
export const openCases = defineProjection({
  name: 'open_cases',
  version: 1,
  columns: { execution: 'uuid', events: 'bigint', state: 'text' },
  key: ['execution'],
  keys: (event) => [{ execution: event.executionId }],
  initial: ({ execution }) => ({ execution, events: 0, state: null }),
  evolve: (row, event) => (event.toState === 'closed' ? null : { ...row, events: (row.events ?? 0) + 1, state: event.toState }),
})

/** Amounts by label and kind: a key of two columns, summed over partitions. */
export const amounts = defineProjection({
  name: 'amounts',
  version: 1,
  columns: { label: 'text', amount: 'bigint', kind: 'integer' },
  key: ['label', 'kind'],
  keys(event) {
    const { label, kind } = (event.payload ?? {}) as { label?: string; kind?: number }
    return label === undefined || kind === undefined ? [] : [{ label, kind }]
  },
  initial: (key) => ({ ...key, amount: 0 }),
  evolve: (row, event) => ({ ...row, amount: (row.amount ?? 0) + ((event.payload as { amount?: number }).amount ?? 0) }),
  view: 'sum',
})

export const handled = defineProjection({
  name: 'handled_too',
  version: 1,
  tables: { handled_rows: { columns: { name: 'text' }, key: ['name'] } },
  handle: async () => undefined,
})

export default defineApp({ projections: [openCases, amounts, handled] })
