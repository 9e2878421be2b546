// Redis stream → [reader] → your handler
//
// The reference reader of notifications, for downstream services: ioredis only, nothing of Kafka or Postgres. Any number of
// processes with one group share the entries; each entry is handled at least once.
//
// D1  New entries are always read first: one that fails waits for its next delivery and starves nobody.
// D2  An entry is acknowledged after its handler, never before. What a consumer that died had is claimed when idle.
// D3  After its last delivery an entry is a dead letter: kept whole, to be looked at and sent again.
// D4  A blocking read has a connection of its own.
// D5  What a member has in hand stays its own while it lives (claims.ts); a handler that never ends has failed after `timeout`.

import { hostname } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { tellAway } from './away.ts'
import { Claims } from './claims.ts'
import { addDeadLetter } from './dead-letters.ts'
import { type Notification, readNotification } from './notification.ts'

export type ReaderOptions = {
  /** Redis' address. */
  url: string
  /** Consumer group; its members share the entries. */
  group: string
  /** Name of this member (default: host, process and a number). */
  consumer?: string
  /** Where a new group begins: `0` the oldest entry kept, `$` only what comes from now on (default). */
  from?: '0' | '$'
  /** Entries read at a time (default 100). */
  count?: number
  /**
   * What a member that died had is taken over after so long, ms (default 30,000); the same for all members of a group. One that
   * lives keeps what it has, however long that takes, unless a handler blocks its process for as long.
   */
  idle?: number
  /** Deliveries of an entry before it is a dead letter (default 3). */
  deliveries?: number
  /** Wait before the next delivery of an entry that failed `delivery` times, ms (default 1 s, then 5 s). */
  backOff?: (delivery: number) => number
  /** A handler that takes longer failed, ms (default 300,000; 0: it may take for ever, and what comes behind it waits). */
  timeout?: number
  /** Told of what fails and is tried again; of a Redis that is away once, within 2 s (default: a warning of the process). */
  failed?: (error: Error, notification: Notification | undefined) => void
  /** Stops it, as `stop` does; before it is registered, as when Redis is away from the start, registering rejects with its reason. */
  signal?: AbortSignal
}

/** What a handler may ask beside its notification. */
export type Delivery = {
  /** 1, 2, 3 … */
  delivery: number
  /** Aborted when the handler has taken too long: its entry is delivered again, and what it still does is not acknowledged. */
  signal: AbortSignal
  /** True when this group handled an event at this position before: a repeat, to be passed over. */
  seen(position: string): Promise<boolean>
}

export type Handler = (notification: Notification, delivery: Delivery) => Promise<void> | void

export type RegisteredConsumer = {
  /**
   * Begins no other entry, waits for the handler in hand, up to its `timeout`, and leaves. Redis has a second for each answer
   * that is still wanted: an entry that was handled and could not be acknowledged by then comes again.
   */
  stop(): Promise<void>
}

const BLOCK = 1000
const LOOK_EVERY = 500
const AGAIN = 1000
/** Once it stops, an answer of Redis is waited for so long. */
const LAST = 1000
/** Positions remembered for `seen`; more than the stream has entries. */
const REMEMBERED = 20_000

type Entry = [id: string, fields: string[]]
type Pending = [id: string, consumer: string, idle: number, deliveries: number]

let members = 0

/** Rejects when the handler has not ended in time, and tells it; how it ends after that is nobody's concern. */
async function inTime(timeout: number, handle: (late: AbortSignal) => Promise<void> | void): Promise<void> {
  const late = new AbortController()
  if (timeout === 0) return handle(late.signal)
  const { promise: over, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => {
      const error = new Error(`its handler has not ended after ${timeout} ms`)
      reject(error)
      late.abort(error)
    },
    Math.min(timeout, 2 ** 31 - 1),
  )
  try {
    await Promise.race([handle(late.signal), over])
  } finally {
    clearTimeout(timer)
  }
}

class Consumer {
  readonly #stream: string
  readonly #handler: Handler
  readonly #options: Required<Omit<ReaderOptions, 'url' | 'signal'>>
  readonly #redis: Redis
  readonly #blocking: Redis
  readonly #telling: { end(): void }
  readonly #claims: Claims
  readonly #stopping = new AbortController()
  /** Why an entry failed last, by its id. */
  readonly #errors = new Map<string, Error>()
  #handling: string | undefined
  #turn: Promise<unknown> = Promise.resolve()
  #work: Promise<unknown> = Promise.resolve()
  #closing: Promise<void> | undefined

