// produce → [log] → recorder | runtime | projector → state → REST
//
// The one way into the log. Owns: the queues of all partitions, the sends in flight, the leaders as last seen. Doesn't own:
// bytes, keys, partition numbers (the caller's), topics (topics.ts).
//
// P1  One send in flight per leader, carrying all its partitions that have something to send; what arrives meanwhile goes
//     into the next. Never two leaders in one send, never two sends of one partition at a time.
// P2  Each partition of a send must be in its answer, without an error and with an offset; else its outcome is unknown.
// P3  After an unknown outcome the same records are sent again before anything else of their partition (send-queue.ts, Q2).
// P4  No transaction and no idempotence of the client: it loses acknowledged records when sends overlap. Our ids deduplicate.
// P5  A refusal for size is traced to its record by sending the partitions, then halves, alone.

import { setTimeout as pause } from 'node:timers/promises'
import type { Kafka, Message, Producer, RecordMetadata } from 'kafkajs'
import { RefoldError, asError } from '../errors.ts'
import type { Admin } from './admin.ts'
import { kafkaCode, logError } from './client.ts'
import type { LineLogger } from './client.ts'
import type { Appended, LogAppend } from './log.ts'
import { SendQueue, sizeOf } from './send-queue.ts'
import type { Batch, Waiting } from './send-queue.ts'

/** What one send carries. */
export type Send = { leader: number; parts: readonly { queue: SendQueue; batch: Batch }[] }

/** Where a test can break a send: a throw in `before` is a send never made, one in `after` an answer lost. */
export type SendFaults = {
  before?(send: Send): void | Promise<void>
  after?(send: Send, results: RecordMetadata[]): void | Promise<void>
}

export type AppenderOptions = {
  kafka: Kafka
  admin: Admin
  logger: LineLogger
  /** Milliseconds an append may wait before its caller is told `log-unavailable`. */
  deadline: number
  /** Milliseconds that the broker waits for its replicas. */
  ackTimeout?: number
  faults?: SendFaults
}

export type Appender = { append(record: LogAppend): Promise<Appended>; close(): Promise<void> }

/** Largest record, in bytes of key, value and headers. The limit named by `log-append-too-large`. */
export const RECORD_BYTES = 1_000_000
const SEND_BYTES = 8_000_000
const WAITING_BYTES = 256_000_000
const REFUSALS = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE', 'INVALID_RECORD'])
// The broker, or our own client before sending, said that nothing was written.
const NOT_WRITTEN = new Set(['NOT_LEADER_FOR_PARTITION', 'LEADER_NOT_AVAILABLE', 'UNKNOWN_TOPIC_OR_PARTITION', 'NOT_ENOUGH_REPLICAS'])
const REBUILD_AFTER = 3
const MISSING_FOR = 5000
const BACK_OFF = { first: 50, most: 1000 }

