// A projector on a real Postgres, its batches made by hand, with a recorder beside it.

import type { RecordedNews } from '../../consumers/projection-port.ts'
import { createProjector, type ProjectorOptions } from '../../consumers/projector.ts'
import { createReaderSchemas } from '../../consumers/reader-schemas.ts'
import { NO_FAULTS } from '../../faults.ts'
import type { LogHandler, LogRecord } from '../../kafka/log.ts'
import { createProjectionControl } from '../../postgres/projection-control.ts'
import { createProjectionStore } from '../../postgres/projection-store.ts'
import { createSchemaTexts } from '../../postgres/schema-texts.ts'
import { defineProjection, type Projection } from '../../projections/define.ts'
import { createWatch } from '../../watch.ts'
import type { TestDatabase } from './database.ts'
import { event } from './events.ts'
import { codec, PARTITION, PARTITIONS, recorderOn, recordOf } from './recording.ts'

export const idOf = (n: number) => `22222222-2222-4222-8222-${String(n).padStart(12, '0')}`

/** The names of an execution's events, in order. */
export const seen = defineProjection({
  name: 'seen',
  version: 1,
  columns: { id: 'text', names: 'text' },
  key: ['id'],
  keys: (one) => [{ id: one.executionId }],
  initial: ({ id }) => ({ id, names: '' }),
  evolve(row, one) {
    if (one.name === 'thrown') throw new Error('an event that was refused is no business of evolve')
    return { ...row, names: `${row.names}${one.name} ` }
  },
})

export type Projecting = { projector: LogHandler; recorder: LogHandler; asked: () => number; names: () => Promise<string | undefined> }

/** `told`: what the recorder is said to have passed. */
export async function projecting(
  database: TestDatabase,
  told: () => number | undefined,
  code: Projection = seen,
  more: Partial<ProjectorOptions> = {},
): Promise<Projecting> {
  const { admin, engine } = database
  await createProjectionControl(admin, [code], PARTITIONS).sync(code)
  const store = createProjectionStore(engine, code, 1)
  let asked = 0
  const news: RecordedNews = { told, above: async () => undefined }
  const projector = createProjector({
    projection: code,
    generation: 1,
    store: { ...store, windows: (spans) => (asked++, store.windows(spans)) },
    schemas: createReaderSchemas(codec, createSchemaTexts(engine), PARTITIONS, store.recorded),
    low: async () => 0,
    watch: createWatch(),
    faults: NO_FAULTS,
    remembered: 1000,
    news,
    ...more,
  })
  const recorder = recorderOn(database)
  await recorder.checkpoint(PARTITION)
  await projector.checkpoint(PARTITION)
  return {
    projector,
    recorder,
    asked: () => asked,
    names: async () => (await admin.query<{ names: string }>('SELECT names FROM projections.seen')).rows[0]?.names,
  }
}

export const record = (offset: number, name: string, changes: Partial<LogRecord> = {}) =>
  recordOf(event({ event_id: idOf(offset), event_name: name }), offset, changes)