  constructor(stream: string, handler: Handler, { url, signal, ...options }: ReaderOptions) {
    this.#stream = stream
    this.#handler = handler
    this.#options = {
      consumer: `${hostname()}-${process.pid}-${++members}`,
      from: '$',
      count: 100,
      idle: 30_000,
      deliveries: 3,
      timeout: 300_000,
      backOff: (delivery) => (delivery <= 1 ? 1000 : 5000),
      failed: (error, notification) =>
        process.emitWarning(notification ? `${notification.position}: ${error.message}` : error.message, 'RefoldReader'),
      ...options,
    }
    const retryStrategy = (times: number) => Math.min(100 * times, 2000)
    this.#redis = new Redis(url, { maxRetriesPerRequest: null, retryStrategy })
    this.#blocking = new Redis(url, { maxRetriesPerRequest: null, retryStrategy })
    this.#telling = tellAway([this.#redis, this.#blocking], (error) => this.#options.failed(error, undefined))
    this.#claims = new Claims(this.#redis, { stream, ...this.#options })
    signal?.addEventListener('abort', () => void this.stop(), { once: true, signal: this.#stopping.signal })
  }

  /** An answer of Redis, which commands wait for as long as it is away. Rejects when it does not come in time for a stop. */
  async #answered<T>(answer: Promise<T>, last = LAST): Promise<T> {
    const { signal } = this.#stopping
    const { promise: late, reject } = Promise.withResolvers<never>()
    let timer: NodeJS.Timeout | undefined
    const limit = () => (timer = setTimeout(() => reject(new Error('stopped before Redis answered')), last))
    if (signal.aborted) limit()
    else signal.addEventListener('abort', limit, { once: true })
    try {
      return await Promise.race([answer, late])
    } finally {
      signal.removeEventListener('abort', limit)
      clearTimeout(timer)
    }
  }

