// roles/worker.ts: 100 attempts at once, at most 32 connections, and a pool that gives up waiting after 10 s.
// A stub of Postgres: lets everybody in, answers every statement with nothing.

import { createServer } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { z } from 'zod'
import { createAttempts } from '../../consumers/run-attempt.ts'
import { NO_FAULTS } from '../../faults.ts'
import { createActionStore } from '../../postgres/action-store.ts'
import { createPgPool } from '../../postgres/pool.ts'
import type { AttemptOutcome } from '../../producers/inputs.ts'
import type { ActionRequest } from '../../schemas/generated.ts'
import { createWatch } from '../../watch.ts'
import { defineAction } from '../../workflow/action.ts'
import { implementDatabase } from '../../workflow/app.ts'
import { MemoryRecord } from '../support/world/record.ts'
import { MemoryRedis } from '../support/world/redis.ts'

const slow = defineAction({ name: 'slow', parameters: z.object({}), result: z.string(), guarantee: 'exactly-once' })

const requestOf = (n: number): ActionRequest => ({
  action_id: `a${n}`,
  tenant: 't',
  execution_id: 'e',
  action: n,
  attempt: 1,
  name: 'slow',
  key: `a${n}`,
  scheduled: JSON.stringify({
    name: 'slow', key: null, group: null, arguments: {}, parameters: {},
    retry: { attempts: 1, backoff_ms: 1, factor: 1, max_ms: 1 },
    timeout_ms: 30_000, guarantee: 'exactly-once', queue: null,
  }),
  user_id: null,
  requested_at: Date.now(),
})

const message = (type: string, body: Buffer) => {
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}
const READY = message('Z', Buffer.from('I'))
const DONE = message('C', Buffer.from('INSERT 0 1\0'))

t.test('an exactly-once attempt that waits for a connection does not fail for it', { timeout: 60_000 }, async (t) => {
  const server = createServer((socket) => {
    let started = false
    socket.on('error', () => undefined)
    socket.on('data', (data) => {
      if (!started) {
        started = true
        return void socket.write(Buffer.concat([message('R', Buffer.alloc(4)), READY]))
      }
      const isExtended = data[0] === 'P'.charCodeAt(0)
      const parts = isExtended ? [message('1', Buffer.alloc(0)), message('2', Buffer.alloc(0)), message('n', Buffer.alloc(0)), DONE, READY] : [DONE, READY]
      socket.write(Buffer.concat(parts))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  // As roles/worker.ts makes it, only smaller: fewer connections than attempts that run at once.
  const actions = createPgPool(`postgres://u:p@127.0.0.1:${port}/d`, { max: 1, name: 'refold-actions' })
  t.teardown(async () => {
    await actions.end()
    server.close()
  })
  const reported: AttemptOutcome[] = []
  const real = createActionStore(actions, actions, 'w')
  const attempt = createAttempts({
    worker: 'w',
    implementations: new Map([['slow', implementDatabase(slow, async () => (await pause(6000), 'done'))]]),
    memory: new MemoryRedis().memoryOf('w', (_port, work) => work()),
    store: { ...new MemoryRecord().actionStore(() => ({ query: async () => [] })), inTransaction: (...given) => real.inTransaction(...given) },
    append: async (_request, outcome) => void reported.push(outcome),
    secrets: () => undefined,
    logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
    watch: createWatch(),
    faults: NO_FAULTS,
    now: Date.now,
  })
  // Each takes 6 s of its 30: the third one waits 12 s for the connection.
  const { signal } = new AbortController()
  const ended = await Promise.allSettled([1, 2, 3].map((n) => attempt(requestOf(n), signal)))
  t.strictSame(reported.filter((one) => 'error' in one), [], 'no failure is in the log')
  t.strictSame(ended.map(({ status }) => status), ['fulfilled', 'fulfilled', 'fulfilled'])
})
