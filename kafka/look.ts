// A look at the brokers, for `refold doctor`: asks, writes nothing, gives up soon.

import kafkajs from 'kafkajs'
import { createAdmin } from './admin.ts'
import type { Admin } from './admin.ts'
import { createClient } from './client.ts'
import type { PartitionBounds } from './log.ts'
import { releaseOf } from './release.ts'

export type TopicLook = {
  partitions: number
  /** Fewest replicas of a partition. */
  replication: number
  /** Partitions without a leader, and those with a replica that is behind or dead. */
  leaderless: readonly number[]
  underReplicated: readonly number[]
  settings: ReadonlyMap<string, string>
  /** Absent when a partition has no leader. */
  bounds?: readonly PartitionBounds[]
}

export type KafkaLook = {
  /** Release of the broker's software, as `4.3`; undefined when it is older than 3.3 or does not say. */
  release: string | undefined
  brokers: number
  /** Of one question on an open connection, in ms. */
  latency: number
  /** Null when there is no such topic. */
  topic: TopicLook | null
}

const QUIET = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

/** Asks the brokers for themselves and for one topic; `settings` are the names asked for. */
export async function lookAtKafka(
  brokers: readonly string[],
  topic: string,
  settings: readonly string[],
  within: number,
): Promise<KafkaLook> {
  // One more try for each broker, since the first ones asked may be dead.
  const kafka = createClient({ brokers, clientId: 'refold-doctor', logger: QUIET, requestTimeout: within, retries: brokers.length })
  const admin = createAdmin(kafka, QUIET)
  try {
    const cluster = await admin.ask('the cluster', (client) => client.describeCluster())
    const begun = performance.now()
    const known = await admin.ask('the topics', (client) => client.listTopics())
    const latency = performance.now() - begun
    const first = cluster.brokers[0]
    const release = first && (await releaseOf(first.host, first.port, within))
    return {
      release,
      brokers: cluster.brokers.length,
      latency,
      topic: known.includes(topic) ? await topicLook(admin, topic, settings) : null,
    }
  } finally {
    await admin.close()
  }
}

async function topicLook(admin: Admin, topic: string, configNames: readonly string[]): Promise<TopicLook> {
  const { topics } = await admin.ask(`topic ${topic}`, (client) => client.fetchTopicMetadata({ topics: [topic] }))
  const partitions = topics[0]?.partitions ?? []
  const resource = { type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, configNames: [...configNames] }
  const { resources } = await admin.ask(`the settings of ${topic}`, (client) =>
    client.describeConfigs({ includeSynonyms: false, resources: [resource] }),
  )
  const leaderless = partitions.filter(({ leader }) => leader < 0).map(({ partitionId }) => partitionId)
  return {
    partitions: partitions.length,
    replication: Math.min(...partitions.map(({ replicas }) => replicas.length)),
    leaderless,
    underReplicated: partitions.filter(({ isr, replicas }) => isr.length < replicas.length).map(({ partitionId }) => partitionId),
    settings: new Map(
      resources.flatMap(({ configEntries }) => configEntries.map((entry) => [entry.configName, entry.configValue] as const)),
    ),
    ...(leaderless.length === 0 && { bounds: await admin.bounds(topic) }),
  }
}
