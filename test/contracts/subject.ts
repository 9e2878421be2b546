// What the tests of the log's contract act with.

import type { Test } from 'tap'
import type { Log, LogAppend, LogReader } from '../../kafka/log.ts'
import type { Follower } from './follower.ts'

/** A log under test, and what a test needs beside its port. */
export type Subject = {
  log: Log
  /** The same log as another process sees it. */
  other: Log
  /** Makes a topic with a name of its own. */
  topic(partitions: number): Promise<string>
  /** `written` is awaited between the records and the control record that ends them. */
  transaction(records: readonly LogAppend[], end: 'commit' | 'abort', written?: () => Promise<unknown>): Promise<void>
  cut(topic: string, partition: number, offset: number): Promise<void>
  setGroupOffset(group: string, topic: string, partition: number, offset: number, metadata?: string): Promise<void>
}

export const MIRROR = { reader: 'recorder', generation: 3 }

export const entry = (topic: string, partition: number, key: string, value = `value of ${key}`): LogAppend => ({
  topic,
  partition,
  key,
  value: Buffer.from(value),
})

export const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

export function actingOn(subject: () => Subject) {
  /** A reader of the test's own topic and group, stopped at its end. */
  function follow(
    t: Test,
    topic: string,
    follower: Follower,
    options: { log?: Log; group?: string; maxRecords?: number; sharesFetches?: boolean | 'leads' } = {},
  ): LogReader {
    const { log = subject().log, group = `${topic}.readers`, ...rest } = options
    const reader = log.reader({ topic, group, handler: follower.handler, mirror: MIRROR, ...rest })
    t.teardown(() => reader.stop())
    return reader
  }

  const appendAll = (records: readonly LogAppend[]) => Promise.all(records.map((record) => subject().log.append(record)))

  return { follow, appendAll }
}
