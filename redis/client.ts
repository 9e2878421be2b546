// Connections to Redis: commands fail soon while it is away, so that whoever can do without it goes on.

import { Redis } from 'ioredis'

/** Longest that a command may take, ms. */
const COMMAND = 2000

/** Connects by itself, again and again; commands are not queued while it is away. `failed` is told of each lost connection. */
export function createRedis(url: string, failed: (error: Error) => void): Redis {
  const redis = new Redis(url, {
    enableOfflineQueue: false,
    commandTimeout: COMMAND,
    connectTimeout: COMMAND,
    maxRetriesPerRequest: 0,
    retryStrategy: (times) => Math.min(50 * times, 1000),
  })
  redis.on('error', failed)
  return redis
}
