// The application of docs/rebuilding.md: a shipped read model, and a fold of its own that throws at an event without an amount.

import { defineApp, defineProjection, executionsByState } from '../../index.ts'

const payments = defineProjection({
  name: 'payments',
  version: 1,
  columns: { execution: 'uuid', amount: 'double precision' },
  key: ['execution'],
  keys: (event) => (event.name === 'payment.booked' ? [{ execution: event.executionId }] : []),
  initial: ({ execution }) => ({ execution, amount: 0 }),
  evolve(row, event) {
    const { amount } = event.payload as { amount?: number }
    if (amount === undefined) throw new Error('a payment without an amount')
    return { ...row, amount: (row.amount ?? 0) + amount }
  },
})

export default defineApp({ projections: [executionsByState, payments] })
