// What the client fetched, as batches of the port. The one place that reads what kafkajs has but doesn't declare
// (`messagesWithinOffset`, `message.batchContext`), and checks it: another version of the client fails here, loudly.

import type { EachBatchPayload, KafkaMessage } from 'kafkajs'
import type { LogBatch, LogRecord } from './log.ts'

/** A batch of the port, before it is cut to the handler's size. `holes`: offsets missing between its records. */
export type Fetched = Omit<LogBatch, 'topic'> & { holes: number }

type ClientBatch = EachBatchPayload['batch']

export function fetched(batch: ClientBatch): Fetched {
  const { messagesWithinOffset } = batch as ClientBatch & { messagesWithinOffset?: unknown }
  // Control records are in it, and so in firstOffset and lastOffset: it has one entry for each offset.
  if (!Array.isArray(messagesWithinOffset)) throw new TypeError('This version of kafkajs does not tell which offsets a batch covers')
  const first = Number(batch.firstOffset())
  const next = Number(batch.lastOffset()) + 1
  return {
    partition: batch.partition,
    from: first,
    next,
    records: batch.messages.map((message) => record(batch.partition, message)),
    highWatermark: Number(batch.highWatermark),
    holes: next - first - messagesWithinOffset.length,
  }
}

function record(partition: number, message: KafkaMessage): LogRecord {
  return {
    partition,
    offset: Number(message.offset),
    key: message.key,
    value: message.value,
    appendedAt: Number(message.timestamp),
    transactional: inTransaction(message),
    headers: message.headers ? headers(message.headers) : NO_HEADERS,
  }
}

function inTransaction(message: KafkaMessage): boolean {
  const context: unknown = 'batchContext' in message ? message.batchContext : undefined
  if (typeof context === 'object' && context !== null && 'inTransaction' in context && typeof context.inTransaction === 'boolean')
    return context.inTransaction
  throw new TypeError('This version of kafkajs does not tell whether a record was written inside a transaction')
}

const NO_HEADERS: LogRecord['headers'] = Object.freeze({})

// The last value of a name given twice, as Kafka's own clients answer `lastHeader`. Null prototype: names are from outside.
function headers(found: NonNullable<KafkaMessage['headers']>): LogRecord['headers'] {
  const all: Record<string, Uint8Array> = Object.create(null) as Record<string, Uint8Array>
  for (const [name, value] of Object.entries(found)) {
    const last = Array.isArray(value) ? value.at(-1) : value
    if (last !== undefined && last !== null) all[name] = typeof last === 'string' ? Buffer.from(last) : last
  }
  return all
}

/** What of a batch is at `offset` or above. */
export function since(batch: Fetched, offset: number): Fetched {
  if (batch.from >= offset) return batch
  return { ...batch, from: offset, records: batch.records.filter((each) => each.offset >= offset) }
}

/** Cuts a batch so that no part has more than `most` records; control records belong to the part before them. */
export function* parts(batch: Fetched, most: number): Generator<Fetched> {
  const { records } = batch
  let from = batch.from
  for (let i = 0; i === 0 || i < records.length; i += most) {
    const next = records[i + most]?.offset ?? batch.next
    yield { ...batch, from, next, records: records.slice(i, i + most) }
    from = next
  }
}
