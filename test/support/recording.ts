// Feeds a recorder by hand, batch by batch, without Kafka.

import { createRecorder, type RecorderOptions } from '../../consumers/recorder.ts'
import { createWriterSchemas, type SchemaLookup } from '../../consumers/writer-schemas.ts'
import type { LogBatch, LogHandler, LogRecord } from '../../kafka/log.ts'
import { createRecorderStore } from '../../postgres/recorder-store.ts'
import { createSchemaTexts } from '../../postgres/schema-texts.ts'
import { createEventCodec } from '../../schemas/codec.ts'
import type { WorkflowEvent } from '../../schemas/generated.ts'
import { createWatch } from '../../watch.ts'
import { partitionOf } from '../../workflow/partition.ts'
import type { TestDatabase } from './database.ts'
import { EXECUTION } from './events.ts'
import type { Entry } from './random-log.ts'

export const PARTITIONS = 12
/** The partition of EXECUTION. */
export const PARTITION = partitionOf(EXECUTION, PARTITIONS)
const SCHEMA_ID = 1
export const codec = createEventCodec({ schemaId: SCHEMA_ID })

/** A record of EXECUTION's partition, as the log would hold it. */
export function recordOf(one: WorkflowEvent, offset: number, changes: Partial<LogRecord> = {}): LogRecord {
  const key = new TextEncoder().encode(one.execution_id)
  const place = { partition: PARTITION, offset, appendedAt: 1_700_000_000_000 + offset }
  return { ...place, key, value: codec.encode(one), transactional: false, headers: {}, ...changes }
}

export function batchOf(records: LogRecord[], from: number, next = from + records.length): LogBatch {
  return { topic: 'events', partition: PARTITION, from, next, records, highWatermark: next }
}

const nowhere: SchemaLookup = { lookup: async () => ({ state: 'unknown' }) }

/** `watched`: told of each execution that is looked up. */
export function recorderOn(
  { engine }: TestDatabase,
  registry: SchemaLookup = nowhere,
  rememberedExecutions = 0,
  watched?: (executionId: string) => void,
  more: Partial<RecorderOptions> = {},
): LogHandler {
  const schemas = createWriterSchemas(createEventCodec({ schemaId: SCHEMA_ID }), createSchemaTexts(engine), registry, () => undefined)
  const store = createRecorderStore(engine)
  const { atOnce } = store
  if (watched && atOnce)
    store.atOnce = {
      ...atOnce,
      reads(generation) {
        const reads = atOnce.reads(generation)
        return {
          ...reads,
          read(needs) {
            for (const { executionId } of needs) watched(executionId)
            return reads.read(needs)
          },
        }
      },
    }
  return createRecorder({ store, schemas, partitions: PARTITIONS, watch: createWatch(), rememberedExecutions, ...more })
}

/** Empties the tables, then records a log of EXECUTION cut into batches of these sizes, again and again. */
export async function recordLog(database: TestDatabase, log: readonly Entry[], cuts: readonly number[], remembered = 0): Promise<void> {
  await database.admin.query(`TRUNCATE refold.workflow_events, refold.event_verdicts, refold.execution_heads, refold.checkpoints,
    refold_derived_g1.workflow_executions, refold_derived_g1.workflow_snapshots,
    refold_derived_g1.workflow_actions, refold_derived_g1.workflow_timers, refold_derived_g1.workflow_waits`)
  const recorder = recorderOn(database, nowhere, remembered)
  await recorder.checkpoint(PARTITION)
  const records = log.map((entry, offset) => recordOf(entry.event, offset, { appendedAt: entry.appendedAt }))
  for (let from = 0, i = 0; from < records.length; i++) {
    const next = Math.min(records.length, from + (cuts[i % cuts.length] ?? 1))
    await recorder.batch(batchOf(records.slice(from, next), from))
    from = next
  }
}
