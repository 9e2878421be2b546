// Append → visible in a projection, and → handed to a reader of the Redis stream, at a steady rate, beside the bare Kafka hop.

import { Redis } from 'ioredis'
import { createNotifier } from '../consumers/notifier.ts'
import { createNotifierNews, type NotifierNews } from '../consumers/notifier-news.ts'
import type { OwnEvents } from '../consumers/own-events.ts'
import { createRecordedEvents, type RecordedEvents } from '../consumers/recorded-events.ts'
import { NO_FAULTS } from '../faults.ts'
import { createNotifierStore, listenForRecorded } from '../postgres/notifier-store.ts'
import { createPgClient, createPgPool } from '../postgres/pool.ts'
import { createProjectionControl } from '../postgres/projection-control.ts'
import { createRedis } from '../redis/client.ts'
import { createNotificationStream } from '../redis/notifications.ts'
import { generationReader, passesOf } from '../roles/generation-reader.ts'
import { createRecordedNews, type HeardNews } from '../roles/recorded.ts'
import { createWatch } from '../watch.ts'
import { type Ground, PARTITIONS } from './ground.ts'
import { bareHop, Hops, PER_SECOND, steady } from './lag.ts'
import { type Bench, introduce, millis, percentile, say } from './measure.ts'
import { openRecorder } from './our-recorder.ts'
import { cases } from './projection-definitions.ts'

/** Seconds. */
const WARM = 5

/** `hop`: of a bare consumer that reads the same records meanwhile. */
type Ours = { hop: Hops; recorded: Hops; projection: Hops; reader: Hops }

/** The projector as roles/projector.ts puts it together. */
async function openProjection(ground: Ground, recordedNews: HeardNews, hops: Hops) {
  const pool = createPgPool(ground.databaseUrl, { max: 4, name: 'bench-projector', role: 'refold_engine', byKey: true })
  await createProjectionControl(ground.admin, [cases], PARTITIONS).sync(cases)
  const watch = createWatch()
  watch.on('projector:batch:stored', ({ partition, next }) => hops.seen(partition, next))
  const reader = generationReader({
    log: ground.log,
    topic: ground.topic,
    group: ground.fresh('projection'),
    codec: ground.codec,
    partitions: PARTITIONS,
    pool,
    passes: passesOf(ground.codec),
    maxRecords: 5000,
    projection: cases,
    generation: 1,
    low: async () => 0,
    watch,
    faults: NO_FAULTS,
    news: recordedNews,
    remembered: 25_000,
  })
  await reader.start()
  return async () => {
    await reader.stop()
    await pool.end()
  }
}

/** The notifier as roles/notifier.ts puts it together, and a plain reader of its stream. */
function openNotifications(ground: Ground, news: NotifierNews, recorded: RecordedEvents, hops: Hops) {
  const stream = `${ground.prefix}:notifications`
  const pool = createPgPool(ground.databaseUrl, { max: 2, name: 'bench-notifier', role: 'refold_engine', byKey: true })
  const redis = createRedis(ground.addresses.redisUrl, () => undefined)
  const length = 10_000
  const notifier = createNotifier({
    store: createNotifierStore(pool, 'bench'),
    stream: createNotificationStream(redis, stream, length),
    length,
    watch: createWatch(),
    faults: NO_FAULTS,
    news,
    recorded,
  })
  notifier.start()
  const own = new Redis(ground.addresses.redisUrl)
  const stopping = new AbortController()
  const read = async (): Promise<void> => {
    for (let last = '0'; !stopping.signal.aborted;) {
      const found = await own.xread('COUNT', 1000, 'BLOCK', 100, 'STREAMS', stream, last)
      for (const [id, fields] of found?.[0]?.[1] ?? []) {
        const [partition, offset] = (fields[fields.indexOf('position') + 1] ?? '').slice(1).split(':').map(Number)
        hops.seen(partition ?? -1, (offset ?? -1) + 1)
        last = id
      }
    }
  }
  const reading = read()
  return async () => {
    stopping.abort()
    await reading
    await notifier.stop()
    await own.del(stream, `${stream}:sent`)
    own.disconnect()
    redis.disconnect()
    await pool.end()
  }
}

/** What is not measured goes first: joined groups, prepared statements, warm code. */
async function warmed(ground: Ground, seconds: number, seed: number, all: readonly Hops[], own?: OwnEvents): Promise<void> {
  await steady(ground, WARM, seed + 1000, all, 'append', own)
  for (const hops of all) hops.lags.length = 0
  await steady(ground, seconds, seed, all, 'append', own)
}

async function ours(ground: Ground, seconds: number, seed: number): Promise<Ours> {
  const all: Ours = { hop: new Hops(), recorded: new Hops(), projection: new Hops(), reader: new Hops() }
  const recordedNews = createRecordedNews()
  const recorded = createRecordedEvents()
  const news = createNotifierNews(recorded.isOurs)
  const client = createPgClient(ground.databaseUrl, 'bench-listen')
  ground.owns(() => client.end().catch(() => undefined))
  await listenForRecorded(client, (place) => {
    recordedNews.hear(place)
    news.listened(place)
  })
  const recorder = openRecorder(ground, {
    recorded: recorded.add,
    storing: recordedNews.storing,
    stored({ partition, next }) {
      all.recorded.seen(partition, next)
      for (const hear of [recordedNews.hear, news.woken]) hear(`${partition}:${next}`)
    },
  })
  await recorder.start()
  await recorder.caughtUp()
  const closeProjection = await openProjection(ground, recordedNews, all.projection)
  const closeNotifications = openNotifications(ground, news, recorded, all.reader)
  await bareHop(ground, all.hop, () => warmed(ground, seconds, seed, Object.values(all), recorder.own))
  await closeNotifications()
  await closeProjection()
  await recorder.stop()
  return all
}

export const bench: Bench = async (ground, { rounds = 2, seconds = 15, only }) => {
  introduce(
    `From append to readers: ${PER_SECOND} events/s for ${seconds} s, all in one process`,
    'append called → recorded · → committed in a projection · → handed to a reader of the Redis stream',
    'REST. Limit: append called → seen by a bare kafkajs consumer, nothing stored; alone, and beside ours (same records, same moments)',
  )
  const line = (name: string, { lags }: Hops, alone: number, beside?: number) => {
    const p50 = percentile(lags, 0.5)
    const times = [
      `${(p50 / alone).toFixed(1)} of a hop alone`,
      ...(beside === undefined ? [] : [`${(p50 / beside).toFixed(1)} of one beside`]),
    ]
    say(`  ${name.padEnd(16)} p50 ${millis(p50).padEnd(9)} p99 ${millis(percentile(lags, 0.99)).padEnd(10)} ${times.join(', ')}`)
  }
  for (let round = 1; round <= rounds; round++) {
    const hop = new Hops()
    if (only !== 'ours') await bareHop(ground, hop, () => warmed(ground, seconds, 700 + round, [hop]))
    const alone = percentile(hop.lags, 0.5)
    const before = process.cpuUsage()
    say(`  round ${round}`)
    line('bare hop, alone', hop, alone)
    if (only === 'limit') continue
    const { hop: besides, recorded, projection, reader } = await ours(ground, seconds, 300 + round)
    const { user, system } = process.cpuUsage(before)
    const beside = percentile(besides.lags, 0.5)
    line('the same, beside', besides, alone)
    line('recorded', recorded, alone, beside)
    line('projection', projection, alone, beside)
    line('Redis reader', reader, alone, beside)
    say(`  ${((user + system) / 1e6 / (seconds + WARM)).toFixed(2)} cores in this process\n`)
  }
}
