// One generation of a projection, put together: its reader of the log, its folds, its store. Benches make it too.

import type { Pool } from 'pg'
import { createProjector, type ProjectorOptions } from '../consumers/projector.ts'
import { createReaderSchemas, eventReader } from '../consumers/reader-schemas.ts'
import { createSharedPasses, type SharedPasses } from '../consumers/shared-pass.ts'
import type { Log, LogHandler, LogReader } from '../kafka/log.ts'
import { createProjectionStore } from '../postgres/projection-store.ts'
import { createSchemaTexts } from '../postgres/schema-texts.ts'
import type { EventCodec } from '../schemas/codec.ts'

export type GenerationReaderOptions = Omit<ProjectorOptions, 'store' | 'schemas' | 'passes'> & {
  log: Log
  topic: string
  group: string
  codec: EventCodec
  partitions: number
  pool: Pool
  /** Of the process: generations that have the same records in hand go over them together. */
  passes: SharedPasses
  /** Largest batch, in records. */
  maxRecords: number
  /** For a bench: told of a batch before it is handed on. */
  given?: () => void
}

export const passesOf = (codec: EventCodec): SharedPasses => createSharedPasses(eventReader(codec))

export function generationReader(options: GenerationReaderOptions): LogReader {
  const { log, topic, group, codec, partitions, pool, maxRecords, given, projection, generation } = options
  const store = createProjectionStore(pool, projection, generation)
  const schemas = createReaderSchemas(codec, createSchemaTexts(pool), partitions, store.recorded)
  const projector = createProjector({ ...options, store, schemas })
  const handler: LogHandler = given ? { ...projector, batch: (batch) => (given(), projector.batch(batch)) } : projector
  const mirror = { reader: projection.name, generation }
  return log.reader({ topic, group, handler, mirror, maxRecords, sharesFetches: true })
}
