// The API over a real Postgres and the real recorder; only the log is held in memory, and folded when the test says so.

import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'
import type { Test } from 'tap'
import { createApi } from '../../api/api.ts'
import { createEndings } from '../../consumers/endings.ts'
import { createRecorder } from '../../consumers/recorder.ts'
import { createWriterSchemas } from '../../consumers/writer-schemas.ts'
import type { LogAppend, LogRecord } from '../../kafka/log.ts'
import { createProjectionRequests } from '../../postgres/projection-requests.ts'
import { createReadPool } from '../../postgres/reads/pool.ts'
import { createReads } from '../../postgres/reads/reads.ts'
import { createRecorderStore } from '../../postgres/recorder-store.ts'
import { createSchemaTexts } from '../../postgres/schema-texts.ts'
import { createEventProducer } from '../../producers/events.ts'
import { createRedriver } from '../../producers/redrive.ts'
import { createEventCodec } from '../../schemas/codec.ts'
import { createWatch } from '../../watch.ts'
import { type TestDatabase, useDatabase } from './database.ts'

export const TENANTS = { a: 'tenant-a', b: 'tenant-b' } as const
type Name = keyof typeof TENANTS

export type RecordedApi = {
  app: FastifyInstance
  database: TestDatabase
  /** Sends a request with the token of tenant a, an operator's, or b. */
  send: (as: Name, request: string | InjectOptions) => Promise<LightMyRequestResponse>
  /** Posts events as NDJSON. */
  post: (as: Name, events: readonly (object | string)[], headers?: Record<string, string>) => Promise<LightMyRequestResponse>
  /** Puts a record into the log as a foreign client would; returns its position. */
  foreign: (record: Pick<LogAppend, 'partition' | 'key' | 'value'>) => string
  /** Folds all that the log holds now. */
  record: () => Promise<void>
}

const PARTITIONS = 4
const encoder = new TextEncoder()

/** The registry, as the recorder asks it. Without one, no schema but ours is known. */
type Lookup = Parameters<typeof createWriterSchemas>[2]['lookup']

export async function recordedApi(t: Test, databaseUrl: string, lookup: Lookup = async () => ({ state: 'unknown' })): Promise<RecordedApi> {
  const database = await useDatabase(t, databaseUrl)
  const log: LogRecord[][] = Array.from({ length: PARTITIONS }, () => [])
  const codec = createEventCodec({ schemaId: 1 })
  const schemas = createWriterSchemas(codec, createSchemaTexts(database.engine), { lookup }, () => undefined)
  const recorder = createRecorder({ store: createRecorderStore(database.engine), schemas, partitions: PARTITIONS, watch: createWatch() })

  function put({ partition, key, value }: Pick<LogAppend, 'partition' | 'key' | 'value'>) {
    const records = log[partition]!
    const offset = records.length
    const appendedAt = Date.now()
    records.push({ partition, offset, key: encoder.encode(key), value, appendedAt, transactional: false, headers: {} })
    return { partition, offset, appendedAt }
  }

  async function record(): Promise<void> {
    for (const [partition, records] of log.entries()) {
      const from = await recorder.checkpoint(partition)
      const next = records.length
      if (from < next)
        await recorder.batch({ topic: 'events', partition, from, next, records: records.slice(from, next), highWatermark: next })
    }
  }

  const pool = createReadPool(database.url, { max: 4, name: 'test-reads' })
  const app = createApi({
    tokens: new Map(Object.entries(TENANTS).map(([name, tenant]) => [`token-${name}`, tenant])),
    operators: new Set(['token-a']),
    appender: createEventProducer({
      log: { append: async (one) => put(one) },
      topic: 'events',
      partitions: PARTITIONS,
      encode: (event) => codec.encode(event),
    }),
    redriver: createRedriver({ log: { append: async (one) => put(one) }, topic: 'events', partitions: PARTITIONS }),
    reads: createReads(pool),
    endings: createEndings(),
    folds: [],
    projections: createProjectionRequests(database.engine, async () => 'dropped'),
    partitions: PARTITIONS,
    logEnds: async () => new Map(log.map((records, partition) => [partition, records.length])),
    readiness: async () => [{ name: 'postgres', ready: true }],
    metrics: { contentType: 'text/plain', metrics: async () => 'refold_x 1\n' },
  })
  await app.ready()
  t.teardown(async () => {
    await app.close()
    await pool.close()
  })
  // Partitions without a record have a checkpoint too, as the recorder's reader makes one on assignment.
  for (const partition of log.keys()) await recorder.checkpoint(partition)

  const send: RecordedApi['send'] = async (as, request) => {
    const asked = typeof request === 'string' ? { url: request } : request
    return app.inject({ ...asked, headers: { authorization: `Bearer token-${as}`, ...asked.headers } })
  }
  const post: RecordedApi['post'] = (as, events, headers = {}) =>
    send(as, {
      method: 'POST',
      url: '/v1/events',
      headers: { 'content-type': 'application/x-ndjson', ...headers },
      payload: events.map((one) => (typeof one === 'string' ? one : JSON.stringify(one))).join('\n'),
    })
  const foreign: RecordedApi['foreign'] = (one) => `p${one.partition}:${put(one).offset}`
  return { app, database, send, post, foreign, record }
}
