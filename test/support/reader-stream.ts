// A stream of notifications behind a door that a test opens and shuts, and a way to it of its own.

import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { type Handler, listDeadLetters, type ReaderOptions, registerConsumer } from '../../reader/index.ts'
import { doorTo } from './door.ts'
import { useStack } from './stack.ts'

/** undefined where there is no Redis; the test is skipped then. */
export async function useStream(t: Test) {
  const { redisUrl } = useStack(t, ['redis'])
  if (!redisUrl) return undefined
  const door = await doorTo(redisUrl)
  const direct = new Redis(redisUrl, { db: Number(new URL(door.url).pathname.slice(1)) })
  const stream = `test-${randomBytes(6).toString('hex')}`
  t.teardown(async () => {
    door.close()
    await direct.del(stream, `${stream}:seen:g`, `${stream}:dlq`)
    direct.disconnect()
  })
  return {
    door,
    direct,
    stream,
    add: (offset: number) => direct.xadd(stream, '*', 'event_name', 'thing.happened', 'position', `p0:${offset}`),
    /** Ids that are not acknowledged. */
    pending: async () => ((await direct.xpending(stream, 'g', '-', '+', 10)) as [string][]).map(([id]) => id),
    deadLetters: () => listDeadLetters(direct, stream),
    register: (handler: Handler, options: Partial<ReaderOptions> = {}) =>
      registerConsumer(stream, handler, {
        url: `${door.url}?connectionName=${stream}`,
        group: 'g',
        from: '0',
        failed: () => undefined,
        ...options,
      }),
    /** Whether a connection of those who registered is left. */
    isConnected: async () => String(await direct.client('LIST')).includes(stream),
  }
}
