// The recorder, put together: Postgres, the schemas, the reader on the events topic.

import { createOwnEvents } from '../consumers/own-events.ts'
import { createRecorder } from '../consumers/recorder.ts'
import { createWriterSchemas } from '../consumers/writer-schemas.ts'
import { pinLog } from '../postgres/log-pin.ts'
import { createPgPool } from '../postgres/pool.ts'
import { closeOldIncidents } from '../postgres/recorder-incidents.ts'
import { createRecorderStore } from '../postgres/recorder-store.ts'
import { createSchemaTexts } from '../postgres/schema-texts.ts'
import { WORKFLOW_EVENT_SCHEMA } from '../schemas/generated.ts'
import type { Lifetime } from '../lifetime.ts'
import type { Watch } from '../watch.ts'
import { type Base, type Checks, part, readerPart, type StartOptions } from './base.ts'
import { startDerived } from './derived.ts'

/** Between two looks for incidents that are over, ms. */
const CLOSE_EVERY = 10_000

export async function startRecorder(options: StartOptions, base: Base, checks: Checks, watch: Watch, lifetime: Lifetime): Promise<void> {
  const { config, addresses, logger } = options
  const { log, topic, partitions, schemaId, codec, registry, faults, storing, recorded } = base
  const pool = lifetime.owns(
    createPgPool(addresses.databaseUrl, { max: config.databaseConnections, name: 'refold-recorder', role: 'refold_engine', byKey: true }),
    (opened) => opened.end(),
  )
  await pinLog(pool, { topic, partitions, schemaId, schemaText: WORKFLOW_EVENT_SCHEMA })
  const own = createOwnEvents()
  lifetime.owns(base.writing.add(own.writing), (listeners) => listeners.delete(own.writing))
  lifetime.owns(base.written.add(own.written), (listeners) => listeners.delete(own.written))
  const schemas = createWriterSchemas(
    codec,
    createSchemaTexts(pool),
    registry,
    (id) => watch.emit('recorder:schema:stored', { schemaId: id }),
    own,
  )
  const reader = log.reader({
    topic,
    group: `${config.topicPrefix}.recorder`,
    handler: createRecorder({
      store: createRecorderStore(pool, faults),
      schemas,
      partitions,
      watch,
      faults,
      rememberedExecutions: config.stateCacheSize,
      pace: config.recorderPace,
      storing: (spans, lock) => storing.forEach((listener) => listener(spans, lock)),
      recorded: (...batch) => recorded.forEach((listener) => listener(...batch)),
    }),
    mirror: { reader: 'recorder', generation: 1 },
    maxRecords: config.recorderBatch,
    sharesFetches: 'leads',
  })
  const closing = setInterval(() => {
    closeOldIncidents(pool).catch((error: unknown) => logger.debug({ err: error }, 'old incidents were not closed; they are next time'))
  }, CLOSE_EVERY)
  lifetime.owns(closing, (timer) => clearInterval(timer))
  await startDerived(options, base, lifetime)
  checks.set('postgres', () => part('postgres', () => pool.query('SELECT')))
  checks.set('recorder', async () => readerPart('recorder', reader))
  await lifetime.owns(reader, (opened) => opened.stop()).start()
  logger.info({ topic, partitions }, 'recorder started')
}
