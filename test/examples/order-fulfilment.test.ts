// The example in the cases that its own test (examples/order-fulfilment/workflow.test.ts) leaves out.

import t from 'tap'
import { orderFulfilment } from '../../examples/order-fulfilment/workflow.ts'
import { runWorkflow } from '../../testing/run-workflow.ts'

const actions = {
  reserve_stock: () => ({ reservation: 'r1' }),
  check_credit: () => ({ approved: true }),
  charge: () => ({ payment: 'p1' }),
  pack: () => ({ parcel: 'x' }),
  release_stock: () => ({ released: true }),
}

t.test('an approved order is paid and its 50 lines are packed side by side', async (t) => {
  const run = await runWorkflow(orderFulfilment, {
    input: { order: 'o2', amount: 2000, lines: 50 },
    actions,
    events: [{ name: 'order.approved', after: 60_000 }],
    crashAfterEachRecord: true,
  })
  t.strictSame(run.state.result, { outcome: 'shipped', parcels: 50 })
  t.equal(run.attempts.get('pack'), 50)
  t.equal(run.attempts.get('release_stock'), undefined)
})

t.test('a payment that never goes through gives its stock back and says why', async (t) => {
  const charge = () => {
    throw new Error('503')
  }
  const run = await runWorkflow(orderFulfilment, { input: { order: 'o3', amount: 10, lines: 1 }, actions: { ...actions, charge } })
  t.match(run.state.result, { outcome: 'failed', because: /charge failed after 8 attempts: 503/ })
  t.equal(run.attempts.get('release_stock'), 1)
})
