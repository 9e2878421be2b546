// `refold_reader`, the role of services that read projections in SQL: what it may do, and that this is all (docs/consuming.md).

import { randomBytes } from 'node:crypto'
import { Client } from 'pg'
import t from 'tap'
import { createProjectionControl } from '../../postgres/projection-control.ts'
import { defineProjection } from '../../projections/define.ts'
import { useDatabase } from '../support/database.ts'
import { PARTITIONS } from '../support/recording.ts'
import { useStack } from '../support/stack.ts'

const counts = defineProjection({
  name: 'counts',
  version: 1,
  columns: { state: 'text', n: 'bigint' },
  key: ['state'],
  keys: ({ toState }) => [{ state: toState }],
  initial: ({ state }) => ({ state, n: 0 }),
  evolve: (row) => ({ ...row, n: (row.n ?? 0) + 1 }),
  view: 'sum',
})
const lines = defineProjection({
  name: 'lines',
  version: 1,
  tables: { lines_seen: { columns: { line: 'text' }, key: ['line'] }, lines_late: { columns: { line: 'text' }, key: ['line'] } },
  handle: () => Promise.resolve(),
})
const DENIED = { code: '42501' }

t.test('a service that was granted refold_reader', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { admin, url } = await useDatabase(t, databaseUrl)
  const control = createProjectionControl(admin, [counts, lines], PARTITIONS)
  for (const one of [counts, lines]) await control.sync(one)
  await admin.query(
    `INSERT INTO refold_p_counts_g1.counts (partition, tenant, state, n) VALUES (0, 'a', 'paid', 2), (1, 'a', 'paid', 3), (1, 'b', 'sent', 1)`,
  )
  await admin.query(`INSERT INTO refold_p_lines_g1.lines_seen (partition, tenant, line) VALUES (0, 'a', 'x')`)
  await admin.query(`UPDATE refold.checkpoints SET next_offset = 40 + partition WHERE reader = 'counts@g1'`)
  await admin.query(`INSERT INTO refold.checkpoints (reader, partition, next_offset) VALUES ('recorder', 0, 77)`)

  // As the docs say: a role that logs in, and one GRANT.
  const service = `test_service_${randomBytes(4).toString('hex')}`
  await admin.query(`CREATE ROLE ${service} LOGIN PASSWORD 'secret'`)
  await admin.query(`GRANT refold_reader TO ${service}`)
  const address = new URL(url)
  ;[address.username, address.password] = [service, 'secret']
  const reader = new Client({ connectionString: address.href })
  await reader.connect()
  t.teardown(async () => {
    await reader.end()
    await admin.query(`DROP ROLE ${service}`)
  })
  const relations = async (which: string) =>
    (
      await admin.query<{ name: string; schema: string }>(
        `SELECT format('%I.%I', nspname, relname) AS name, nspname AS schema FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
         WHERE relkind IN ('r', 'p', 'v', 'm') AND ${which} ORDER BY 1`,
      )
    ).rows.map(({ name }) => name)

  t.test('reads every view, of every tenant', async (t) => {
    t.strictSame((await reader.query('SELECT tenant, state, n FROM projections.counts ORDER BY 1, 2')).rows, [
      { tenant: 'a', state: 'paid', n: '5' },
      { tenant: 'b', state: 'sent', n: '1' },
    ])
    t.equal((await reader.query('SELECT line FROM projections.lines_seen')).rowCount, 1)
    for (const view of await relations(`nspname = 'projections'`)) await t.resolves(reader.query(`SELECT * FROM ${view}`), view)
  })

  t.test('asks how far they are', async (t) => {
    const { rows } = await reader.query("SELECT * FROM refold.watermark('counts')")
    t.strictSame(
      rows,
      Array.from({ length: PARTITIONS }, (_, partition) => ({ partition, next_offset: String(40 + partition) })),
    )
    t.strictSame((await reader.query("SELECT * FROM refold.watermark('derived')")).rows, [{ partition: 0, next_offset: '77' }])
    t.strictSame((await reader.query("SELECT * FROM refold.watermark('nobody')")).rows, [], 'of none that there is: nothing')
  })

  t.test('reads no record, no state, nothing else', async (t) => {
    const others = await relations(`nspname LIKE 'refold%' AND nspname NOT LIKE 'refold\\_p\\_%'`)
    t.ok(others.includes('refold.workflow_events') && others.includes('refold_derived_g1.workflow_executions'), others.join(' '))
    for (const table of others) await t.rejects(reader.query(`SELECT FROM ${table} LIMIT 1`), DENIED, table)
    const { rows } = await admin.query<{ name: string }>(
      `SELECT nspname || '.' || proname AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
       WHERE nspname LIKE 'refold%' AND has_schema_privilege($1, n.oid, 'USAGE') AND has_function_privilege($1, p.oid, 'EXECUTE')`,
      [service],
    )
    t.strictSame(rows, [{ name: 'refold.watermark' }], 'the one function it may call')
  })

  t.test('writes nothing', async (t) => {
    const all = await relations(`(nspname = 'projections' OR nspname LIKE 'refold%')`)
    for (const table of all) {
      const { rows } = await admin.query<{ may: boolean }>(
        `SELECT has_table_privilege($1, $2, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') AS may`,
        [service, table],
      )
      t.notOk(rows[0]?.may, table)
    }
    await t.rejects(reader.query("INSERT INTO refold_p_counts_g1.counts (partition, tenant, state) VALUES (0, 'a', 'x')"), DENIED)
    await t.rejects(reader.query('UPDATE refold_p_counts_g1.counts SET n = 0'), DENIED)
    await t.rejects(reader.query('DELETE FROM projections.lines_seen'), DENIED, 'nor through a view')
    for (const schema of ['projections', 'refold', 'refold_p_counts_g1', 'public'])
      await t.rejects(reader.query(`CREATE TABLE ${schema}.mine (a int)`), DENIED, schema)
    for (const role of ['refold_engine', 'refold_api']) await t.rejects(reader.query(`SET ROLE ${role}`), DENIED, role)
  })
})
