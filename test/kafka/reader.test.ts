import t from 'tap'
import { RefoldError } from '../../errors.ts'
import { createAdmin } from '../../kafka/admin.ts'
import { createClient } from '../../kafka/client.ts'
import type { Log } from '../../kafka/log.ts'
import { createReader } from '../../kafka/reader.ts'
import { EVENTS_SETTINGS } from '../../kafka/topics.ts'
import { Follower } from '../contracts/follower.ts'
import { lineKeeper, useKafka } from '../support/kafka.ts'
import type { Line } from '../support/kafka.ts'
import { until } from '../support/wait.ts'

const kafka = await useKafka(t)
if (kafka) {
  const mirror = { reader: 'test', generation: 1 }
  const loud = (lines: readonly Line[]) => lines.filter(({ level }) => level === 'warn' || level === 'error').map(({ line }) => line)

  async function append(log: Log, topic: string, partition: number, count = 1): Promise<void> {
    await Promise.all(Array.from({ length: count }, () => log.append({ topic, partition, key: 'k', value: Buffer.from('v') })))
  }

  t.test('members that come and go are not worth a warning', async (t) => {
    const topic = await kafka.topic(2)
    const { lines, logger } = lineKeeper()
    const follower = new Follower()
    const readers = [1, 2, 3].map(() => kafka.log({ logger }).reader({ topic, group: `${topic}.g`, handler: follower.handler, mirror }))
    for (const reader of readers) await reader.start()
    await until(() => readers.reduce((sum, reader) => sum + reader.health().partitions.size, 0) === 2)
    t.ok(
      readers.every((reader) => reader.health().state === 'running'),
      'the third, without a partition, too',
    )
    for (const reader of readers) await reader.stop()
    t.ok(
      lines.some(({ line, level }) => level === 'debug' && line.includes('rebalancing')),
      'there were rebalances',
    )
    t.strictSame(loud(lines), [])
  })

  t.test('a handler may take longer than a session', async (t) => {
    const topic = await kafka.topic(1)
    const log = kafka.log({ groupSession: 6000, groupHeartbeat: 500 })
    const { lines, logger } = lineKeeper()
    const follower = new Follower()
    const held = Promise.withResolvers<void>()
    const since = performance.now()
    follower.before = ({ from }) => (from === 0 ? held.promise : undefined)
    const reader = kafka
      .log({ logger, groupSession: 6000, groupHeartbeat: 500 })
      .reader({ topic, group: `${topic}.g`, handler: follower.handler, mirror })
    await reader.start()
    await append(log, topic, 0)
    await until(() => performance.now() - since > 7500)
    held.resolve()
    await until(() => follower.checkpoint(0) === 1)
    await append(log, topic, 0)
    await until(() => follower.checkpoint(0) === 2)
    t.equal(lines.filter(({ line }) => line === 'partitions assigned').length, 1, 'it never lost its place in the group')
    t.equal(follower.refused, 0)
  })

  t.test('what keeps all partitions of a group is worth one warning, and one line when they go on', async (t) => {
    const topic = await kafka.topic(6)
    const { lines, logger } = lineKeeper()
    const options = { brokers: kafka.brokers, clientId: kafka.prefix, logger }
    const admin = createAdmin(createClient(options), logger)
    let away = true
    const bounds = async (of: string) => {
      if (away) throw new RefoldError('log-unavailable', 'away')
      return admin.bounds(of)
    }
    const follower = new Follower()
    const settings = { fetchWait: 100, groupSession: 6000, groupHeartbeat: 200, stuckAfter: 60_000 }
    const reader = createReader({ topic, group: `${topic}.g`, handler: follower.handler, mirror }, settings, {
      kafka: () => createClient(options),
      admin: { ...admin, bounds },
      logger,
    })
    t.teardown(async () => {
      await reader.stop()
      await admin.close()
    })
    await reader.start()
    const rests = (level: Line['level']) => lines.filter((one) => one.level === level && one.line.startsWith('reading rests'))
    await until(() => rests('warn').length + rests('debug').length >= 12)
    t.equal(rests('warn').length, 1)
    away = false
    const goesOn = () => lines.filter(({ line }) => line === 'reading goes on')
    await until(() => goesOn().length > 0)
    await Promise.all([0, 1, 2, 3, 4, 5].map((partition) => append(kafka.log(), topic, partition)))
    await until(() => [0, 1, 2, 3, 4, 5].every((partition) => follower.checkpoint(partition) === 1))
    t.match(goesOn(), [{ level: 'info', facts: { topic, group: `${topic}.g` } }])
    // A partition that its handler fails at is another matter, told by itself.
    follower.before = ({ partition }) => {
      if (partition === 3 || partition === 4) throw new Error('no')
    }
    await append(kafka.log(), topic, 3)
    await append(kafka.log(), topic, 4)
    await until(() => rests('warn').length === 3)
    const partitions = rests('warn')
      .slice(1)
      .map(({ facts }) => ('partition' in facts ? facts.partition : undefined))
    t.strictSame(new Set(partitions), new Set([3, 4]))
  })

  t.test('R1: a client that stands still is built anew', async (t) => {
    const topic = await kafka.topic(1)
    const log = kafka.log()
    const { lines, logger } = lineKeeper()
    const options = { brokers: kafka.brokers, clientId: kafka.prefix, logger }
    const admin = createAdmin(createClient(options), logger)
    let clients = 0
    const client = () => {
      const made = createClient(options)
      if (++clients > 1) return made
      const consumer = made.consumer.bind(made)
      made.consumer = (settings) => ({ ...consumer(settings), resume: () => undefined }) // never fetches
      return made
    }
    const follower = new Follower()
    const settings = { fetchWait: 100, groupSession: 6000, groupHeartbeat: 200, stuckAfter: 900 }
    const reader = createReader({ topic, group: `${topic}.g`, handler: follower.handler, mirror }, settings, {
      kafka: client,
      admin,
      logger,
    })
    t.teardown(async () => {
      await reader.stop()
      await admin.close()
    })
    await reader.start()
    await append(log, topic, 0)
    await until(() => reader.health().state === 'stuck')
    await until(() => follower.checkpoint(0) === 1)
    t.equal(clients, 2)
    await until(() => reader.health().state === 'running')
    t.ok(loud(lines).some((line) => line.includes('no progress')))
  })

  t.test('R2: a handler that is busy for long shows as stuck, and is left alone', async (t) => {
    const topic = await kafka.topic(1)
    const log = kafka.log({ stuckAfter: 600 })
    const follower = new Follower()
    const held = Promise.withResolvers<void>()
    follower.before = () => held.promise
    const reader = log.reader({ topic, group: `${topic}.g`, handler: follower.handler, mirror })
    await reader.start()
    await append(log, topic, 0)
    await until(() => reader.health().state === 'stuck')
    held.resolve()
    await until(() => follower.checkpoint(0) === 1 && reader.health().state === 'running')
    t.equal(follower.refused, 0)
    t.equal(follower.batches.length, 1, 'handed on once')
  })

  t.test('a topic that is not there is said, and not made', async (t) => {
    const topic = `${kafka.prefix}.missing`
    const reader = kafka.log().reader({ topic, group: `${topic}.g`, handler: new Follower().handler, mirror })
    await t.rejects(reader.start(), { code: 'log-topic-missing' })
    t.equal(reader.health().state, 'failed')
    await reader.stop()
    t.notOk((await kafka.admin.listTopics()).includes(topic))
  })

  t.test('a broker that is not there leaves a reader joining, and an append waiting until its deadline', async (t) => {
    const log = kafka.log({ brokers: ['127.0.0.1:1'], appendDeadline: 300 })
    const reader = log.reader({ topic: 'any', group: 'any', handler: new Follower().handler, mirror })
    const started = reader.start()
    t.equal(reader.health().state, 'joining')
    await t.rejects(log.append({ topic: 'any', partition: 0, key: 'k', value: Buffer.from('v') }), { code: 'log-unavailable' })
    await until(() => reader.health().lastError)
    await reader.stop()
    await t.rejects(started, { code: 'log-closed' })
  })

  t.test('a topic made with other settings is taken as it is, and said', async (t) => {
    const topic = await kafka.topic(1, { 'retention.ms': '1000000' })
    const { lines, logger } = lineKeeper()
    const log = kafka.log({ logger })
    t.equal(await log.ensureTopic({ name: topic, partitions: 1, replication: 1, settings: EVENTS_SETTINGS }), 1)
    const said = lines.filter(({ level }) => level === 'warn').map(({ facts }) => facts)
    t.match(
      said.find((facts) => 'setting' in facts && facts.setting === 'retention.ms'),
      { topic, found: '1000000', wanted: '-1' },
    )
  })
}
