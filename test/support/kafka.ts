// A real Kafka for tests, with topics and groups of their own.

import { randomBytes } from 'node:crypto'
import kafkajs from 'kafkajs'
import type { Admin, Kafka } from 'kafkajs'
import type { Test } from 'tap'
import { createKafkaLog } from '../../kafka/kafka-log.ts'
import type { KafkaLogOptions } from '../../kafka/kafka-log.ts'
import type { Log, LogAppend } from '../../kafka/log.ts'
import { EVENTS_SETTINGS } from '../../kafka/topics.ts'
import { useStack } from './stack.ts'
import { until } from './wait.ts'

export type Line = { level: 'debug' | 'info' | 'warn' | 'error'; line: string; facts: object }

/** Keeps the lines, so that a test can ask what was said. */
export function lineKeeper(): { lines: Line[]; logger: KafkaLogOptions['logger'] } {
  const lines: Line[] = []
  const keep = (level: Line['level']) => (facts: object, line: string) => void lines.push({ level, line, facts })
  return { lines, logger: { debug: keep('debug'), info: keep('info'), warn: keep('warn'), error: keep('error') } }
}

export type TestKafka = {
  brokers: string[]
  /** First part of every topic and group of this test file; its topics are deleted at the end. */
  prefix: string
  /** kafkajs itself, for what the port doesn't do. */
  kafka: Kafka
  admin: Admin
  /** A log of its own, closed at the test's end. */
  log(options?: Partial<KafkaLogOptions>): Log
  topic(partitions: number, settings?: Readonly<Record<string, string>>): Promise<string>
  /** Resolves once the control records are there: the broker writes them after its answer. `written` is awaited before the end. */
  transaction(records: readonly LogAppend[], end: 'commit' | 'abort', written?: () => Promise<unknown>): Promise<void>
}

/** Answers null where no Kafka is known; the test is skipped then. */
export async function useKafka(t: Test): Promise<TestKafka | null> {
  const { kafkaBrokers: brokers } = useStack(t, ['kafka'])
  if (!brokers) return null
  const prefix = `test-${randomBytes(5).toString('hex')}`
  const { Kafka, logLevel } = kafkajs
  const kafka = new Kafka({ brokers, clientId: 'test', logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  let topics = 0
  const logs: Log[] = []
  t.teardown(async () => {
    await Promise.all(logs.map((log) => log.close()))
    const mine = (await admin.listTopics()).filter((name) => name.startsWith(`${prefix}.`))
    if (mine.length > 0) await admin.deleteTopics({ topics: mine })
    await admin.disconnect()
  })

  const log: TestKafka['log'] = (options = {}) => {
    const made = createKafkaLog({
      brokers,
      clientId: prefix,
      logger: lineKeeper().logger,
      fetchWait: 100,
      groupSession: 6000,
      groupHeartbeat: 200,
      ...options,
    })
    logs.push(made)
    return made
  }
  const maker = log()

  return {
    brokers,
    prefix,
    kafka,
    admin,
    log,
    async topic(partitions, settings = EVENTS_SETTINGS) {
      const name = `${prefix}.${topics++}`
      await maker.ensureTopic({ name, partitions, replication: 1, settings })
      return name
    },
    async transaction(records, end, written) {
      const producer = kafka.producer({
        transactionalId: `${prefix}.${randomBytes(4).toString('hex')}`,
        maxInFlightRequests: 1,
        idempotent: true,
      })
      await producer.connect()
      const ends = async (topic: string) => new Map((await maker.bounds(topic)).map(({ partition, high }) => [partition, high]))
      const [{ topic: first } = { topic: '' }] = records
      const before = await ends(first)
      const transaction = await producer.transaction()
      for (const { topic, partition, key, value } of records)
        await transaction.send({ topic, messages: [{ partition, key, value: Buffer.from(value) }] })
      await written?.()
      await transaction[end]()
      await producer.disconnect()
      for (const { partition } of records) {
        const grown = 1 + records.filter((record) => record.partition === partition).length
        await until(async () => ((await ends(first)).get(partition) ?? 0) >= (before.get(partition) ?? 0) + grown)
      }
    },
  }
}
