// When `refold demo --once` says by its exit code that its orders did not end as they must.

import t from 'tap'
import { misfitsOf } from '../../cli/demo/orders.ts'

const order = (outcome: string | null, status = 'completed') => ({
  executionId: 'x',
  key: 'k',
  status,
  currentState: 'shipped',
  result: outcome === null ? null : { outcome },
})
const COUNT = 20
const orders = [order('rejected'), ...Array.from({ length: COUNT - 1 }, () => order('shipped'))]
const evidence = { attempt: 4, lastError: { message: '503' }, nextAttemptAt: '2026-11-30T10:00:00Z' }
const diagnosis = (more: object = {}) => JSON.stringify({ cause: 'action-retrying', evidence, ...more })

t.test('all ended, the large ones by answers, and the planted one is diagnosed', async (t) => {
  t.strictSame(misfitsOf(COUNT, orders, 2, diagnosis()), [])
})

t.test('each thing that is otherwise is told', async (t) => {
  const one = (found: readonly string[], told: RegExp) => {
    t.equal(found.length, 1)
    t.match(found[0], told)
  }
  one(misfitsOf(COUNT, orders.slice(1), 2, diagnosis()), /19 were shipped and 0 rejected, not 19 and 1/)
  one(misfitsOf(COUNT, [order('failed'), ...orders.slice(0, -1)], 2, diagnosis()), /18 were shipped and 1 rejected/)
  one(misfitsOf(COUNT, [order(null, 'terminated'), ...orders.slice(0, -1)], 2, diagnosis()), /18 were shipped/)
  one(misfitsOf(COUNT, orders, 0, diagnosis()), /answered 0 orders, not 2/)
  one(misfitsOf(COUNT, orders, 2, diagnosis({ cause: 'ended' })), /diagnosed as ended/)
  one(misfitsOf(COUNT, orders, 2, diagnosis({ evidence: { ...evidence, lastError: null } })), /with its last error/)
  one(misfitsOf(COUNT, orders, 2, diagnosis({ evidence: { ...evidence, nextAttemptAt: null } })), /next attempt/)
  one(misfitsOf(COUNT, orders, 2, 'null'), /diagnosed as nothing/)
})
