// Generations of the recorder's derived tables on a real Postgres: built from the audit, compared, promoted while the recorder
// writes, rolled back. Over processes and REST they are in test/flows/derived.test.ts.

import fc from 'fast-check'
import t, { type Test } from 'tap'
import { createFollower } from '../../consumers/derived.ts'
import { createOperations, type Operation } from '../../consumers/operations.ts'
import { createDerivedControl } from '../../postgres/derived-control.ts'
import { createDerivedStore } from '../../postgres/derived-store.ts'
import { createPgPool } from '../../postgres/pool.ts'
import { createProjectionRequests } from '../../postgres/projection-requests.ts'
import { type TestDatabase, useDatabase } from '../support/database.ts'
import { event } from '../support/events.ts'
import { randomLog } from '../support/random-log.ts'
import { batchOf, PARTITION, PARTITIONS, recorderOn, recordLog, recordOf } from '../support/recording.ts'
import { useStack } from '../support/stack.ts'

const TABLES = ['workflow_executions', 'workflow_snapshots', 'workflow_actions', 'workflow_timers', 'workflow_waits']
const id = (n: number) => `22222222-2222-4222-8222-${String(n).padStart(12, '0')}`

async function rowsOf({ admin }: TestDatabase, schema: string): Promise<unknown[]> {
  const all = TABLES.map(async (table) => (await admin.query(`SELECT t::text AS row FROM ${schema}.${table} t ORDER BY 1`)).rows)
  return Promise.all(all)
}

async function controlOf(t: Test, database: TestDatabase) {
  const engine = createPgPool(database.url, { max: 4, name: 'test-derived', role: 'refold_engine', byKey: true })
  t.teardown(() => engine.end())
  const control = createDerivedControl(database.admin, engine, PARTITIONS)
  const said: string[] = []
  const operations = createOperations(control.operations, (facts, line) => said.push(`${line} ${JSON.stringify(facts)}`))
  const requests = createProjectionRequests(database.admin, async (name, generation) => control.operations.dropGeneration(name, generation))
  const newest = async () =>
    (
      await database.admin.query<Operation & { log: { line: string }[] }>(
        'SELECT * FROM refold.operations ORDER BY requested_at DESC LIMIT 1',
      )
    ).rows[0]
  /** Steps of the open operation and rounds of whoever follows, until it is in this state. */
  async function until(state: Operation['state']): Promise<void> {
    for (let i = 0; i < 200; i++) {
      const now = await newest()
      if (now?.state === state) return
      for (const { generation } of await control.followed())
        await createFollower({ store: createDerivedStore(database.engine, generation), remembered: 100 }).follow()
      await operations.advance()
    }
    const now = await newest()
    throw new Error(`not ${state}: ${now?.state} ${JSON.stringify(now?.log)} ${said.join('; ')}`)
  }
  return { control, requests, until, newest, said }
}

