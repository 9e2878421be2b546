// The attempts of one implementation, with everything around them in memory.

import { createAttempts } from '../../consumers/run-attempt.ts'
import { NO_FAULTS } from '../../faults.ts'
import type { AttemptOutcome } from '../../producers/inputs.ts'
import type { ActionRequest } from '../../schemas/generated.ts'
import { createWatch } from '../../watch.ts'
import type { Implementation } from '../../workflow/app.ts'
import { MemoryRecord } from './world/record.ts'
import { MemoryRedis } from './world/redis.ts'

type Store = ReturnType<MemoryRecord['actionStore']>

/** Its attempts, a request for one of them that has this payload of an `action.scheduled`, and the outcomes reported so far. */
export function attemptsOf(
  implementation: Implementation,
  scheduled: object,
  store: Partial<Store> = {},
  secrets: Readonly<Record<string, string>> = {},
) {
  const { name } = implementation.action
  const reported: AttemptOutcome[] = []
  const attempt = createAttempts({
    worker: 'w',
    implementations: new Map([[name, implementation]]),
    memory: new MemoryRedis().memoryOf('w', (_port, work) => work()),
    store: { ...new MemoryRecord().actionStore(() => ({ query: async () => [] })), ...store },
    append: async (_request, outcome) => void reported.push(outcome),
    secrets: (secret) => secrets[secret],
    logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
    watch: createWatch(),
    faults: NO_FAULTS,
    now: () => 0,
  })
  const request: ActionRequest = {
    action_id: '11111111-1111-4111-8111-111111111111',
    tenant: 't',
    execution_id: '22222222-2222-4222-8222-222222222222',
    action: 1,
    attempt: 2,
    name,
    key: 'k',
    scheduled: JSON.stringify(scheduled),
    user_id: null,
    requested_at: 0,
  }
  return { attempt, reported, request }
}
