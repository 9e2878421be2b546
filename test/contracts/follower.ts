// A reader's owner in memory: keeps the checkpoint by compare-and-set, as Postgres does, and everything it was handed.

import type { LogBatch, LogHandler, LogRecord } from '../../kafka/log.ts'

export class Follower {
  readonly checkpoints = new Map<number, number>()
  readonly records = new Map<number, LogRecord[]>()
  readonly batches: LogBatch[] = []
  /** Batches refused because the checkpoint was elsewhere. */
  refused = 0
  /** Asked before each batch; may throw, or hold it. */
  before: (batch: LogBatch) => void | Promise<void> = () => undefined

  /** The handler of one member; members of a group share the follower. */
  readonly handler: LogHandler = {
    checkpoint: async (partition) => this.checkpoint(partition),
    batch: async (batch) => {
      await this.before(batch)
      if (this.checkpoint(batch.partition) !== batch.from) {
        this.refused++
        return this.checkpoint(batch.partition)
      }
      this.checkpoints.set(batch.partition, batch.next)
      const records = this.records.get(batch.partition) ?? []
      records.push(...batch.records)
      this.records.set(batch.partition, records)
      this.batches.push(batch)
      return batch.next
    },
  }

  checkpoint(partition: number): number {
    return this.checkpoints.get(partition) ?? 0
  }

  offsets(partition: number): number[] {
    return (this.records.get(partition) ?? []).map(({ offset }) => offset)
  }

  keys(partition: number): string[] {
    return (this.records.get(partition) ?? []).map(({ key }) => Buffer.from(key ?? []).toString())
  }
}