  async #makeGroup(): Promise<void> {
    try {
      // The answer is of no use to one that stops.
      await this.#answered(this.#redis.xgroup('CREATE', this.#stream, this.#options.group, this.#options.from, 'MKSTREAM'), 0)
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('BUSYGROUP'))) throw error
    }
  }

  /** Resolves once its group is there. Where that fails, its connections are closed first. */
  async begin(): Promise<void> {
    try {
      await this.#makeGroup()
    } catch (error) {
      await this.stop()
      throw error
    }
    this.#work = Promise.allSettled([this.#readNew(), this.#lookAtPending()])
  }

  /**
   * One entry at a time, new ones and claimed ones alike: the handler needn't expect itself twice, beside one that took too long.
   * None once it stops.
   */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const mine = this.#turn.then(() => (this.#stopping.signal.aborted ? undefined : work()))
    this.#turn = mine.catch(() => undefined)
    return mine
  }

  get #seenKey(): string {
    return `${this.#stream}:seen:${this.#options.group}`
  }

  async #handle([id, fields]: Entry, delivery: number): Promise<void> {
    const { group, failed } = this.#options
    const notification = readNotification(id, fields)
    this.#handling = id
    try {
      await inTime(this.#options.timeout, (late) =>
        this.#handler(notification, {
          delivery,
          signal: late,
          seen: async (position) => (await this.#answered(this.#redis.zscore(this.#seenKey, position))) !== null,
        }),
      )
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown : new Error(String(thrown))
      this.#errors.set(id, error)
      failed(error, notification)
      // Its back-off begins now, not when it was delivered or renewed.
      if (!this.#stopping.signal.aborted) await this.#answered(this.#claims.renew([id]))
      return
    } finally {
      this.#handling = undefined
    }
    this.#errors.delete(id)
    await this.#answered(
      this.#redis
        .pipeline()
        .xack(this.#stream, group, id)
        .zadd(this.#seenKey, Date.now(), notification.position)
        .zremrangebyrank(this.#seenKey, 0, -REMEMBERED - 1)
        .exec(),
    )
  }

  async #readNew(): Promise<void> {
    const { group, consumer, count, failed } = this.#options
    while (!this.#stopping.signal.aborted) {
      let ids: string[] = []
      try {
        const asked = performance.now()
        const read = (await this.#answered(
          this.#blocking.xreadgroup('GROUP', group, consumer, 'COUNT', count, 'BLOCK', BLOCK, 'STREAMS', this.#stream, '>'),
        )) as [string, Entry[]][] | null
        const entries = read?.[0]?.[1] ?? []
        ids = entries.map(([id]) => id)
        this.#claims.hold(ids, asked)
        for (const entry of entries) {
          if (this.#stopping.signal.aborted) return
          await this.#inTurn(() => this.#handleFirst(entry))
        }
      } catch (thrown) {
        this.#claims.release(ids)
        await this.#recover(thrown, failed)
      }
    }
  }

  async #handleFirst(entry: Entry): Promise<void> {
    const [id] = entry
    const isOurs = await this.#answered(this.#claims.isOurs(id))
    if (isOurs && !this.#stopping.signal.aborted) await this.#handle(entry, 1)
    this.#claims.release([id])
  }

  /** A flushed Redis has no group: it is made again, and begins at the oldest entry, so that nothing is passed over. */
  async #recover(thrown: unknown, failed: (error: Error, notification: undefined) => void): Promise<void> {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown))
    if (this.#stopping.signal.aborted) return
    failed(error, undefined)
    if (error.message.startsWith('NOGROUP'))
      await this.#answered(this.#redis.xgroup('CREATE', this.#stream, this.#options.group, '0', 'MKSTREAM')).catch(() => undefined)
    else await pause(AGAIN, undefined, { signal: this.#stopping.signal }).catch(() => undefined)
  }

  async #lookAtPending(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      try {
        await this.#takePending()
      } catch (thrown) {
        await this.#recover(thrown, this.#options.failed)
      }
      await pause(LOOK_EVERY, undefined, { signal: this.#stopping.signal }).catch(() => undefined)
    }
  }

  async #takePending(): Promise<void> {
    const { group, consumer, count, idle, backOff, deliveries } = this.#options
    const due = Math.min(idle, backOff(1))
    // All of them, a page at a time: what others have in hand must not hide what is behind it.
    for (let after = '-', isMore = true; isMore;) {
      const page = (await this.#answered(this.#redis.xpending(this.#stream, group, 'IDLE', due, after, '+', count))) as Pending[]
      for (const [id, owner, idleFor, delivered] of page) {
        if (this.#stopping.signal.aborted) return
        after = `(${id}`
        // Ours that failed: after their back-off. Those of others: when nobody has touched them for long.
        const wait = owner === consumer && this.#errors.has(id) ? backOff(delivered) : idle
        if (idleFor < wait || this.#claims.has(id)) continue
        await this.#inTurn(() => this.#deliverAgain(id, wait, delivered >= deliveries, delivered + 1))
      }
      isMore = page.length >= count
    }
  }

  async #deliverAgain(id: string, wait: number, isOver: boolean, delivery: number): Promise<void> {
    const { group, consumer } = this.#options
    const asked = performance.now()
    const [entry] = (await this.#answered(this.#redis.xclaim(this.#stream, group, consumer, wait, id))) as (Entry | null)[]
    // Null or missing: another consumer was first, or the stream has dropped the entry.
    if (!entry) return
    if (!isOver) {
      this.#claims.hold([id], asked)
      return this.#handle(entry, delivery).finally(() => this.#claims.release([id]))
    }
    const error = this.#errors.get(id) ?? new Error(`not acknowledged after ${delivery - 1} deliveries`)
    await this.#answered(addDeadLetter(this.#redis, this.#stream, entry, error))
    await this.#answered(this.#redis.xack(this.#stream, group, id))
    this.#errors.delete(id)
  }

  stop(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close(): Promise<void> {
    this.#stopping.abort()
    this.#telling.end()
    this.#claims.keepOnly(this.#handling)
    await this.#turn
    // A blocking read ends with its connection.
    this.#blocking.disconnect()
    await this.#work
    this.#claims.end()
    this.#redis.disconnect()
  }
}

/**
 * Handles the notifications of a stream, until it is stopped. Resolves once its group is there; rejects with what Redis said, or with
 * the reason of `signal`, and leaves nothing open.
 */
export async function registerConsumer(stream: string, handler: Handler, options: ReaderOptions): Promise<RegisteredConsumer> {
  const { signal } = options
  signal?.throwIfAborted()
  const consumer = new Consumer(stream, handler, options)
  try {
    await consumer.begin()
  } catch (error) {
    signal?.throwIfAborted()
    throw error
  }
  return { stop: () => consumer.stop() }
}
