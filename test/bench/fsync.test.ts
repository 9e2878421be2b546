// A bench with --fsync measures the topics as Refold makes them, and nothing else of them is another.

import { randomBytes } from 'node:crypto'
import kafkajs from 'kafkajs'
import t from 'tap'
import { fsyncEach } from '../../bench/workflow-load.ts'
import { eventsSettings } from '../../kafka/topics.ts'
import { useStack } from '../support/stack.ts'

t.test('topics keep the settings they were made with', { timeout: 60_000 }, async (t) => {
  const addresses = useStack(t, ['kafka'])
  if (!addresses.kafkaBrokers) return
  const prefix = `test-${randomBytes(6).toString('hex')}`
  const name = `${prefix}.events`
  const admin = new kafkajs.Kafka({ brokers: addresses.kafkaBrokers, clientId: prefix, logLevel: kafkajs.logLevel.NOTHING }).admin()
  await admin.connect()
  t.teardown(() => admin.disconnect())
  const settings = eventsSettings(1)
  const configEntries = Object.entries(settings).map(([setting, value]) => ({ name: setting, value }))
  await admin.createTopics({ topics: [{ topic: name, numPartitions: 1, replicationFactor: 1, configEntries }] })
  t.teardown(() => admin.deleteTopics({ topics: [name] }))
  await fsyncEach({ addresses, prefix })
  const configNames = [...Object.keys(settings), 'flush.messages']
  const found = await admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name, configNames }],
  })
  const entries = found.resources.flatMap((one) => one.configEntries)
  t.strictSame(Object.fromEntries(entries.map(({ configName, configValue }) => [configName, configValue])), {
    ...settings,
    'flush.messages': '1',
  })
})
