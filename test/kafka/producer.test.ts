import t from 'tap'
import { RefoldError } from '../../errors.ts'
import type { Send, SendFaults } from '../../kafka/producer.ts'
import { EVENTS_SETTINGS } from '../../kafka/topics.ts'
import type { Log, LogAppend } from '../../kafka/log.ts'
import { Follower } from '../contracts/follower.ts'
import { lineKeeper, useKafka } from '../support/kafka.ts'
import { until } from '../support/wait.ts'

const kafka = await useKafka(t)
if (kafka) {
  const entry = (topic: string, partition: number, key: string, size = 10): LogAppend => ({
    topic,
    partition,
    key,
    value: Buffer.alloc(size),
  })
  const range = (count: number) => Array.from({ length: count }, (_, i) => i)

  /** The keys that a partition holds, copies included. */
  async function keysIn(log: Log, topic: string, partition: number): Promise<string[]> {
    const follower = new Follower()
    const reader = log.reader({ topic, group: `${topic}.keys`, handler: follower.handler, mirror: { reader: 'test', generation: 1 } })
    await reader.start()
    const end = (await log.bounds(topic))[partition]?.high ?? 0
    await until(() => follower.checkpoint(partition) >= end)
    await reader.stop()
    return follower.keys(partition)
  }

  t.test('P1: one send at a time, and all that waits goes into the next', async (t) => {
    const topic = await kafka.topic(3)
    const sends: Send[] = []
    const { promise: others, resolve: othersWait } = Promise.withResolvers<void>()
    let open = 0
    const faults: SendFaults = {
      before(send) {
        sends.push(send)
        t.equal(++open, 1, 'no other send is in flight')
        return others
      },
      after: () => void open--,
    }
    const log = kafka.log({ faults })
    const first = log.append(entry(topic, 0, 'first'))
    await until(() => open === 1)
    const rest = range(30).map((i) => log.append(entry(topic, i % 3, `k${i}`)))
    setImmediate(othersWait)
    await Promise.all([first, ...rest])
    t.equal(sends.length, 2)
    t.strictSame(
      sends.map(({ parts }) => parts.map(({ queue, batch }) => [queue.partition, batch.entries.length])),
      [
        [[0, 1]],
        [
          [0, 10],
          [1, 10],
          [2, 10],
        ],
      ],
    )
  })

  t.test('P3: a lost answer makes the same records go again, before anything that came later', async (t) => {
    const topic = await kafka.topic(1)
    let lose = 2
    const log = kafka.log({
      faults: {
        after() {
          if (lose-- > 0) throw new Error('the answer is lost')
        },
      },
    })
    const early = Promise.all(['a', 'b'].map((key) => log.append(entry(topic, 0, key))))
    await until(() => lose < 2)
    const late = log.append(entry(topic, 0, 'c'))
    t.strictSame(
      (await early).map(({ offset }) => offset),
      [4, 5],
    )
    t.equal((await late).offset, 6)
    t.strictSame(await keysIn(log, topic, 0), ['a', 'b', 'a', 'b', 'a', 'b', 'c'])
  })

  t.test('P2: an answer without one of its partitions holds that partition only', async (t) => {
    const topic = await kafka.topic(2)
    let cutting = true
    const log = kafka.log({
      faults: {
        after(_, results) {
          const at = results.findIndex(({ partition }) => partition === 1)
          if (cutting && at >= 0) results.splice(at, 1)
          cutting = false
        },
      },
    })
    const [zero, one] = await Promise.all([log.append(entry(topic, 0, 'zero')), log.append(entry(topic, 1, 'one'))])
    t.match(zero, { partition: 0, offset: 0 })
    t.match(one, { partition: 1, offset: 1 }, 'sent a second time')
    t.strictSame(await keysIn(log, topic, 1), ['one', 'one'])
  })

  t.test('a send that was never made is made later, and nothing is doubled', async (t) => {
    const topic = await kafka.topic(1)
    const { lines, logger } = lineKeeper()
    let refuse = 3
    const log = kafka.log({
      logger,
      faults: {
        before() {
          if (refuse-- > 0) throw new Error('not sent')
        },
      },
    })
    t.match(await log.append(entry(topic, 0, 'k')), { offset: 0 })
    t.equal(lines.filter(({ level }) => level === 'warn' || level === 'error').length, 1, 'said once, not at each try')
  })

  t.test('P5: where a topic takes less than usual, only the record that is too large fails', async (t) => {
    const topic = await kafka.topic(2, { ...EVENTS_SETTINGS, 'max.message.bytes': '5000' })
    const log = kafka.log()
    const appends = range(40).map((i) => log.append(entry(topic, i % 2, `k${i}`, i === 17 ? 6000 : 100)))
    const outcomes = await Promise.allSettled(appends)
    t.strictSame(
      outcomes.flatMap(({ status }, i) => (status === 'rejected' ? [i] : [])),
      [17],
    )
    await t.rejects(appends[17]!, { code: 'log-append-too-large' })
    const keys = await keysIn(log, topic, 1)
    t.strictSame(
      [...new Set(keys)],
      range(40)
        .map((i) => `k${i}`)
        .filter((_, i) => i % 2 === 1 && i !== 17),
      'in their order',
    )
  })

  t.test('callers are told at the deadline; later appends go on', async (t) => {
    const topic = await kafka.topic(1)
    let away = true
    const log = kafka.log({
      appendDeadline: 700,
      faults: {
        before() {
          if (away) throw new Error('away')
        },
      },
    })
    const given = range(3).map((i) => log.append(entry(topic, 0, `k${i}`)))
    for (const append of given) await t.rejects(append, { code: 'log-unavailable' })
    away = false
    t.match(await log.append(entry(topic, 0, 'later')), { offset: 0 }, 'what was never sent is not sent later')
  })

  t.test('a closing log writes what waits, and refuses what comes', async (t) => {
    const topic = await kafka.topic(1)
    const log = kafka.log()
    const waiting = range(5).map((i) => log.append(entry(topic, 0, `k${i}`)))
    const closed = log.close()
    t.strictSame(
      (await Promise.all(waiting)).map(({ offset }) => offset),
      range(5),
    )
    await closed
    await t.rejects(log.append(entry(topic, 0, 'late')), { code: 'log-closed' })
    await log.close()
  })

  t.test('a closing log that can not write tells its callers', async (t) => {
    const topic = await kafka.topic(1)
    const log = kafka.log({
      appendDeadline: 500,
      faults: {
        before() {
          throw new Error('away')
        },
      },
    })
    const waiting = log.append(entry(topic, 0, 'k'))
    waiting.catch(() => undefined)
    await log.close()
    await t.rejects(waiting, RefoldError)
  })
}
