// The notifier, put together: Postgres with a connection that listens, Redis, the lease.

import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from 'pino'
import { createNotifier } from '../consumers/notifier.ts'
import { asError } from '../errors.ts'
import type { Lifetime } from '../lifetime.ts'
import { createNotifierStore, listenForRecorded } from '../postgres/notifier-store.ts'
import { createPgClient, createPgPool } from '../postgres/pool.ts'
import { createRedis } from '../redis/client.ts'
import { createNotificationStream } from '../redis/notifications.ts'
import type { Watch } from '../watch.ts'
import { type Base, type Checks, part, type StartOptions } from './base.ts'
import { processId } from './runtime.ts'

/** The name that the contract fixes; another installation on the same Redis has its prefix before it. */
export const streamOf = (prefix: string, given: string | undefined) =>
  given ?? (prefix === 'refold' ? 'workflow:events:global' : `${prefix}:workflow:events:global`)

const LISTEN_AGAIN = 1000

/** A connection that listens; lost, it is made again, and until then the notifier looks four times a second. */
function keepListening(databaseUrl: string, woken: () => void, logger: Logger): { stop(): Promise<void> } {
  const stopping = new AbortController()
  const stopped = new Promise<void>((resolve) => stopping.signal.addEventListener('abort', () => resolve()))
  const listen = async (): Promise<void> => {
    const client = createPgClient(databaseUrl, 'refold-notifier-listen')
    const lost = new Promise<Error>((resolve) => client.once('error', resolve))
    try {
      await listenForRecorded(client, woken)
      const error = await Promise.race([lost, stopped])
      if (error) throw error
    } catch (error) {
      logger.warn({ error: asError(error).message }, 'the connection that listens is away; notifications go on by time')
      await pause(LISTEN_AGAIN, undefined, { signal: stopping.signal }).catch(() => undefined)
    } finally {
      await client.end().catch(() => undefined)
    }
  }
  const work = (async () => {
    while (!stopping.signal.aborted) await listen()
  })()
  return {
    stop() {
      stopping.abort()
      return work
    },
  }
}

export async function startNotifier(
  { config, addresses, logger }: StartOptions,
  { faults }: Base,
  checks: Checks,
  watch: Watch,
  lifetime: Lifetime,
): Promise<void> {
  const stream = streamOf(config.topicPrefix, config.notificationStream)
  const pool = lifetime.owns(createPgPool(addresses.databaseUrl, { max: 2, name: 'refold-notifier', role: 'refold_engine' }), (opened) =>
    opened.end(),
  )
  const redis = lifetime.owns(
    createRedis(addresses.redisUrl, (error) => watch.emit('notifier:round:failed', { error: error.message })),
    (opened) => opened.disconnect(),
  )
  const store = createNotifierStore(pool, processId('notifier'))
  const notifier = createNotifier({
    store,
    stream: createNotificationStream(redis, stream, config.notificationLength),
    length: config.notificationLength,
    watch,
    faults,
  })
  lifetime.owns(keepListening(addresses.databaseUrl, store.woken, logger), (opened) => opened.stop())
  lifetime.owns(notifier, (opened) => opened.stop()).start()
  checks.set('notifier', async () => {
    const { trouble } = notifier
    return trouble === undefined ? { name: 'notifier', ready: true } : { name: 'notifier', ready: false, detail: trouble }
  })
  checks.set('notifier-redis', () => part('notifier-redis', () => redis.ping()))
  logger.info({ stream, length: config.notificationLength }, 'notifier started')
}
