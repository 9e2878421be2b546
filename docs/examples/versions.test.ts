// A change that alters decisions, found by a recorded history, and both versions side by side. `node --test` runs it.

// region versions
import { defineAction, defineApp, defineWorkflow } from 'refold'
import { z } from 'zod'

const payBack = defineAction({ name: 'pay_back', parameters: z.object({ cents: z.number() }), result: z.object({ payment: z.string() }) })
const approve = defineAction({ name: 'approve', parameters: z.object({ cents: z.number() }), result: z.object({ by: z.string() }) })
const refund = { name: 'refund', input: z.object({ cents: z.number() }), actions: { payBack, approve } }

// Goes on with what was started before; to be deleted when nothing of version 1 is open.
const old = defineWorkflow({ ...refund, version: '1' }, async ({ input, actions }) => actions.payBack(input))

// Somebody approves first: another decision, so another version.
const approved = defineWorkflow({ ...refund, version: '2' }, async ({ input, actions }) => {
  const { by } = await actions.approve(input)
  return { by, ...(await actions.payBack(input)) }
})

export default defineApp({ workflows: [old, approved] })
// endregion

// region check
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { replayHistory, runWorkflow } from 'refold/testing'

const fakes = { pay_back: () => ({ payment: 'p1' }), approve: () => ({ by: 'ann' }) }

test('the old version goes on with its history, and the new code does not', async () => {
  const { history } = await runWorkflow(old, { input: { cents: 500 }, actions: fakes })
  assert.equal(await replayHistory(old, history), undefined)
  const misfit = await replayHistory(approved, history)
  assert.equal(misfit?.step, 1)
  assert.match(misfit.expected, /^action.scheduled .*"pay_back"/)
  assert.match(misfit.got, /^action.scheduled .*"approve"/)
})
// endregion
