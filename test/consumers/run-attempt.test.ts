// What one attempt of an action makes of a Postgres that is away: its ports in memory, the order of its steps as it runs.

import t from 'tap'
import { z } from 'zod'
import { defineAction } from '../../workflow/action.ts'
import { implement } from '../../workflow/app.ts'
import { attemptsOf } from '../support/attempts.ts'

const greet = defineAction({ name: 'greet', parameters: z.object({ whom: z.string() }), result: z.string() })

const scheduled = {
  name: 'greet',
  key: 'k',
  group: null,
  arguments: { whom: 'you' },
  parameters: { whom: 'you' },
  retry: { attempts: 3, backoff_ms: 1, factor: 1, max_ms: 1 },
  timeout_ms: 1000,
  guarantee: 'at-least-once',
  queue: null,
}

t.test('what an earlier attempt told cannot be read: that is no failure of this one', async (t) => {
  let away = true
  const { attempt, reported, request } = attemptsOf(
    implement(greet, async ({ parameters, progress }) => `${parameters.whom} ${String(progress)}`),
    scheduled,
    {
      async progress() {
        if (away) throw new Error('connection refused')
        return '"half"'
      },
    },
  )
  await t.rejects(attempt(request, new AbortController().signal), /refused/)
  t.strictSame(reported, [], 'it is tried again, and none of the tries that its author allows is used up')
  away = false
  t.strictSame(await attempt(request, new AbortController().signal), { state: 'reported' })
  t.strictSame(reported, [{ result: '"you half"' }])
})
