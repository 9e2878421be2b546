// Tests of the workflow as its author writes them: `node --test`, with nothing but Node and refold.

// region test
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { replayHistory, runWorkflow, tryAll } from 'refold/testing'
import { orderFulfilment } from './workflow.ts'

const actions = {
  reserve_stock: () => ({ reservation: 'r1' }),
  check_credit: () => ({ approved: true }),
  charge: () => ({ payment: 'p1' }),
  pack: () => ({ parcel: 'x' }),
  release_stock: () => ({ released: true }),
}
const input = { order: 'o1', amount: 2000, lines: 3 }

test('a large order that nobody approves in three days gives its stock back', async () => {
  const run = await runWorkflow(orderFulfilment, { input, actions })
  assert.deepEqual(run.state.result, { outcome: 'not-approved-in-time' })
  assert.equal(run.attempts.get('release_stock'), 1)
  assert.equal(run.attempts.get('charge'), undefined)
})
// endregion

// region all
test('an approved order is shipped, whatever dies or comes twice meanwhile', async () => {
  const events = [{ name: 'order.approved', after: '2 hours' }]
  const run = await tryAll(orderFulfilment, { input, actions, events })
  assert.deepEqual(run.state.result, { outcome: 'shipped', parcels: 3 })
})
// endregion

// region replay
test('an order of last month goes on under the code of today', async () => {
  const history = await readFile(new URL('history.json', import.meta.url), 'utf8')
  assert.equal(await replayHistory(orderFulfilment, history), undefined)
})
// endregion