export function createAppender({ kafka, admin, logger, deadline, ackTimeout = 10_000, faults = {} }: AppenderOptions): Appender {
  const queues = new Map<string, SendQueue>()
  const leaders = new Map<string, readonly number[]>()
  const busy = new Set<number>()
  const lookups = new Set<string>()
  const closing = new AbortController()
  let state: 'open' | 'draining' | 'closed' = 'open'
  let waitingBytes = 0
  let pumping = false
  let watch: NodeJS.Timeout | undefined
  let client: Promise<Producer> | undefined
  let drained: (() => void) | undefined

  const wait = (milliseconds: number) => pause(milliseconds, undefined, { signal: closing.signal }).catch(() => undefined)

  function append(record: LogAppend): Promise<Appended> {
    if (state !== 'open') return Promise.reject(new RefoldError('log-closed', `append to ${record.topic}`))
    const bytes = sizeOf(record)
    if (bytes > RECORD_BYTES) return Promise.reject(tooLarge(record, bytes))
    if (waitingBytes + bytes > WAITING_BYTES)
      return Promise.reject(new RefoldError('log-unavailable', `${WAITING_BYTES} bytes wait to be appended already`))
    waitingBytes += bytes
    return new Promise<Appended>((resolve, reject) => {
      const settle = (tell: () => void) => {
        if (waiting.deadline === Infinity) return
        waiting.deadline = Infinity
        waitingBytes -= bytes
        if (waitingBytes === 0) drained?.()
        tell()
      }
      const waiting: Waiting = {
        record,
        bytes,
        deadline: performance.now() + deadline,
        resolve: (appended) => settle(() => resolve(appended)),
        reject: (error) => settle(() => reject(error)),
      }
      queueOf(record).push(waiting)
      arm(deadline)
      pump()
    })
  }

  function queueOf({ topic, partition }: LogAppend): SendQueue {
    const name = `${topic}/${partition}`
    let queue = queues.get(name)
    if (!queue) queues.set(name, (queue = new SendQueue(topic, partition)))
    return queue
  }

  // At the end of the turn of the event loop, so that what arrives in the same turn goes out together.
  function pump(): void {
    if (pumping) return
    pumping = true
    setImmediate(() => {
      pumping = false
      for (const queue of queues.values()) {
        if (!queue.ready) continue
        const leader = leaders.get(queue.topic)?.[queue.partition]
        if (leader === undefined) void lookUp(queue.topic)
        else if (!busy.has(leader)) void serve(leader)
      }
    })
  }

  async function lookUp(topic: string): Promise<void> {
    if (lookups.has(topic)) return
    lookups.add(topic)
    const since = performance.now()
    for (let tries = 0; !closing.signal.aborted; tries++) {
      try {
        const found = await admin.leaders(topic)
        const stranger = [...queues.values()].find((queue) => queue.topic === topic && !queue.empty && queue.partition >= found.length)
        if (stranger) {
          stranger.giveUp(
            new RefoldError('log-topic-missing', `${topic} has ${found.length} partitions, none with number ${stranger.partition}`),
          )
          continue
        }
        if (found.every((leader) => leader >= 0)) {
          leaders.set(topic, found)
          break
        }
      } catch (thrown) {
        const error = logError(thrown, `the leaders of ${topic}`)
        const missing = error.code === 'log-topic-missing'
        if (missing && performance.now() - since > Math.min(MISSING_FOR, deadline)) {
          for (const queue of queues.values()) if (queue.topic === topic) queue.giveUp(error, true)
          break
        }
        if (tries === 0) logger.warn({ topic, error: error.message }, 'the log does not say where its partitions are; asked again')
      }
      await wait(backOff(tries))
    }
    lookups.delete(topic)
    pump()
  }

  // Sends for one leader until nothing is left for it.
  async function serve(leader: number): Promise<void> {
    busy.add(leader)
    let failures = 0
    for (let send = next(leader); send && !closing.signal.aborted; send = next(leader)) {
      const failed = await attempt(send)
      if (!failed) {
        if (failures > 0) logger.info({ leader, failures }, 'appends go on')
        failures = 0
        continue
      }
      failures++
      for (const { queue } of send.parts) leaders.delete(queue.topic)
      if (failures % REBUILD_AFTER === 0) rebuild()
      if (!REFUSALS.has(kafkaCode(failed))) {
        const facts = { leader, failures, partitions: send.parts.map(({ queue }) => `${queue.topic}/${queue.partition}`) }
        logger[failures === 1 ? 'warn' : 'debug']({ ...facts, error: failed.message }, 'a send failed; the same records are sent again')
        await wait(backOff(failures - 1))
      }
      await Promise.all([...new Set(send.parts.map(({ queue }) => queue.topic))].map(lookUp))
    }
    busy.delete(leader)
    pump()
  }

  function next(leader: number): Send | undefined {
    const ready = [...queues.values()].filter((queue) => queue.ready && leaders.get(queue.topic)?.[queue.partition] === leader)
    const lone = ready.find((queue) => queue.alone)
    const parts: { queue: SendQueue; batch: Batch }[] = []
    let bytes = 0
    for (const queue of lone ? [lone] : ready) {
      if (bytes > SEND_BYTES) break
      const batch = queue.take()
      parts.push({ queue, batch })
      bytes += batch.bytes
    }
    return parts.length > 0 ? { leader, parts } : undefined
  }

  // Returns what made it fail, if anything did; each part of the send has landed then.
  async function attempt(send: Send): Promise<Error | undefined> {
    let made = false
    const sentAt = Date.now()
    try {
      await faults.before?.(send)
      const producer = await connected()
      made = true
      const results = await producer.sendBatch({ acks: -1, timeout: ackTimeout, topicMessages: messagesOf(send, sentAt) })
      await faults.after?.(send, results)
      return land(send, results, sentAt)
    } catch (thrown) {
      const error = asError(thrown)
      const code = kafkaCode(error)
      const single = send.parts.length === 1
      for (const { queue, batch } of send.parts) {
        if (REFUSALS.has(code) && single) queue.refused(tooLarge(batch.entries[0]!.record, batch.bytes, error))
        // The client tells the first error of an answer only: of the other partitions nothing is known.
        else queue.failed(!made || (single && NOT_WRITTEN.has(code)) ? 'sure' : 'unknown', REFUSALS.has(code))
      }
      return error
    }
  }

  function land(send: Send, results: readonly RecordMetadata[], sentAt: number): Error | undefined {
    let missing: string | undefined
    for (const { queue } of send.parts) {
      const result = results.find(({ topicName, partition }) => topicName === queue.topic && partition === queue.partition)
      const base = Number(result?.baseOffset ?? -1)
      if (result?.errorCode === 0 && base >= 0) {
        const time = Number(result.logAppendTime ?? -1)
        queue.acknowledged(base, time >= 0 ? time : sentAt) // −1: the topic keeps the time we gave
      } else {
        queue.failed('unknown')
        missing = `${queue.topic}/${queue.partition} (error ${result?.errorCode ?? 'none'}, offset ${base})`
      }
    }
    return missing === undefined ? undefined : new Error(`The answer to a send lacks ${missing}`)
  }

  function connected(): Promise<Producer> {
    client ??= (async () => {
      const producer = kafka.producer({
        idempotent: false,
        allowAutoTopicCreation: false,
        createPartitioner:
          () =>
          ({ message }) =>
            message.partition ?? 0,
        retry: { retries: 0 },
        metadataMaxAge: 60_000,
      })
      await producer.connect()
      return producer
    })()
    client.catch(() => (client = undefined))
    return client
  }

  // A client that keeps failing may hold stale leaders or a dead connection; after some errors it never looks again.
  function rebuild(): void {
    const old = client
    client = undefined
    old?.then((producer) => producer.disconnect()).catch((error: unknown) => logger.debug({ error }, 'the old producer did not disconnect'))
  }

  function arm(milliseconds: number): void {
    watch ??= setTimeout(() => {
      watch = undefined
      const now = performance.now()
      let oldest = Infinity
      for (const queue of queues.values()) {
        if (queue.deadline <= now) {
          const detail = `nothing could be appended to ${queue.topic} p${queue.partition} for ${deadline} ms; an append may still have been made`
          queue.giveUp(new RefoldError('log-unavailable', detail))
        }
        oldest = Math.min(oldest, queue.deadline)
      }
      if (oldest < Infinity) arm(Math.max(1, oldest - now))
    }, milliseconds).unref()
  }

  async function close(): Promise<void> {
    if (state !== 'open') return
    state = 'draining'
    if (waitingBytes > 0) await Promise.race([new Promise<void>((resolve) => (drained = resolve)), wait(Math.min(deadline, 5000))])
    state = 'closed'
    closing.abort()
    clearTimeout(watch)
    for (const queue of queues.values()) queue.giveUp(new RefoldError('log-closed', `append to ${queue.topic} p${queue.partition}`), true)
    const producer = await client?.catch(() => undefined)
    await producer?.disconnect()
  }

  return { append, close }
}

function messagesOf({ parts }: Send, sentAt: number): { topic: string; messages: Message[] }[] {
  const topics = new Map<string, Message[]>()
  const timestamp = String(sentAt)
  for (const { queue, batch } of parts) {
    const messages = topics.get(queue.topic) ?? []
    topics.set(queue.topic, messages)
    for (const { record } of batch.entries) {
      const { key, value, headers, partition } = record
      const bytes = Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength)
      messages.push({ key, value: bytes, partition, timestamp, ...(headers ? { headers: { ...headers } } : {}) })
    }
  }
  return [...topics].map(([topic, messages]) => ({ topic, messages }))
}

function tooLarge({ topic, partition, key }: LogAppend, bytes: number, cause?: Error): RefoldError {
  return new RefoldError('log-append-too-large', `${bytes} bytes for ${topic} p${partition}, key ${key}`, { cause })
}

function backOff(tries: number): number {
  return Math.min(BACK_OFF.most, BACK_OFF.first * 2 ** tries)
}
