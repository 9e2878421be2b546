// A connection to Redis for commands of a person: one try, and the reason why not.

import { Redis } from 'ioredis'

export type RedisConnection = Redis

/** Rejects with what the server, or the network, said. */
export async function openRedis(url: string): Promise<Redis> {
  const redis = new Redis(url, { lazyConnect: true, connectTimeout: 3000, maxRetriesPerRequest: 1, retryStrategy: () => null })
  let lost: unknown
  redis.on('error', (error: unknown) => (lost = error))
  await redis.connect().catch((error: unknown) => {
    throw lost ?? error
  })
  return redis
}