t.test('generations of the derived tables', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return

  t.test('property: folded from the audit, in whatever pages, the tables are those that the recorder wrote', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const { control } = await controlOf(t, database)
    const made = await control.operations.makeGeneration('derived')
    t.strictSame(await control.operations.makeGeneration('derived'), made, 'made once')
    const generation = 'generation' in made ? made.generation : 0
    const restart = () =>
      database.admin.query(`
        TRUNCATE ${TABLES.map((table) => `refold_derived_g${generation}.${table}`).join(', ')};
        INSERT INTO refold.checkpoints (reader, partition, next_offset) VALUES ('derived@g${generation}', ${PARTITION}, 0)
          ON CONFLICT (reader, partition) DO UPDATE SET next_offset = 0`)
    await fc.assert(
      fc.asyncProperty(randomLog, fc.integer({ min: 1, max: 9 }), fc.constantFrom(0, 100), async (log, page, remembered) => {
        await recordLog(database, log, [log.length + 1])
        await restart()
        const follower = createFollower({ store: createDerivedStore(database.engine, generation), remembered, page })
        for (let behind: number | null = 1; behind !== 0;) behind = await follower.follow()
        t.strictSame(await rowsOf(database, `refold_derived_g${generation}`), await rowsOf(database, 'refold_derived_g1'))
      }),
      { numRuns: 40 },
    )
  })

  t.test('rebuilt, compared, promoted while the recorder writes, rolled back, retired', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const { requests, until, newest, control } = await controlOf(t, database)
    const recorder = recorderOn(database, undefined, 100)
    await recorder.checkpoint(PARTITION)
    let offset = 0
    const record = async (n: number) => {
      await recorder.batch(batchOf([recordOf(event({ event_id: id(n), payload: `{"k${n}":${n}}`, to_state: `s${n}` }), offset)], offset))
      offset++
    }
    for (let n = 1; n <= 25; n++) await record(n)
    await requests.open('derived', 'rebuild', 'test')
    await t.rejects(requests.open('derived', 'reset', 'test'), { code: 'operation-open' })
    await t.rejects(requests.stop('derived', true), { code: 'operation-impossible', detail: /processes of role recorder/ })
    await until('ready')
    const first = (await newest())?.comparison
    t.match(first, { differing: 0 })
    t.equal(first?.partitions.find(({ partition }) => partition === PARTITION)?.live, 1)
    await requests.want('derived', 'abort')
    await until('aborted')
    t.equal((await database.admin.query("SELECT FROM pg_namespace WHERE nspname = 'refold_derived_g2'")).rowCount, 0, 'dropped')

    // Planted in the live tables: a wrong row, one too many, one that is missing.
    await database.admin.query("UPDATE refold_derived_g1.workflow_executions SET current_state = 'wrong'")
    await database.admin.query(`
      INSERT INTO refold_derived_g1.workflow_timers (tenant, execution_id, timer, partition, purpose, fire_at, status, started_at)
      SELECT tenant, execution_id, 7, partition, 'sleep', now(), 'open', now() FROM refold_derived_g1.workflow_executions`)
    await requests.open('derived', 'rebuild', 'test')
    await until('ready')
    const found = (await newest())?.comparison
    t.match(found, { differing: 2 })
    t.strictSame(
      found?.partitions.flatMap(({ shown }) => shown).map(({ table, kind }) => `${table} ${kind}`),
      ['workflow_executions changed', 'workflow_timers missing'],
    )
    await record(26)
    await requests.want('derived', 'promote')
    await until('done')
    const live = async () => (await database.admin.query('SELECT live_generation, previous_generation FROM refold.projections')).rows
    t.strictSame(await live(), [{ live_generation: 3, previous_generation: 1 }])
    const shown = async () =>
      (await database.admin.query('SELECT current_state, last_seq, data::text FROM refold.workflow_executions')).rows as object[]
    t.match(await shown(), [{ current_state: 's26', last_seq: '26' }], 'the view shows the new one')
    await record(27)
    t.match(await shown(), [{ current_state: 's27', last_seq: '27', data: /"k27":27/ }], 'the recorder writes the new one')
    t.equal(
      await createFollower({ store: createDerivedStore(database.engine, 3), remembered: 1 }).follow(),
      null,
      'nobody follows the live one',
    )
    t.equal(await createFollower({ store: createDerivedStore(database.engine, 1), remembered: 1 }).follow(), 0)
    const old = await database.admin.query('SELECT last_seq FROM refold_derived_g1.workflow_executions')
    t.strictSame(old.rows, [{ last_seq: '27' }], 'the old one is followed')
    const api = await database.api.connect()
    t.strictSame((await api.query('SELECT FROM refold.workflow_executions')).rowCount, 0, 'no tenant, no row')
    await api.query("SELECT set_config('refold.tenant', $1, false)", [event().tenant])
    t.strictSame((await api.query('SELECT FROM refold.workflow_executions')).rowCount, 1)
    api.release(true)

    await requests.open('derived', 'rollback', 'test')
    await until('done')
    t.strictSame(await live(), [{ live_generation: 1, previous_generation: 3 }])
    await record(28)
    t.match(await shown(), [{ last_seq: '28' }])
    t.strictSame(await requests.retire('derived', undefined), { generation: 3, outcome: 'dropped' })
    t.strictSame(await control.followed(), [])
    t.match(
      (await database.admin.query("SELECT * FROM refold.watermark('derived')")).rows.find((row) => row.partition === PARTITION),
      {
        next_offset: '28',
      },
    )
  })

  t.test('a promotion waits for no long reader, and no batch of the recorder goes into the old tables behind it', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const { requests, until, newest } = await controlOf(t, database)
    const recorder = recorderOn(database)
    await recorder.checkpoint(PARTITION)
    await recorder.batch(batchOf([recordOf(event({ event_id: id(1) }), 0)], 0))
    await requests.open('derived', 'rebuild', 'test')
    await until('ready')
    const reader = await database.admin.connect()
    await reader.query('BEGIN')
    await reader.query('SELECT count(*) FROM refold.workflow_executions')
    await requests.want('derived', 'promote')
    const writing = recorder.batch(batchOf([recordOf(event({ event_id: id(2) }), 1)], 1))
    await t.rejects(until('done'), /not done: promoting/)
    await writing
    t.equal((await newest())?.state, 'promoting')
    await reader.query('ROLLBACK')
    reader.release()
    await until('done')
    await recorder.batch(batchOf([recordOf(event({ event_id: id(3) }), 2)], 2))
    t.match((await database.admin.query('SELECT last_seq FROM refold.workflow_executions')).rows, [{ last_seq: '3' }])
  })

  t.test('tables of another fold are not compared; code that folds them no more cannot go back', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const { requests, until, newest, control } = await controlOf(t, database)
    await recorderOn(database).checkpoint(PARTITION)
    await database.admin.query('UPDATE refold.generations SET version = 0; UPDATE refold.projections SET version = 0')
    await control.sync()
    await control.sync()
    await until('done')
    t.match(await newest(), { kind: 'reset', reason: /fold version 1 was deployed/, comparison: { notCompared: /fold version 0/ } })
    await t.rejects(requests.open('derived', 'rollback', 'test'), { code: 'operation-impossible', detail: /another fold version/ })
    await t.rejects(requests.retire('derived', 2), { code: 'operation-impossible' })
    t.strictSame(await requests.retire('derived', undefined), { generation: 1, outcome: 'dropped' })
  })
})
