// Append acknowledged → recorded (committed in Postgres), at a steady rate, beside the bare Kafka hop.

import { setTimeout as pause } from 'node:timers/promises'
import { partitionOf } from '../workflow/partition.ts'
import { manyEvents } from './events.ts'
import { type Ground, PARTITIONS } from './ground.ts'
import { type Bench, introduce, millis, percentile, takeTurns } from './measure.ts'
import { openRecorder } from './our-recorder.ts'

const PER_SECOND = 2000
/** Events are sent in small groups, so often, ms. */
const EVERY = 5

/** When each record was acknowledged, and seen; of a partition, records become seen in order. */
class Hops {
  readonly lags: number[] = []
  readonly #acknowledged = Array.from({ length: PARTITIONS }, () => new Map<number, number>())
  readonly #seen = Array.from({ length: PARTITIONS }, () => -1)

  acknowledged(partition: number, offset: number): void {
    // A reader may be quicker than the acknowledgement: then nobody has waited.
    if (offset < (this.#seen[partition] ?? -1)) this.lags.push(0)
    else this.#acknowledged[partition]?.set(offset, performance.now())
  }

  seen(partition: number, next: number): void {
    const now = performance.now()
    this.#seen[partition] = next
    const waiting = this.#acknowledged[partition]
    for (const [offset, at] of waiting ?? []) {
      if (offset >= next) continue
      this.lags.push(now - at)
      waiting?.delete(offset)
    }
  }
}

/** Appends at the rate; resolves when everything sent was seen. */
async function steady({ log, topic, codec }: Ground, seconds: number, seed: number, hops: Hops): Promise<void> {
  const count = PER_SECOND * seconds
  const events = manyEvents(count, seed)
  const began = performance.now()
  const sent: Promise<void>[] = []
  for (const event of events) {
    const due = began + (sent.length * 1000) / PER_SECOND
    if (due > performance.now()) await pause(EVERY)
    const key = event.execution_id
    const appending = log.append({ topic, partition: partitionOf(key, PARTITIONS), key, value: codec.encode(event) })
    sent.push(appending.then(({ partition, offset }) => hops.acknowledged(partition, offset)))
  }
  await Promise.all(sent)
  while (hops.lags.length < count) await pause(EVERY)
}

async function recorderLag(ground: Ground, seconds: number, seed: number): Promise<Hops> {
  const hops = new Hops()
  const recorder = openRecorder(ground, { stored: ({ partition, next }) => hops.seen(partition, next) })
  await recorder.start()
  await recorder.caughtUp()
  await steady(ground, seconds, seed, hops)
  await recorder.stop()
  return hops
}

async function kafkaLag(ground: Ground, seconds: number, seed: number): Promise<Hops> {
  const hops = new Hops()
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
  await steady(ground, seconds, seed, hops)
  await consumer.disconnect()
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
