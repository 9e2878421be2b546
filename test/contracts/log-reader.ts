// What every reader of a log must keep, run on Kafka and on the log in memory.

import t from 'tap'
import type { LogReader, LogRecord } from '../../kafka/log.ts'
import { until } from '../support/wait.ts'
import { Follower } from './follower.ts'
import { actingOn, entry, MIRROR, range, type Subject } from './subject.ts'

export function readerContract(name: string, subject: () => Subject): void {
  const { follow, appendAll } = actingOn(subject)

  t.test(`${name}: a reader`, async (t) => {
    t.test('hands on what was appended, byte for byte, with its append time', async (t) => {
      const topic = await subject().topic(1)
      const value = Uint8Array.from(range(0, 256))
      const appended = await subject().log.append({ topic, partition: 0, key: 'schlüssel', value, headers: { traceparent: '00-ab' } })
      const follower = new Follower()
      await follow(t, topic, follower).start()
      await until(() => follower.checkpoint(0) === 1)
      const [record] = follower.records.get(0) ?? []
      t.equal(Buffer.from(record?.key ?? []).toString(), 'schlüssel')
      t.strictSame([...(record?.value ?? [])], [...value])
      t.equal(Buffer.from(record?.headers['traceparent'] ?? []).toString(), '00-ab')
      t.match(record, { partition: 0, offset: 0, appendedAt: appended.appendedAt, transactional: false })
    })

    t.test("begins at the handler's checkpoint, in contiguous batches of at most maxRecords", async (t) => {
      const topic = await subject().topic(2)
      await appendAll(range(0, 100).map((i) => entry(topic, i % 2, `k${i}`)))
      const follower = new Follower()
      follower.checkpoints.set(0, 17)
      await follow(t, topic, follower, { maxRecords: 7 }).start()
      await until(() => follower.checkpoint(0) === 50 && follower.checkpoint(1) === 50)
      await appendAll(range(0, 20).map((i) => entry(topic, 0, `later${i}`)))
      await until(() => follower.checkpoint(0) === 70)
      t.strictSame(follower.offsets(0), range(17, 70))
      t.strictSame(follower.offsets(1), range(0, 50))
      t.equal(follower.refused, 0, 'no batch began elsewhere than at the checkpoint')
      t.ok(follower.batches.every(({ records }) => records.length <= 7))
      t.ok(follower.batches.every(({ highWatermark, next }) => highWatermark >= next))
    })

    t.test("is not moved by the group's offset, which a person may set", async (t) => {
      const topic = await subject().topic(1)
      await appendAll(range(0, 10).map((i) => entry(topic, 0, `k${i}`)))
      await subject().setGroupOffset(`${topic}.readers`, topic, 0, 8)
      const follower = new Follower()
      follower.checkpoints.set(0, 3)
      await follow(t, topic, follower).start()
      await until(() => follower.checkpoint(0) === 10)
      t.strictSame(follower.offsets(0), range(3, 10))
    })

    t.test("mirrors its checkpoint in the group's offset, signed", async (t) => {
      const topic = await subject().topic(2)
      await appendAll(range(0, 10).map((i) => entry(topic, 0, `k${i}`)))
      const reader = follow(t, topic, new Follower())
      await reader.start()
      const mirrored = await until(async () => {
        const offsets = await subject().log.groupOffsets(`${topic}.readers`, topic)
        return offsets[0]?.offset === 10 && offsets[1]?.offset === 0 && offsets
      })
      t.strictSame(mirrored, [
        { partition: 0, offset: 10, metadata: 'refold:recorder:g3:10' },
        { partition: 1, offset: 0, metadata: 'refold:recorder:g3:0' },
      ])
    })

    t.test('deletes a group with its offsets, unless it has members', async (t) => {
      const topic = await subject().topic(1)
      const group = `${topic}.readers`
      const { log } = subject()
      t.ok(await log.dropGroup(group), 'one that never was')
      t.notOk((await log.groups()).has(group))
      await subject().setGroupOffset(group, topic, 0, 0)
      t.ok((await log.groups()).has(group), 'one that has offsets only is there')
      t.match(await log.groupOffsets(group, topic), [{ offset: 0 }])
      t.ok(await log.dropGroup(group))
      t.notOk((await log.groups()).has(group))
      t.notOk((await log.groupOffsets(group, topic)).some(({ offset }) => offset !== null))
      const reader = follow(t, topic, new Follower())
      await reader.start()
      t.ok((await log.groups()).has(group))
      t.notOk(await log.dropGroup(group))
      await until(async () => (await log.groupOffsets(group, topic))[0]?.metadata === 'refold:recorder:g3:0')
    })

    t.test('asks for the checkpoint again after the handler failed, and hands the batch on again', async (t) => {
      const topic = await subject().topic(2)
      const follower = new Follower()
      let failures = 0
      follower.before = ({ partition }) => {
        if (partition === 0 && ++failures <= 3) throw new Error('the database is away')
      }
      const reader = follow(t, topic, follower)
      await reader.start()
      await appendAll(range(0, 10).map((i) => entry(topic, i % 2, `k${i}`)))
      await until(() => follower.checkpoint(0) === 5 && follower.checkpoint(1) === 5)
      t.strictSame(follower.offsets(0), range(0, 5))
      t.strictSame(follower.offsets(1), range(0, 5))
      t.ok(failures > 3)
      t.match(reader.health().lastError, /the database is away/)
      t.equal(reader.health().state, 'running')
    })

    t.test('goes where the handler says that its checkpoint is', async (t) => {
      const topic = await subject().topic(1)
      await appendAll(range(0, 10).map((i) => entry(topic, 0, `k${i}`)))
      const follower = new Follower()
      let overtaken = false
      follower.before = () => {
        if (overtaken) return
        overtaken = true
        follower.checkpoints.set(0, 6) // another member has stored 0 to 5 meanwhile
      }
      await follow(t, topic, follower, { maxRecords: 4 }).start()
      await until(() => follower.checkpoint(0) === 10)
      t.strictSame(follower.offsets(0), range(6, 10))
      t.equal(follower.refused, 1)
    })

    t.test('counts control records, and flags what was written inside a transaction, committed or not', async (t) => {
      const topic = await subject().topic(2)
      const follower = new Follower()
      const reader = follow(t, topic, follower)
      await reader.start()
      await subject().log.append(entry(topic, 0, 'before'))
      await subject().transaction([entry(topic, 0, 'committed'), entry(topic, 1, 'committed')], 'commit')
      await subject().log.append(entry(topic, 0, 'between'))
      // The control record alone, after everything before it was handed on.
      const aborted = () => until(() => follower.checkpoint(0) === 5)
      await subject().transaction([entry(topic, 0, 'aborted')], 'abort', aborted)
      await until(() => follower.checkpoint(0) === 6 && follower.checkpoint(1) === 2)
      t.strictSame(
        (follower.records.get(0) ?? []).map(({ key, offset, transactional }) => [Buffer.from(key ?? []).toString(), offset, transactional]),
        [
          ['before', 0, false],
          ['committed', 1, true],
          ['between', 3, false],
          ['aborted', 4, true],
        ],
      )
      const bounds = await subject().log.bounds(topic)
      t.strictSame(
        bounds.map(({ high }) => high),
        [6, 2],
      )
      t.match(reader.health().partitions.get(0), { next: 6, highWatermark: 6 })
    })

    for (const [title, checkpoint] of [
      ['above its end', 11],
      ['below its first record', 2],
    ] as const)
      t.test(`refuses a log whose bounds leave the checkpoint ${title}`, async (t) => {
        const topic = await subject().topic(2)
        await appendAll(range(0, 20).map((i) => entry(topic, i % 2, `k${i}`)))
        await subject().cut(topic, 0, 5)
        const follower = new Follower()
        follower.checkpoints.set(0, checkpoint)
        const reader = follow(t, topic, follower)
        await reader.start()
        await until(() => reader.health().state === 'failed')
        t.match(reader.health().lastError, /p0 goes from 5 to 10/)
        await until(() => follower.checkpoint(1) === 10)
        t.strictSame(follower.offsets(0), [], 'nothing of the partition was handed on')
      })

    t.test('refuses a log that holds another record where its owner read one before, and takes the same one', async (t) => {
      const topic = await subject().topic(1)
      await appendAll(['a', 'b', 'c'].map((value) => entry(topic, 0, 'k', value)))
      for (const [value, state, offsets] of [
        ['b', 'running', [2]],
        ['x', 'failed', []],
      ] as const) {
        const follower = new Follower()
        follower.checkpoints.set(0, 2)
        const witness = { offset: 1, isSame: (record: LogRecord) => Buffer.from(record.value ?? []).toString() === value }
        const reader = subject().log.reader({
          topic,
          group: `${topic}.${value}`,
          handler: { ...follower.handler, witness: async () => witness },
          mirror: MIRROR,
        })
        t.teardown(() => reader.stop())
        await reader.start()
        await until(() => reader.health().state === state && follower.offsets(0).length === offsets.length, { what: `${value}: ${state}` })
        t.strictSame(follower.offsets(0), offsets)
        if (state === 'failed') t.match(reader.health().lastError, /not the one that was read there before/)
        await reader.stop()
      }
    })

    t.test('never hands on what begins above the checkpoint, when the log was cut while it read', async (t) => {
      const topic = await subject().topic(1)
      await appendAll(range(0, 10).map((i) => entry(topic, 0, `k${i}`)))
      const follower = new Follower()
      let released = () => undefined as void
      const held = new Promise<void>((resolve) => (released = resolve))
      follower.before = ({ from }) => (from === 0 ? held : undefined)
      const reader = follow(t, topic, follower, { maxRecords: 4 })
      await reader.start()
      // Made to fail once, so that the rest is fetched again, from a log that has lost it.
      await subject().cut(topic, 0, 8)
      follower.before = () => {
        throw new Error('not now')
      }
      released()
      await until(() => reader.health().state === 'failed')
      follower.before = () => undefined
      t.ok(
        follower.offsets(0).every((offset) => offset < 4),
        'nothing after the first part',
      )
      t.match(reader.health().lastError, /p0 goes from 8 to 10/)
    })

    for (const first of [false, true])
      t.test(
        `gives each of those that share fetches everything, in order, whatever the others do; the first ${first ? 'leads' : 'is like the others'}`,
        async (t) => {
          const topic = await subject().topic(4)
          // So many of each partition that they are shared.
          await appendAll(range(0, 2800).map((i) => entry(topic, i % 4, `k${i}`)))
          const followers = range(0, 4).map(() => new Follower())
          const readers = followers.map((follower, i) => {
            // One fails now and then, one is slow, one joins late.
            let failures = 0
            if (i === 1)
              follower.before = ({ from }) => {
                if (failures < 5 && from > 150 * failures) throw new Error(`failure ${++failures}`)
              }
            if (i === 2) follower.before = () => new Promise((resolve) => setTimeout(resolve, 80))
            return follow(t, topic, follower, {
              group: `${topic}.g${i}`,
              maxRecords: 200,
              sharesFetches: i === 0 && first ? 'leads' : true,
            })
          })
          await Promise.all(readers.slice(0, 3).map((reader) => reader.start()))
          for (const i of range(0, 60)) {
            await appendAll(range(0, 8).map((n) => entry(topic, n % 4, `k${i}-${n}`)))
            if (i === 20) await readers[3]?.start()
            if (i === 40) await readers[0]?.stop()
          }
          const mine = followers.slice(1)
          await until(() => mine.every((follower) => range(0, 4).every((partition) => follower.checkpoint(partition) === 820)))
          for (const follower of mine) {
            for (const partition of range(0, 4)) t.strictSame(follower.offsets(partition), range(0, 820))
            t.equal(follower.refused, 0)
          }
          const [gone] = followers
          for (const partition of range(0, 4)) t.strictSame(gone?.offsets(partition), range(0, gone?.checkpoint(partition) ?? -1))
        },
      )

    t.test('shares the partitions with others of its group, and takes over from one that stops', async (t) => {
      const topic = await subject().topic(4)
      const follower = new Follower()
      const first = follow(t, topic, follower)
      const second = follow(t, topic, follower, { log: subject().other })
      await first.start()
      let written = 0
      const writing = new AbortController()
      const writer = (async () => {
        while (!writing.signal.aborted) {
          await appendAll(range(0, 4).map((partition) => entry(topic, partition, `k${written}`)))
          written++
        }
      })()
      await second.start()
      const own = (reader: LogReader) => [...reader.health().partitions.keys()].toSorted((a, b) => a - b)
      await until(() => own(first).length === 2 && own(second).length === 2)
      t.strictSame(
        [...own(first), ...own(second)].toSorted((a, b) => a - b),
        [0, 1, 2, 3],
      )
      const [taken] = own(first)
      const before = follower.checkpoint(taken!)
      await until(() => range(0, 4).every((partition) => follower.checkpoint(partition) > before + 5))
      await first.stop()
      await until(() => own(second).length === 4)
      writing.abort()
      await writer
      await until(() => range(0, 4).every((partition) => follower.checkpoint(partition) === written))
      for (const partition of range(0, 4)) t.strictSame(follower.offsets(partition), range(0, written))
    })

    t.test('waits, when stopped, for the batch in hand, and may be stopped twice', async (t) => {
      const topic = await subject().topic(1)
      const follower = new Follower()
      const held = Promise.withResolvers<void>()
      let handed = false
      follower.before = () => {
        handed = true
        return held.promise
      }
      const reader = follow(t, topic, follower)
      t.equal(reader.health().state, 'stopped')
      await reader.start()
      t.equal(reader.health().state, 'running')
      await subject().log.append(entry(topic, 0, 'k'))
      await until(() => handed)
      let stopped = false
      const stopping = Promise.all([reader.stop(), reader.stop()]).then(() => (stopped = true))
      await subject().log.append(entry(topic, 0, 'not any more'))
      t.notOk(stopped)
      held.resolve()
      await stopping
      t.strictSame(follower.offsets(0), [0])
      t.equal(reader.health().state, 'stopped')
    })
  })
}
