// One membership in a consumer group: one kafkajs consumer, from joining to leaving. Owns: the consumer, the partitions
// assigned to it (assigned.ts), the mirror of their checkpoints. Doesn't own: when to join again (reader.ts).
//
// M1  autoCommit off, offsets resolved only for what the handler stored; the group's offsets decide nothing.
// M2  A rebalance tells nobody beforehand: it closes all partitions and positions the new ones from their checkpoints.
// M3  Batches of control records alone never reach the client's call-back; END_BATCH_PROCESS tells of them.
// M4  readUncommitted: the client's other filter leaks aborted records depending on where a fetch begins, and a foreign
//     open transaction would stop every reader.
// M5  What keeps several partitions and passes by itself is one warning for all of them, and one line when all go on.

import { setTimeout as pause } from 'node:timers/promises'
import type { Consumer, ConsumerEndBatchProcessEvent, EachBatchPayload, Kafka } from 'kafkajs'
import { asError, type ErrorCode } from '../errors.ts'
import type { Admin } from './admin.ts'
import { Assigned } from './assigned.ts'
import type { AssignedPorts } from './assigned.ts'
import type { LineLogger } from './client.ts'
import { fetched } from './fetched.ts'
import type { PartitionBounds, ReaderOptions } from './log.ts'
import type { SharedFetches } from './shared-fetches.ts'

export type GroupSettings = {
  /** All in milliseconds; config.ts says what each trades. */
  fetchWait: number
  groupSession: number
  groupHeartbeat: number
}

export type MemberPorts = {
  kafka: Kafka
  admin: Admin
  logger: LineLogger
  /** Absent: it fetches for itself alone. */
  shared?: SharedFetches | undefined
  failed(error: Error): void
}

export type Member = {
  /** Resolves once the group gave it its partitions. */
  join(): Promise<void>
  /** Resolves when this membership is over, with the reason; `end` makes it so. */
  ended: Promise<Error | undefined>
  end(reason?: Error): void
  /** `graceful` waits for the batches in hand; without it their partitions are closed at once. */
  leave(graceful: boolean): Promise<void>
  assigned(): ReadonlyMap<number, Assigned>
}

const FETCH = { maxBytesPerPartition: 1024 * 1024, maxBytes: 8 * 1024 * 1024 }
const PARTITIONS_AT_ONCE = 12
const MAX_RECORDS = 5000
const MIRROR_EVERY = 500
const GOODBYE = 5000

