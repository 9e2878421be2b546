// Topics: made with their settings, waited for, never altered (AlterConfigs replaces the whole set: one changed setting would
// end infinite retention).

import { setTimeout as pause } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import { RefoldError } from '../errors.ts'
import type { Admin } from './admin.ts'
import type { LineLogger } from './client.ts'
import type { TopicSpec } from './log.ts'

/**
 * Settings of the events topic: kept for ever, timed by the broker. `compression.type=uncompressed` makes the broker
 * unpack what producers compressed and refuse what grows too large.
 */
export const EVENTS_SETTINGS = {
  'cleanup.policy': 'delete',
  'retention.ms': '-1',
  'retention.bytes': '-1',
  'message.timestamp.type': 'LogAppendTime',
  'compression.type': 'uncompressed',
} as const

/** The same, and with three replicas or more an append needs two of them: a broker may die and nothing acknowledged is lost. */
export const eventsSettings = (replication: number): Readonly<Record<string, string>> =>
  replication >= 3 ? { ...EVENTS_SETTINGS, 'min.insync.replicas': '2' } : EVENTS_SETTINGS

/** How long requests of actions are kept, ms: what waited for half of it is dispatched again. */
export const ACTIONS_KEPT = 7 * 86_400_000

/** Settings of the topics of action requests. */
export const actionsSettings = (replication: number): Readonly<Record<string, string>> => ({
  'cleanup.policy': 'delete',
  'retention.ms': String(ACTIONS_KEPT),
  'message.timestamp.type': 'LogAppendTime',
  'compression.type': 'uncompressed',
  ...(replication >= 3 ? { 'min.insync.replicas': '2' } : {}),
})

const ANSWERS_WITHIN = 30_000
const ASK_EVERY = 100

/** Makes the topic if it isn't there, waits until each partition answers, and returns the partition count found. */
export async function ensureTopic(admin: Admin, logger: LineLogger, spec: TopicSpec): Promise<number> {
  const { name, partitions, replication, settings } = spec
  const made = await admin.ask(`making topic ${name}`, async (kafka) => {
    const known = await kafka.listTopics()
    if (known.includes(name)) return false
    const configEntries = Object.entries(settings).map(([setting, value]) => ({ name: setting, value }))
    // Not waited for here: while others make topics too, the client's own wait can fail; `answered` waits.
    return kafka.createTopics({
      waitForLeaders: false,
      topics: [{ topic: name, numPartitions: partitions, replicationFactor: replication, configEntries }],
    })
  })
  const count = await answered(admin, name)
  if (made) logger.info({ topic: name, partitions: count }, 'topic made')
  else await compareSettings(admin, logger, spec)
  return count
}

async function answered(admin: Admin, topic: string): Promise<number> {
  const end = performance.now() + ANSWERS_WITHIN
  for (;;) {
    try {
      const leaders = await admin.leaders(topic)
      if (leaders.length > 0 && leaders.every((leader) => leader >= 0)) return (await admin.bounds(topic)).length
    } catch (error) {
      if (performance.now() > end) throw error
    }
    if (performance.now() > end) throw new RefoldError('log-unavailable', `partitions of ${topic} have no leader`)
    await pause(ASK_EVERY)
  }
}

// A topic made by somebody else is taken as it is; what differs from our settings is said once, since it can lose records.
async function compareSettings(admin: Admin, logger: LineLogger, { name, settings }: TopicSpec): Promise<void> {
  const configNames = Object.keys(settings)
  if (configNames.length === 0) return
  const found = await admin.ask(`the settings of ${name}`, (kafka) =>
    kafka.describeConfigs({ includeSynonyms: false, resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name, configNames }] }),
  )
  for (const { configName, configValue } of found.resources.flatMap(({ configEntries }) => configEntries)) {
    const wanted = settings[configName]
    if (wanted !== undefined && wanted !== configValue)
      logger.warn({ topic: name, setting: configName, found: configValue, wanted }, 'a topic setting is not what Refold would have made')
  }
}
