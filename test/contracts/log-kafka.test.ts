import t from 'tap'
import { useKafka } from '../support/kafka.ts'
import { logContract } from './log.ts'

const kafka = await useKafka(t)
if (kafka) {
  const log = kafka.log()
  const other = kafka.log()

  logContract('kafka', () => ({
    log,
    other,
    topic: (partitions) => kafka.topic(partitions),
    transaction: (records, end, written) => kafka.transaction(records, end, written),
    async cut(topic, partition, offset) {
      await kafka.admin.fetchTopicMetadata({ topics: [topic] })
      await kafka.admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(offset) }] })
    },
    setGroupOffset: (groupId, topic, partition, offset) =>
      kafka.admin.setOffsets({ groupId, topic, partitions: [{ partition, offset: String(offset) }] }),
  }))
}
