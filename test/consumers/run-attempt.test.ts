// What one attempt of an action makes of a Postgres that is away: its ports in memory, the order of its steps as it runs.

import t from 'tap'
import { z } from 'zod'
import { createAttempts } from '../../consumers/run-attempt.ts'
import { NO_FAULTS } from '../../faults.ts'
import type { AttemptOutcome } from '../../producers/inputs.ts'
import type { ActionRequest } from '../../schemas/generated.ts'
import { createWatch } from '../../watch.ts'
import { defineAction } from '../../workflow/action.ts'
import { implement } from '../../workflow/app.ts'
import { MemoryRecord } from '../support/world/record.ts'
import { MemoryRedis } from '../support/world/redis.ts'

const greet = defineAction({ name: 'greet', parameters: z.object({ whom: z.string() }), result: z.string() })

const request: ActionRequest = {
  action_id: '11111111-1111-4111-8111-111111111111',
  tenant: 't',
  execution_id: '22222222-2222-4222-8222-222222222222',
  action: 1,
  attempt: 2,
  name: 'greet',
  key: 'k',
  scheduled: JSON.stringify({
    name: 'greet',
    key: 'k',
    group: null,
    arguments: { whom: 'you' },
    parameters: { whom: 'you' },
    retry: { attempts: 3, backoff_ms: 1, factor: 1, max_ms: 1 },
    timeout_ms: 1000,
    guarantee: 'at-least-once',
    queue: null,
  }),
  user_id: null,
  requested_at: 0,
}

t.test('what an earlier attempt told cannot be read: that is no failure of this one', async (t) => {
  const reported: AttemptOutcome[] = []
  let away = true
  const attempt = createAttempts({
    worker: 'w',
    implementations: new Map([['greet', implement(greet, async ({ parameters, progress }) => `${parameters.whom} ${String(progress)}`)]]),
    memory: new MemoryRedis().memoryOf('w', (_port, work) => work()),
    store: {
      ...new MemoryRecord().actionStore(() => ({ query: async () => [] })),
      async progress() {
        if (away) throw new Error('connection refused')
        return '"half"'
      },
    },
    append: async (_request, outcome) => void reported.push(outcome),
    secrets: () => undefined,
    logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
    watch: createWatch(),
    faults: NO_FAULTS,
    now: () => 0,
  })
  await t.rejects(attempt(request, new AbortController().signal), /refused/)
  t.strictSame(reported, [], 'it is tried again, and none of the tries that its author allows is used up')
  away = false
  t.strictSame(await attempt(request, new AbortController().signal), { state: 'reported' })
  t.strictSame(reported, [{ result: '"you half"' }])
})
