// Append acknowledged → recorded (committed in Postgres), at a steady rate, beside the bare Kafka hop.

import { setTimeout as pause } from 'node:timers/promises'
import type { Appended } from '../kafka/log.ts'
import type { OwnEvents } from '../consumers/own-events.ts'
import { createEventProducer } from '../producers/events.ts'
import { checkEvent } from '../workflow/limits.ts'
import { manyEvents } from './events.ts'
import { type Ground, PARTITIONS } from './ground.ts'
import { type Bench, introduce, millis, percentile, takeTurns } from './measure.ts'
import { openRecorder } from './our-recorder.ts'

export const PER_SECOND = 2000
/** Events are sent in small groups, so often, ms. */
const EVERY = 5

/** When each record was acknowledged, and seen; of a partition, records become seen in order. */
export class Hops {
  readonly lags: number[] = []
  readonly #waiting = Array.from({ length: PARTITIONS }, () => new Map<number, number>())
  /** Of each partition, what was seen up to which offset, when. */
  readonly #seen = Array.from({ length: PARTITIONS }, (): { next: number; at: number }[] => [])

  /** `since`: from when on the time of this record counts. */
  acknowledged(partition: number, offset: number, since = performance.now()): void {
    // A reader may be quicker than the acknowledgement.
    const seen = this.#seen[partition]
    const early = (seen?.at(-1)?.next ?? 0) > offset ? seen?.find(({ next }) => next > offset) : undefined
    if (early) this.lags.push(Math.max(0, early.at - since))
    else this.#waiting[partition]?.set(offset, since)
  }

  seen(partition: number, next: number): void {
    const now = performance.now()
    const seen = this.#seen[partition]
    seen?.push({ next, at: now })
    if (seen && seen.length > 1000) seen.splice(0, 500)
    const waiting = this.#waiting[partition]
    for (const [offset, since] of waiting ?? []) {
      if (offset >= next) continue
      this.lags.push(now - since)
      waiting?.delete(offset)
    }
  }
}

/**
 * Appends at the rate, as the API does; resolves when everything sent was seen by all. `from`: what counts as a record's begin. `own`: of
 * the recorder in this process.
 */
export async function steady(
  { log, topic, codec }: Ground,
  seconds: number,
  seed: number,
  all: readonly Hops[],
  from: 'append' | 'acknowledged' = 'acknowledged',
  own: Partial<OwnEvents> = {},
): Promise<void> {
  const { writing, written } = own
  const hooks = { ...(writing ? { writing } : {}), ...(written ? { written } : {}) }
  const producer = createEventProducer({ log, topic, partitions: PARTITIONS, encode: (event) => codec.encode(event), ...hooks })
  const count = PER_SECOND * seconds
  const events = manyEvents(count, seed)
  const began = performance.now()
  const sent: Promise<void>[] = []
  async function noted(appending: Promise<Appended>, called: number | undefined): Promise<void> {
    const { partition, offset } = await appending
    for (const hops of all) hops.acknowledged(partition, offset, called)
  }
  for (const event of events) {
    const due = began + (sent.length * 1000) / PER_SECOND
    if (due > performance.now()) await pause(EVERY)
    const called = performance.now()
    const fault = checkEvent(event)
    if (fault) throw new Error(fault.detail)
    sent.push(noted(producer.append(event), from === 'append' ? called : undefined))
  }
  await Promise.all(sent)
  while (all.some(({ lags }) => lags.length < count)) await pause(EVERY)
}

async function recorderLag(ground: Ground, seconds: number, seed: number): Promise<Hops> {
  const hops = new Hops()
  const recorder = openRecorder(ground, { stored: ({ partition, next }) => hops.seen(partition, next) })
  await recorder.start()
  await recorder.caughtUp()
  await steady(ground, seconds, seed, [hops], 'acknowledged', recorder.own)
  await recorder.stop()
  return hops
}

/** A bare kafkajs consumer that stores nothing, at the end of the log; `work` runs while it reads. */
export async function bareHop(ground: Ground, hops: Hops, work: () => Promise<void>): Promise<void> {
  const consumer = ground.kafka.consumer({ groupId: ground.fresh('hop'), maxWaitTimeInMs: 200, readUncommitted: true })
  await consumer.connect()
  await consumer.subscribe({ topic: ground.topic, fromBeginning: false })
  const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve))
  await consumer.run({
    autoCommit: false,
    partitionsConsumedConcurrently: PARTITIONS,
    eachBatch: async ({ batch }) => hops.seen(batch.partition, Number(batch.lastOffset()) + 1),
  })
  await joined
  await fetched(consumer)
  await work()
  await consumer.disconnect()
}

async function kafkaLag(ground: Ground, seconds: number, seed: number): Promise<Hops> {
  const hops = new Hops()
  await bareHop(ground, hops, () => steady(ground, seconds, seed, [hops]))
  return hops
}

/** A group without offsets finds the end of the log with its first fetches: records sent before that would be missed. */
async function fetched(consumer: ReturnType<Ground['kafka']['consumer']>): Promise<void> {
  await new Promise((resolve) => consumer.on(consumer.events.FETCH, resolve))
  await new Promise((resolve) => consumer.on(consumer.events.FETCH, resolve))
}

export const bench: Bench = async (ground, { rounds = 2, seconds = 20, only }) => {
  introduce(
    `Steady lag: ${PER_SECOND} events/s for ${seconds} s`,
    'append acknowledged → recorded, that is committed in Postgres (median; p99 beside it); all in one process',
    'notification of readers, REST. Limit: append acknowledged → seen by a bare kafkajs consumer, nothing stored',
  )
  let seed = 100
  const turn = (lag: typeof recorderLag) => async () => {
    const { lags } = await lag(ground, seconds, ++seed)
    return { figure: percentile(lags, 0.5), also: `p99 ${millis(percentile(lags, 0.99))}` }
  }
  await takeTurns(
    [
      { name: 'ours', turn: turn(recorderLag) },
      { name: 'limit', turn: turn(kafkaLag) },
    ],
    millis,
    'lower',
    { rounds, only, warm: false },
  )
}
