// The stream of notifications in Redis (the port NotificationStream of consumers/notifier.ts).

import type { Redis } from 'ioredis'
import { RefoldError } from '../errors.ts'
import { fieldsOf } from '../workflow/notification.ts'
import type { NotificationStream } from '../consumers/notifier.ts'

/** Its key is beside the stream: gone with it when Redis is flushed. */
const markerOf = (stream: string) => `${stream}:marker`

export function createNotificationStream(redis: Redis, stream: string, length: number): NotificationStream {
  return {
    async add(events) {
      const pipeline = redis.pipeline()
      for (const { event, previous } of events) pipeline.xadd(stream, 'MAXLEN', '~', length, '*', ...fieldsOf(event, previous))
      pipeline.exists(markerOf(stream))
      const results = await pipeline.exec()
      const failed = results?.find(([error]) => error !== null)
      if (!results || failed) throw new RefoldError('redis-unavailable', failed?.[0]?.message ?? 'no answer', { cause: failed?.[0] })
      return results.at(-1)?.[1] === 1
    },
    marked: async () => (await redis.exists(markerOf(stream))) === 1,
    async mark() {
      await redis.set(markerOf(stream), new Date().toISOString())
    },
  }
}