export function createMember(options: ReaderOptions, settings: GroupSettings, ports: MemberPorts): Member {
  const { topic, group, handler, mirror, maxRecords = MAX_RECORDS } = options
  const { admin, logger, shared } = ports
  const consumer: Consumer = ports.kafka.consumer({
    groupId: group,
    readUncommitted: true,
    allowAutoTopicCreation: false,
    minBytes: 1,
    maxWaitTimeInMs: settings.fetchWait,
    sessionTimeout: settings.groupSession,
    heartbeatInterval: settings.groupHeartbeat,
    rebalanceTimeout: Math.max(20_000, settings.groupSession),
    metadataMaxAge: 60_000,
    retry: { retries: 8, initialRetryTime: 100, maxRetryTime: 1000, restartOnFailure: async () => false },
    ...FETCH,
  })
  const moved = new Map<number, number>()
  /** Partition → code of what it rests for. */
  const resting = new Map<number, ErrorCode>()
  let assigned = new Map<number, Assigned>()
  let left = false
  let mirrorTimer: NodeJS.Timeout | undefined
  let looking: Promise<PartitionBounds[]> | undefined
  const { promise: ended, resolve: end } = Promise.withResolvers<Error | undefined>()
  const { promise: joined, resolve: hasJoined } = Promise.withResolvers<void>()

  // All partitions of an assignment ask at once: one question for all.
  async function bounds(partition: number): Promise<PartitionBounds> {
    looking ??= admin.bounds(topic).finally(() => (looking = undefined))
    const found = (await looking).find((each) => each.partition === partition)
    return found ?? { partition, low: 0, high: 0 }
  }

  function assign(partitions: readonly number[]): void {
    for (const old of assigned.values()) old.close()
    if (left) return
    const current = new Map<number, Assigned>()
    const own = (partition: number) => !left && assigned === current && assigned.has(partition)
    const toClient: AssignedPorts = {
      bounds,
      hold: (partition) => own(partition) && tell(() => consumer.pause([{ topic, partitions: [partition] }])),
      release: (partition, offset) =>
        own(partition) &&
        tell(() => {
          consumer.seek({ topic, partition, offset: String(offset) })
          consumer.resume([{ topic, partitions: [partition] }])
        }),
      moved: (partition, next) => own(partition) && mirrorLater(partition, next),
      away(partition) {
        const one = current.get(partition)
        if (one) shared?.away(one)
      },
      failed(partition, error, tries) {
        ports.failed(error)
        const facts = { topic, group, partition, code: error.code, tries }
        // M5. `internal` is what a handler threw: each partition has its own.
        const isTold = error.retryable && error.code !== 'internal' && [...resting.values()].includes(error.code)
        const isNew = resting.get(partition) !== error.code
        if (own(partition)) resting.set(partition, error.code)
        logger[(isNew && !isTold) || error.code === 'log-replaced' ? 'warn' : 'debug'](facts, `reading rests: ${error.message}`)
      },
      goesOn(partition) {
        if (!own(partition) || !resting.delete(partition) || resting.size > 0) return
        logger.info({ topic, group }, 'reading goes on')
      },
    }
    assigned = current
    resting.clear()
    for (const partition of partitions) current.set(partition, new Assigned(topic, partition, handler, toClient, maxRecords))
    logger.info({ topic, group, partitions }, 'partitions assigned')
    for (const each of current.values()) {
      shared?.join(each, options.sharesFetches === 'leads')
      void each.position()
    }
    hasJoined()
  }

  // The client refuses these calls once it crashed; a new membership follows then.
  function tell(call: () => void): void {
    try {
      call()
    } catch (error) {
      logger.debug({ topic, group, error: asError(error).message }, 'the client is gone')
    }
  }

  async function eachBatch(payload: EachBatchPayload): Promise<void> {
    const { batch } = payload
    const current = assigned
    const partition = current.get(batch.partition)
    if (!partition || left || !payload.isRunning() || payload.isStale()) return
    const found = fetched(batch)
    const beats = beating(
      () => payload.heartbeat(),
      settings.groupHeartbeat,
      () => partition.interrupt(),
    )
    const outcome = await (shared ? shared.take(partition, found) : partition.take(found))
    clearInterval(beats.timer)
    if (outcome === 'taken' && current === assigned && !left) payload.resolveOffset(String(found.next - 1))
    if (beats.error) throw beats.error
  }

  // M3. The client goes on meanwhile; the partition takes its batches one by one, so that order stays.
  function controlOnly({
    batchSize,
    firstOffset,
    lastOffset,
    partition,
    highWatermark,
    topic: of,
  }: ConsumerEndBatchProcessEvent['payload']): void {
    if (batchSize > 0 || of !== topic) return
    const from = Number(firstOffset)
    const next = Number(lastOffset) + 1
    void assigned.get(partition)?.take({ partition, from, next, records: [], highWatermark: Number(highWatermark), holes: 0 })
  }

  function mirrorLater(partition: number, next: number): void {
    moved.set(partition, next)
    mirrorTimer ??= setTimeout(() => void mirrorNow(), MIRROR_EVERY)
  }

  async function mirrorNow(): Promise<void> {
    clearTimeout(mirrorTimer)
    mirrorTimer = undefined
    const offsets = [...moved]
      .filter(([partition]) => assigned.has(partition))
      .map(([partition, next]) => ({
        topic,
        partition,
        offset: String(next),
        metadata: `refold:${mirror.reader}:g${mirror.generation}:${next}`,
      }))
    moved.clear()
    if (offsets.length === 0) return
    try {
      await consumer.commitOffsets(offsets)
    } catch (error) {
      logger.debug({ topic, group, error: asError(error).message }, 'the group offset was not mirrored')
    }
  }

  async function join(): Promise<void> {
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => assign(payload.memberAssignment[topic] ?? []))
    consumer.on(consumer.events.CRASH, ({ payload }) => end(payload.error))
    consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload }) => controlOnly(payload))
    try {
      await consumer.connect()
      await consumer.subscribe({ topic, fromBeginning: true })
      await consumer.run({ autoCommit: false, eachBatchAutoResolve: false, partitionsConsumedConcurrently: PARTITIONS_AT_ONCE, eachBatch })
      await Promise.race([joined, ended])
    } finally {
      if (left) await consumer.disconnect()
    }
  }

  async function leave(graceful: boolean): Promise<void> {
    if (left) return
    if (graceful) {
      await Promise.all([...assigned.values()].map((partition) => partition.finish()))
      await mirrorNow()
    }
    left = true
    clearTimeout(mirrorTimer)
    for (const partition of assigned.values()) partition.close()
    const gone = consumer
      .disconnect()
      .catch((error: unknown) => logger.debug({ error: asError(error).message }, 'the consumer did not disconnect'))
    const late = new AbortController()
    await Promise.race([gone, pause(GOODBYE, undefined, { signal: late.signal }).catch(() => undefined)])
    late.abort()
  }

  return { join, ended, end, leave, assigned: () => assigned }
}

// The client beats only between batches; a handler may take longer than a session.
function beating(heartbeat: () => Promise<void>, every: number, interrupt: () => void): { timer: NodeJS.Timeout; error?: Error } {
  const beats: { timer: NodeJS.Timeout; error?: Error } = {
    timer: setInterval(() => {
      heartbeat().catch((error: unknown) => {
        beats.error = asError(error)
        interrupt()
      })
    }, every),
  }
  return beats
}
