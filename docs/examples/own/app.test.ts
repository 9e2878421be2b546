// Its test, run by Node alone.

// region test
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { tryAll } from 'refold/testing'
import { greeting } from './app.ts'

test('a greeting is what was said', async () => {
  const actions = { greet: () => ({ text: 'Hello' }) }
  const run = await tryAll(greeting, { input: { name: 'Ada' }, actions })
  assert.deepEqual(run.state.result, { text: 'Hello' })
})
// endregion
