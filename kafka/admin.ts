// Questions to the brokers that are no records: leaders, watermarks, group offsets, topics. One connection for a log, made at
// the first question and again after it broke.

import kafkajs from 'kafkajs'
import type { Admin as KafkaAdmin, Kafka } from 'kafkajs'
import { RefoldError } from '../errors.ts'
import { logError } from './client.ts'
import type { LineLogger } from './client.ts'
import type { GroupOffset, PartitionBounds } from './log.ts'

export type Admin = {
  /** Node id of each partition's leader, by partition; −1 where there is none now. */
  leaders(topic: string): Promise<readonly number[]>
  bounds(topic: string): Promise<PartitionBounds[]>
  groupOffsets(group: string, topic: string): Promise<GroupOffset[]>
  groups(): Promise<ReadonlySet<string>>
  /** False: it has members, or its deletion is not allowed. */
  dropGroup(group: string): Promise<boolean>
  /** Runs `ask` on the connection; `doing` names it in the error. */
  ask<T>(doing: string, ask: (admin: KafkaAdmin) => Promise<T>): Promise<T>
  close(): Promise<void>
}

const { KafkaJSDeleteGroupsError } = kafkajs

const READ_UNCOMMITTED = 0
/** Kafka's numbers: GROUP_AUTHORIZATION_FAILED, NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND. */
const [NOT_ALLOWED, HAS_MEMBERS, NO_GROUP] = [30, 68, 69]

/**
 * kafkajs asks for end offsets as a read-committed reader does: behind an open transaction of somebody's they stand still,
 * and a checkpoint beyond it would look like that of another log. It has no setting for this but where it makes its cluster.
 */
function uncommittedAdmin(kafka: Kafka): KafkaAdmin {
  const symbol = Object.getOwnPropertySymbols(kafka).find(({ description }) => description === 'private:Kafka:createCluster')
  const make: unknown = symbol && Reflect.get(kafka, symbol)
  if (symbol === undefined || typeof make !== 'function') throw new TypeError('This version of kafkajs makes its clusters in another way')
  const value = (options: object): unknown => Reflect.apply(make, kafka, [{ ...options, isolationLevel: READ_UNCOMMITTED }])
  return (Object.create(kafka, { [symbol]: { value } }) as Kafka).admin()
}

export function createAdmin(kafka: Kafka, logger: LineLogger): Admin {
  let connection: Promise<KafkaAdmin> | undefined

  function connected(): Promise<KafkaAdmin> {
    connection ??= (async () => {
      const admin = uncommittedAdmin(kafka)
      await admin.connect()
      return admin
    })()
    connection.catch(() => (connection = undefined))
    return connection
  }

  async function ask<T>(doing: string, question: (admin: KafkaAdmin) => Promise<T>): Promise<T> {
    const used = connected()
    try {
      return await question(await used)
    } catch (error) {
      const known = logError(error, doing)
      if (known.code === 'log-unavailable' && connection === used) await close()
      throw known
    }
  }

  async function close(): Promise<void> {
    const old = connection
    connection = undefined
    await old?.then((admin) => admin.disconnect()).catch((error: unknown) => logger.debug({ error }, 'the admin client did not disconnect'))
  }

  return {
    ask,
    close,
    leaders: (topic) =>
      ask(`the leaders of ${topic}`, async (admin) => {
        const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
        const partitions = topics.find(({ name }) => name === topic)?.partitions ?? []
        return partitions.toSorted((a, b) => a.partitionId - b.partitionId).map(({ leader }) => leader)
      }),
    bounds: (topic) =>
      ask(`the bounds of ${topic}`, async (admin) => {
        const found = await admin.fetchTopicOffsets(topic).catch((error: unknown) => {
          // What this client makes of an answer in which no leader gives the topic's offsets.
          if (!(error instanceof TypeError)) throw error
          throw new RefoldError('log-unavailable', `the bounds of ${topic}: no leader of its partitions tells them just now`, {
            cause: error,
          })
        })
        return found
          .map(({ partition, low, high }) => ({ partition, low: Number(low), high: Number(high) }))
          .toSorted((a, b) => a.partition - b.partition)
      }),
    groupOffsets: (group, topic) =>
      ask(`the offsets of group ${group}`, async (admin) => {
        const found = await admin.fetchOffsets({ groupId: group, topics: [topic] })
        return found
          .flatMap(({ partitions }) => partitions)
          .map(({ partition, offset, metadata }) => ({
            partition,
            offset: offset === '-1' ? null : Number(offset),
            metadata: metadata ?? '',
          }))
          .toSorted((a, b) => a.partition - b.partition)
      }),
    groups: () => ask('the groups there are', async (admin) => new Set((await admin.listGroups()).groups.map(({ groupId }) => groupId))),
    dropGroup: (group) =>
      ask(`the deletion of group ${group}`, async (admin) => {
        try {
          await admin.deleteGroups([group])
          return true
        } catch (error) {
          const code = error instanceof KafkaJSDeleteGroupsError ? error.groups?.[0]?.errorCode : undefined
          if (code === NO_GROUP) return true
          if (code === HAS_MEMBERS || code === NOT_ALLOWED) return false
          throw error
        }
      }),
  }
}
