// What every log must keep, run on Kafka and on the log in memory: what is appended. log-reader.ts has what is read.

import t from 'tap'
import { until } from '../support/wait.ts'
import { Follower } from './follower.ts'
import { readerContract } from './log-reader.ts'
import { actingOn, entry, range, type Subject } from './subject.ts'

export function logContract(name: string, subject: () => Subject): void {
  const { follow, appendAll } = actingOn(subject)

  t.test(`${name}: appended records`, async (t) => {
    t.test('get the next offsets of their partition, in the order of the calls', async (t) => {
      const topic = await subject().topic(2)
      const appended = await appendAll(range(0, 500).map((i) => entry(topic, i % 2, `k${i}`)))
      for (const partition of [0, 1])
        t.strictSame(
          appended.filter((each) => each.partition === partition).map(({ offset }) => offset),
          range(0, 250),
        )
      t.ok(appended.every(({ appendedAt }) => appendedAt > Date.UTC(2020, 0, 1)))
    })

    t.test('stand in the log in the order of the calls, whatever is appended meanwhile', async (t) => {
      const topic = await subject().topic(3)
      const line = async (writer: number) => {
        for (const i of range(0, 20))
          await Promise.all(range(0, 3).map((partition) => subject().log.append(entry(topic, partition, `${writer}-${i}`))))
      }
      await Promise.all(range(0, 8).map(line))
      const follower = new Follower()
      await follow(t, topic, follower).start()
      await until(() => range(0, 3).every((partition) => follower.checkpoint(partition) >= 160))
      for (const partition of range(0, 3))
        for (const writer of range(0, 8)) {
          const seen = follower.keys(partition).filter((key) => key.startsWith(`${writer}-`))
          t.strictSame(
            seen,
            range(0, 20).map((i) => `${writer}-${i}`),
          )
        }
    })

    t.test('that are too large fail their caller only', async (t) => {
      const topic = await subject().topic(2)
      const large = subject().log.append(entry(topic, 0, 'large', 'x'.repeat(1_000_001)))
      const others = appendAll(range(0, 10).map((i) => entry(topic, i % 2, `k${i}`)))
      await t.rejects(large, { code: 'log-append-too-large' })
      t.equal((await others).length, 10)
      t.strictSame(
        (await subject().log.bounds(topic)).map(({ high }) => high),
        [5, 5],
      )
    })

    t.test('for a topic or a partition that is not there are refused', async (t) => {
      const topic = await subject().topic(1)
      await t.rejects(subject().log.append(entry(`${topic}-missing`, 0, 'k')), { code: 'log-topic-missing' })
      await t.rejects(subject().log.append(entry(topic, 1, 'k')), { code: 'log-topic-missing' })
      t.match(await subject().log.append(entry(topic, 0, 'k')), { offset: 0 })
    })
  })

  t.test(`${name}: topics`, async (t) => {
    t.test('keep the partition count they were made with', async (t) => {
      const topic = await subject().topic(3)
      t.equal(await subject().log.ensureTopic({ name: topic, partitions: 5, replication: 1, settings: {} }), 3)
    })

    t.test('have bounds for each partition', async (t) => {
      const topic = await subject().topic(2)
      await appendAll(range(0, 4).map((i) => entry(topic, 1, `k${i}`)))
      await subject().cut(topic, 1, 2)
      t.strictSame(await subject().log.bounds(topic), [
        { partition: 0, low: 0, high: 0 },
        { partition: 1, low: 2, high: 4 },
      ])
      await t.rejects(subject().log.bounds(`${topic}-missing`), { code: 'log-topic-missing' })
    })
  })

  readerContract(name, subject)
}
