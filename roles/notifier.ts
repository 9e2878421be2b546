// The notifier, put together: Postgres with a connection that listens, Redis, the lease.

import { createNotifier } from '../consumers/notifier.ts'
import { createNotifierNews } from '../consumers/notifier-news.ts'
import { createRecordedEvents } from '../consumers/recorded-events.ts'
import type { Lifetime } from '../lifetime.ts'
import { createNotifierStore } from '../postgres/notifier-store.ts'
import { createPgPool } from '../postgres/pool.ts'
import { createRedis } from '../redis/client.ts'
import { createNotificationStream } from '../redis/notifications.ts'
import type { Watch } from '../watch.ts'
import { type Base, type Checks, part, processId, type StartOptions } from './base.ts'
import { keepListening } from './recorded.ts'

/** The name that the contract fixes; another installation on the same Redis has its prefix before it. */
export const streamOf = (prefix: string, given: string | undefined) =>
  given ?? (prefix === 'refold' ? 'workflow:events:global' : `${prefix}:workflow:events:global`)

export async function startNotifier(
  { config, addresses, logger }: StartOptions,
  { faults, recorded: heard }: Base,
  checks: Checks,
  watch: Watch,
  lifetime: Lifetime,
): Promise<void> {
  const stream = streamOf(config.topicPrefix, config.notificationStream)
  const pool = lifetime.owns(
    createPgPool(addresses.databaseUrl, { max: 2, name: 'refold-notifier', role: 'refold_engine', byKey: true }),
    (opened) => opened.end(),
  )
  const redis = lifetime.owns(
    createRedis(addresses.redisUrl, (error) => watch.emit('notifier:round:failed', { error: error.message })),
    (opened) => opened.disconnect(),
  )
  const recorded = createRecordedEvents()
  const news = createNotifierNews(recorded.isOurs)
  lifetime.owns(heard.add(recorded.add), (listeners) => listeners.delete(recorded.add))
  const notifier = createNotifier({
    store: createNotifierStore(pool, processId('notifier')),
    stream: createNotificationStream(redis, stream, config.notificationLength),
    length: config.notificationLength,
    watch,
    faults,
    news,
    recorded,
  })
  // A recorder in this process is heard at once.
  watch.on('recorder:batch:stored', ({ partition, next }) => news.woken(`${partition}:${next}`))
  lifetime.owns(keepListening(addresses.databaseUrl, 'refold-notifier-listen', news.listened, logger), (opened) => opened.stop())
  lifetime.owns(notifier, (opened) => opened.stop()).start()
  checks.set('notifier', async () => {
    const { trouble } = notifier
    return trouble === undefined ? { name: 'notifier', ready: true } : { name: 'notifier', ready: false, detail: trouble }
  })
  checks.set('notifier-redis', () => part('notifier-redis', () => redis.ping()))
  logger.info({ stream, length: config.notificationLength }, 'notifier started')
}
