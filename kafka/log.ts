// produce → [log] → recorder | runtime | projector → state → REST
//
// The port: everything the rest of Refold knows about the log. Two implementations hold the same contract suite
// (test/contracts/log.ts): kafka/ (kafkajs) and testing/memory-log.ts.

/** A record to be appended. The partition is explicit: `partitionOf(key, partitions)` of workflow/partition.ts. */
export type LogAppend = {
  topic: string
  partition: number
  key: string
  value: Uint8Array
  headers?: Readonly<Record<string, string>>
}

/** Where an acknowledged record is, and the broker's append time (milliseconds since 1970 UTC). */
export type Appended = { partition: number; offset: number; appendedAt: number }

/** A record as the log holds it. Key and value are bytes from outside: nothing about them is known yet. */
export type LogRecord = {
  partition: number
  offset: number
  key: Uint8Array | null
  value: Uint8Array | null
  /** Broker's append time, milliseconds since 1970 UTC. */
  appendedAt: number
  /** Written inside a Kafka transaction, committed or not: `accept` quarantines such records. */
  transactional: boolean
  headers: Readonly<Record<string, Uint8Array>>
}

/**
 * What a reader gets at a time: all that partition `partition` holds in [from, next), control records counted but not
 * shown, so `records` may be empty while `next` > `from`. Batches of a partition are contiguous: `from` is always the
 * checkpoint the handler gave or the `next` of the batch before.
 */
export type LogBatch = {
  topic: string
  partition: number
  from: number
  next: number
  records: readonly LogRecord[]
  /** One past the partition's newest record, as the broker said with this batch. */
  highWatermark: number
}

/** A record that was read before, by which another log under the same address is noticed. */
export type Witness = { offset: number; isSame(record: LogRecord): boolean }

/** What the owner of a reader brings. */
export type LogHandler = {
  /** Where to go on in a partition; asked on each assignment and after each failure. */
  checkpoint(partition: number): Promise<number>
  /**
   * The newest record read below the checkpoint. On each assignment the reader compares it with what the log holds at its
   * offset, before it hands on anything: another record, or none, is `log-replaced`.
   */
  witness?(partition: number): Promise<Witness | undefined>
  /**
   * Takes a batch. Resolves when it is stored, with the checkpoint as it is now (normally `batch.next`; another number
   * makes the reader seek there: somebody else is ahead or behind). A rejection makes the reader ask `checkpoint` again,
   * after a back-off.
   */
  batch(batch: LogBatch): Promise<number>
}

export type ReaderOptions = {
  topic: string
  /** Consumer group; members of a group share the partitions. */
  group: string
  handler: LogHandler
  /** Metadata committed with the group offset, the mirror of the checkpoint, on assignment and as it moves: `refold:<reader>:g<generation>:<offset>`. */
  mirror: { reader: string; generation: number }
  /** Largest batch handed to the handler, in records. */
  maxRecords?: number
  /**
   * Readers of a process that do are fetched for once where they are at the same place; none waits long for another. One that leads is
   * the first to get each batch, and waits for none.
   */
  sharesFetches?: boolean | 'leads'
}

/** A running member of a consumer group. */
export type LogReader = {
  /** Resolves once the member has joined its group. */
  start(): Promise<void>
  /** Waits for the batch in hand, leaves the group. May be called twice. */
  stop(): Promise<void>
  health(): ReaderHealth
}

export type ReaderHealth = {
  state: 'stopped' | 'joining' | 'running' | 'stuck' | 'failed'
  /** Partitions assigned now, with the next offset and the newest high watermark seen. */
  partitions: ReadonlyMap<number, { next: number; highWatermark: number }>
  lastError?: string
}

export type PartitionBounds = { partition: number; low: number; high: number }

export type GroupOffset = { partition: number; offset: number | null; metadata: string }

/** The log. Errors are RefoldError: `log-append-too-large`, `log-unavailable`, `log-replaced`, `log-topic-missing`, … */
export type Log = {
  /**
   * Appends one record; resolves when all in-sync replicas have it. Records of one partition are written in the order of
   * the calls. Rejects only when the record can't ever be written (`log-append-too-large`) or the log is closing;
   * an unknown outcome is sent again until it is known, up to the producer's deadline.
   */
  append(record: LogAppend): Promise<Appended>
  reader(options: ReaderOptions): LogReader
  /** Makes the topic if it isn't there and waits until each partition answers; returns its partition count. */
  ensureTopic(topic: TopicSpec): Promise<number>
  /** First offset and end (one past the newest) of each partition. */
  bounds(topic: string): Promise<PartitionBounds[]>
  groupOffsets(group: string, topic: string): Promise<GroupOffset[]>
  /** Names of the groups there are, with members or offsets only; those that this client may not see are not among them. */
  groups(): Promise<ReadonlySet<string>>
  /** Deletes a group with its offsets; false: it has members, or that is not allowed, so nothing was done. */
  dropGroup(group: string): Promise<boolean>
  close(): Promise<void>
}

export type TopicSpec = {
  name: string
  partitions: number
  replication: number
  /** Topic settings given at creation only; never altered later. */
  settings: Readonly<Record<string, string>>
}
