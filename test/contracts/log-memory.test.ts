import t from 'tap'
import { createMemoryLog } from '../../testing/memory-log.ts'
import { logContract } from './log.ts'

const log = createMemoryLog()
t.teardown(() => log.close())
let topics = 0

logContract('memory', () => ({
  log,
  other: log,
  async topic(partitions) {
    const name = `topic-${topics++}`
    await log.ensureTopic({ name, partitions, replication: 1, settings: {} })
    return name
  },
  async transaction(records, _, written) {
    const end = log.appendTransaction(records)
    await written?.()
    end()
  },
  cut: async (topic, partition, offset) => log.cut(topic, partition, offset),
  setGroupOffset: async (group, topic, partition, offset) => log.setGroupOffset(group, topic, partition, offset),
}))

t.test('the clock is set by hand, and every record carries its time', async (t) => {
  const timed = createMemoryLog({ now: 1000 })
  await timed.ensureTopic({ name: 'topic', partitions: 1, replication: 1, settings: {} })
  const record = { topic: 'topic', partition: 0, key: 'k', value: Buffer.from('v') }
  t.match(await timed.append(record), { appendedAt: 1000 })
  timed.advance(500)
  t.match(await timed.append(record), { appendedAt: 1500 })
  timed.advance(-500)
  t.equal(timed.now(), 1500)
  t.strictSame(
    timed.records('topic').map(({ appendedAt }) => appendedAt),
    [1000, 1500],
  )
})

t.test('a closed log takes nothing more', async (t) => {
  const closing = createMemoryLog()
  await closing.ensureTopic({ name: 'topic', partitions: 1, replication: 1, settings: {} })
  await closing.close()
  await t.rejects(closing.append({ topic: 'topic', partition: 0, key: 'k', value: Buffer.from('v') }), { code: 'log-closed' })
})
