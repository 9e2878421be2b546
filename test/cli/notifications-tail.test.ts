// What `refold notifications tail` shows, on a real Redis.

import t from 'tap'
import { entriesOf } from '../../cli/notifications.ts'
import { openRedis } from '../../reader/connection.ts'
import { newId } from '../../workflow/ids.ts'
import { useStack } from '../support/stack.ts'

t.test('an entry that comes between the look and the wait is shown, also in a stream that was empty', async (t) => {
  const { redisUrl } = useStack(t, ['redis'])
  if (redisUrl === undefined) return
  const redis = await openRedis(redisUrl)
  const streams: string[] = []
  t.teardown(async () => {
    await redis.del(...streams)
    redis.disconnect()
  })
  for (const before of ['none', 'deleted', 'some']) {
    const stream = `test:${newId()}`
    streams.push(stream)
    const first = before === 'none' ? undefined : await redis.xadd(stream, '*', 'name', 'first')
    if (first && before === 'deleted') await redis.xdel(stream, first)
    const look = redis.xrevrange.bind(redis) as (...args: unknown[]) => Promise<unknown>
    const between = Object.create(redis, {
      xrevrange: {
        async value(...args: unknown[]) {
          const found = await look(...args)
          await redis.xadd(stream, '*', 'name', 'between')
          return found
        },
      },
    }) as typeof redis
    const shown: string[] = []
    for await (const [, fields] of entriesOf(between, stream, 20, true)) {
      shown.push(fields[1] ?? '')
      if (fields[1] === 'between') await redis.xadd(stream, '*', 'name', 'later')
      if (fields[1] === 'later') break
    }
    t.strictSame(shown, [...(before === 'some' ? ['first'] : []), 'between', 'later'], before)
    const once: string[] = []
    for await (const [, fields] of entriesOf(redis, stream, 1, false)) once.push(fields[1] ?? '')
    t.strictSame(once, ['later'])
  }
})
