// Our recorder as main.ts makes it, on a bench's ground.

import { setTimeout as pause } from 'node:timers/promises'
import { readConfig } from '../config.ts'
import { createOwnEvents, type OwnEvents } from '../consumers/own-events.ts'
import { createRecorder, type RecorderOptions } from '../consumers/recorder.ts'
import { createWriterSchemas } from '../consumers/writer-schemas.ts'
import type { LogBatch } from '../kafka/log.ts'
import { createPgPool } from '../postgres/pool.ts'
import { createRecorderStore } from '../postgres/recorder-store.ts'
import { createSchemaTexts } from '../postgres/schema-texts.ts'
import { createEventCodec } from '../schemas/codec.ts'
import { createWatch } from '../watch.ts'
import { CONNECTIONS, type Ground, PARTITIONS, SCHEMA_ID } from './ground.ts'

export type Observer = {
  given?: (batch: LogBatch) => void
  stored?: (batch: LogBatch) => void
  recorded?: RecorderOptions['recorded']
  storing?: RecorderOptions['storing']
}

export type OurRecorder = {
  /** To be told of what this process appends. */
  own: OwnEvents
  start(): Promise<void>
  /** Resolves once every partition's checkpoint is at the log's end. */
  caughtUp(): Promise<void>
  stop(): Promise<void>
}

/** A member of a fresh group; `given` is told of a batch before the recorder gets it, `stored` after its commit. */
export function openRecorder(ground: Ground, { given, stored, recorded, storing }: Observer): OurRecorder {
  const { recorderBatch, stateCacheSize, recorderPace } = readConfig(process.env)
  const pool = createPgPool(ground.databaseUrl, { max: CONNECTIONS, name: 'bench-ours', role: 'refold_engine', byKey: true })
  const lookup = async () => ({ state: 'unknown' as const })
  const codec = createEventCodec({ schemaId: SCHEMA_ID })
  const own = createOwnEvents()
  const inHand = new Map<number, LogBatch>()
  const watch = createWatch()
  // Told at the commit: the recorder rests after a small batch.
  watch.on('recorder:batch:stored', ({ partition }) => {
    const batch = inHand.get(partition)
    if (batch) stored?.(batch)
  })
  const recorder = createRecorder({
    store: createRecorderStore(pool),
    schemas: createWriterSchemas(codec, createSchemaTexts(pool), { lookup }, () => undefined, own),
    partitions: PARTITIONS,
    watch,
    rememberedExecutions: stateCacheSize,
    pace: recorderPace,
    recorded,
    storing,
  })
  const reader = ground.log.reader({
    topic: ground.topic,
    group: ground.fresh('ours'),
    mirror: { reader: 'recorder', generation: 1 },
    maxRecords: recorderBatch,
    sharesFetches: 'leads',
    handler: {
      checkpoint: (partition) => recorder.checkpoint(partition),
      async batch(batch) {
        given?.(batch)
        inHand.set(batch.partition, batch)
        return recorder.batch(batch)
      },
    },
  })
  async function isCaughtUp(): Promise<boolean> {
    const ends = await ground.log.bounds(ground.topic)
    const { partitions } = reader.health()
    return ends.every(({ partition, high }) => (partitions.get(partition)?.next ?? 0) >= high)
  }
  return {
    own,
    start: () => reader.start(),
    async caughtUp() {
      while (!(await isCaughtUp())) await pause(100)
    },
    async stop() {
      await reader.stop()
      await pool.end()
    },
  }
}
