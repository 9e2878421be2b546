// A look at Redis, for `refold doctor`: asks, writes nothing, gives up soon.

import { Redis } from 'ioredis'

export type RedisLook = {
  version: string
  /** What it throws out when memory is full; '' when it does not say. */
  evictionPolicy: string
  /** Bytes it may use; 0 = no bound. */
  maxMemory: number
  /** Redis' clock minus ours, in ms; give or take half the latency. */
  clockDifference: number
  /** Of one PING, in ms. */
  latency: number
}

export async function lookAtRedis(url: string, within: number): Promise<RedisLook> {
  const redis = new Redis(url, {
    lazyConnect: true,
    connectTimeout: within,
    commandTimeout: within,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  })
  let lost: unknown
  redis.on('error', (error: unknown) => (lost = error)) // the reason; what connect() rejects with only says "closed"
  try {
    await redis.connect().catch((error: unknown) => {
      throw lost ?? error
    })
    const begun = performance.now()
    await redis.ping()
    const latency = performance.now() - begun
    const asked = Date.now()
    const [seconds, micros] = await redis.time()
    const middle = (asked + Date.now()) / 2
    const facts = factsOf(await redis.info())
    return {
      version: facts.get('redis_version') ?? 'unknown',
      evictionPolicy: facts.get('maxmemory_policy') ?? '',
      maxMemory: Number(facts.get('maxmemory') ?? 0),
      clockDifference: Number(seconds) * 1000 + Number(micros) / 1000 - middle,
      latency,
    }
  } finally {
    redis.disconnect()
  }
}

/** `name:value` lines of INFO. */
function factsOf(info: string): ReadonlyMap<string, string> {
  return new Map(
    info.split('\r\n').flatMap((line) => {
      const colon = line.indexOf(':')
      return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 1)] as const]
    }),
  )
}
