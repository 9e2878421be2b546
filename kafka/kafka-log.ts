// produce → [log] → recorder | runtime | projector → state → REST
//
// The log on Kafka: the port of log.ts, put together.

import { randomBytes } from 'node:crypto'
import { createAdmin } from './admin.ts'
import { createClient } from './client.ts'
import type { ClientOptions } from './client.ts'
import type { Log, LogReader } from './log.ts'
import { createAppender } from './producer.ts'
import type { SendFaults } from './producer.ts'
import { createReader } from './reader.ts'
import type { ReaderSettings } from './reader.ts'
import { createSharedFetches } from './shared-fetches.ts'
import { ensureTopic } from './topics.ts'

export type KafkaLogOptions = ClientOptions &
  Partial<ReaderSettings> & {
    /** Milliseconds an append may wait for an unknown outcome to become known. Default: 30,000. */
    appendDeadline?: number
    /** For tests: breaks sends. */
    faults?: SendFaults
  }

const DEFAULTS: ReaderSettings = { fetchWait: 200, groupSession: 10_000, groupHeartbeat: 1000, stuckAfter: 15_000 }

/** Connects nothing yet: each part does at its first use. */
export function createKafkaLog(options: KafkaLogOptions): Log {
  const { logger, appendDeadline = 30_000, faults } = options
  const settings = { ...DEFAULTS, ...options }
  const admin = createAdmin(createClient({ ...options, clientId: `${options.clientId}-admin` }), logger)
  const appender = createAppender({
    kafka: createClient({ ...options, clientId: `${options.clientId}-append` }),
    admin,
    logger,
    deadline: appendDeadline,
    ...(faults ? { faults } : {}),
  })
  const readers = new Set<LogReader>()
  const shared = createSharedFetches()
  // The client's assigner goes by the order of names: groups with members of the same processes give each the same partitions, and
  // only readers of one partition can share what is fetched.
  const own = randomBytes(4).toString('hex')
  let closing: Promise<void> | undefined

  async function closeAll(): Promise<void> {
    await Promise.all([...readers].map((reader) => reader.stop()))
    await appender.close()
    await admin.close()
  }

  return {
    append: (record) => appender.append(record),
    reader(reading) {
      const kafka = () => createClient({ ...options, clientId: `${options.clientId}-${own}-${reading.mirror.reader}` })
      const reader = createReader(reading, settings, { kafka, admin, logger, shared: reading.sharesFetches ? shared : undefined })
      readers.add(reader)
      return reader
    },
    ensureTopic: (topic) => ensureTopic(admin, logger, topic),
    bounds: (topic) => admin.bounds(topic),
    groupOffsets: (group, topic) => admin.groupOffsets(group, topic),
    groups: () => admin.groups(),
    dropGroup: (group) => admin.dropGroup(group),
    close: () => (closing ??= closeAll()),
  }
}
