// The derived tables' role on a real Postgres, with a log that is only its ends.

import pino from 'pino'
import t from 'tap'
import { readConfig } from '../../config.ts'
import { NO_FAULTS } from '../../faults.ts'
import type { Log } from '../../kafka/log.ts'
import { createLifetime } from '../../lifetime.ts'
import { createProjectionRequests } from '../../postgres/projection-requests.ts'
import type { Base } from '../../roles/base.ts'
import { startDerived } from '../../roles/derived.ts'
import { useDatabase } from '../support/database.ts'
import { event } from '../support/events.ts'
import { batchOf, PARTITION, PARTITIONS, recorderOn, recordOf } from '../support/recording.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

const idOf = (n: number) => `22222222-2222-4222-8222-${String(n).padStart(12, '0')}`

t.test('a rebuild is finished though the recorder is far behind, and stays so; its log says why it is slow', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const database = await useDatabase(t, databaseUrl)
  const { admin } = database
  const recorder = recorderOn(database)
  await recorder.checkpoint(PARTITION)
  const records = [1, 2, 3].map((n) => recordOf(event({ event_id: idOf(n), to_state: `s${n}` }), n - 1))
  await recorder.batch(batchOf(records, 0))
  // One partition stands while others are recorded.
  const bounds = async () => [{ partition: PARTITION, low: 0, high: 6003 }]
  const log = { bounds, groupOffsets: async () => [], dropGroup: async () => false } as unknown as Log
  const lifetime = createLifetime()
  t.teardown(() => lifetime.close())
  await startDerived(
    {
      config: readConfig({}),
      addresses: { kafkaBrokers: [], registryUrl: '', databaseUrl: database.url, redisUrl: '', apiTokens: new Map() },
      roles: ['recorder'],
      logger: pino({ level: 'silent' }),
    },
    { log, topic: 'events', partitions: PARTITIONS, faults: NO_FAULTS } as Base,
    lifetime,
  )
  await createProjectionRequests(admin, () => Promise.reject(new Error('nothing is dropped'))).open('derived', 'rebuild', 'test')
  let seen = {}
  await until(
    async () => {
      const { rows } = await admin.query<{ state: string; log: { line: string }[] }>('SELECT state, log FROM refold.operations')
      seen = rows
      return rows[0]?.state === 'ready'
    },
    { what: () => `the rebuild to be ready: ${JSON.stringify(seen)}` },
  )
  const lines = (seen as { log: { line: string }[] }[])[0]?.log.map(({ line }) => line) ?? []
  t.strictSame(
    lines.filter((line) => line.includes('built slowly')),
    ['generation 2 is built slowly, to leave room for live traffic: what people read is 6000 records behind'],
  )
  const { rows } = await admin.query('SELECT current_state FROM refold_derived_g2.workflow_executions')
  t.strictSame(rows, [{ current_state: 's3' }])
  await lifetime.close()
})
