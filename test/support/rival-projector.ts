// A process that projects, in groups of its own, into generation 1 of projections of an application: forked by rival-projectors.ts.
// Parent → child: Rival first, then 'stop'. Child → parent: 'ready', then the number of batches thrown away.

import { once } from 'node:events'
import { createProjector } from '../../consumers/projector.ts'
import { createReaderSchemas } from '../../consumers/reader-schemas.ts'
import { NO_FAULTS } from '../../faults.ts'
import type { App, Projection } from '../../index.ts'
import { createKafkaLog } from '../../kafka/kafka-log.ts'
import { createPgPool } from '../../postgres/pool.ts'
import { createProjectionStore } from '../../postgres/projection-store.ts'
import { createSchemaTexts } from '../../postgres/schema-texts.ts'
import { createEventCodec } from '../../schemas/codec.ts'
import { createWatch } from '../../watch.ts'
import type { Rival } from './rival-projectors.ts'

const quiet = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }
/** No registry gives it: each schema is learnt from the database. */
const NO_SCHEMA = 0x7fff_fff0
const PARTITIONS = 12

async function project({ app, names, brokers, databaseUrl, prefix, rival }: Rival) {
  const { default: defined } = (await import(app)) as { default: App }
  const log = createKafkaLog({ brokers, clientId: `${prefix}-${rival}`, logger: quiet, groupSession: 3000, groupHeartbeat: 500 })
  const pool = createPgPool(databaseUrl, { max: 4, name: rival, role: 'refold_engine' })
  const codec = createEventCodec({ schemaId: NO_SCHEMA })
  let overtaken = 0
  const readers = (defined.projections as readonly Projection[])
    .filter(({ name }) => names.includes(name))
    .map((projection) => {
      const store = createProjectionStore(pool, projection, 1)
      const counted =
        <A extends unknown[], T extends readonly string[]>(write: (...given: A) => Promise<T>) =>
        async (...given: A) => {
          const outcomes = await write(...given)
          overtaken += outcomes.filter((outcome) => outcome === 'overtaken').length
          return outcomes
        }
      const { foldsFirst } = store
      const handler = createProjector({
        projection,
        generation: 1,
        store: {
          ...store,
          transaction: counted(store.transaction),
          ...(foldsFirst ? { foldsFirst: { ...foldsFirst, write: counted(foldsFirst.write) } } : {}),
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
    })
  await Promise.all(readers.map((reader) => reader.start()))
  return async () => {
    await Promise.all(readers.map((reader) => reader.stop()))
    await log.close()
    await pool.end()
    return overtaken
  }
}

// Its parent was killed: nobody else ends it.
process.once('disconnect', () => process.exit())
const [asked] = (await once(process, 'message')) as [Rival]
const end = await project(asked)
process.send?.('ready')
await once(process, 'message')
process.send?.(await end())
process.disconnect()
