// Two projectors that each read every partition, through groups of their own, into one generation: on the same checkpoints.

import { createProjector } from '../../consumers/projector.ts'
import { createReaderSchemas } from '../../consumers/reader-schemas.ts'
import { NO_FAULTS } from '../../faults.ts'
import { createKafkaLog } from '../../kafka/kafka-log.ts'
import { createPgPool } from '../../postgres/pool.ts'
import { createProjectionStore } from '../../postgres/projection-store.ts'
import { createSchemaTexts } from '../../postgres/schema-texts.ts'
import type { Projection } from '../../projections/define.ts'
import { createEventCodec } from '../../schemas/codec.ts'
import { createWatch } from '../../watch.ts'

const quiet = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }
/** No registry gives it: each schema is learnt from the database. */
const NO_SCHEMA = 0x7fff_fff0
const PARTITIONS = 12

export type Rivals = { /** Batches thrown away, since the other was first. */ overtaken: () => number; stop: () => Promise<void> }

export async function startRivals(
  projections: readonly Projection[],
  { brokers, databaseUrl, prefix }: { brokers: string[]; databaseUrl: string; prefix: string },
): Promise<Rivals> {
  const log = createKafkaLog({ brokers, clientId: `${prefix}-rivals`, logger: quiet, groupSession: 3000, groupHeartbeat: 500 })
  const pool = createPgPool(databaseUrl, { max: 8, name: 'rivals', role: 'refold_engine' })
  const codec = createEventCodec({ schemaId: NO_SCHEMA })
  let overtaken = 0
  const readers = ['rival-1', 'rival-2'].flatMap((rival) =>
    projections.map((projection) => {
      const store = createProjectionStore(pool, projection, 1)
      const handler = createProjector({
        projection,
        generation: 1,
        store: {
          ...store,
          async transaction(...given) {
            const outcomes = await store.transaction(...given)
            overtaken += outcomes.filter((outcome) => outcome === 'overtaken').length
            return outcomes
          },
        },
        schemas: createReaderSchemas(codec, createSchemaTexts(pool), PARTITIONS, store.recorded),
        low: async () => 0,
        watch: createWatch(),
        faults: NO_FAULTS,
        remembered: 10_000,
      })
      return log.reader({
        topic: `${prefix}.events`,
        group: `${prefix}.${rival}.${projection.name}`,
        mirror: { reader: projection.name, generation: 1 },
        maxRecords: 200,
        handler,
      })
    }),
  )
  await Promise.all(readers.map((reader) => reader.start()))
  return {
    overtaken: () => overtaken,
    async stop() {
      await Promise.all(readers.map((reader) => reader.stop()))
      await log.close()
      await pool.end()
    },
  }
}
