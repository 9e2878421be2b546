// A rolling deploy: processes of the old and of the new version of a projection work on the same operations, on a real Postgres.

import t from 'tap'
import { createOperations } from '../../consumers/operations.ts'
import { lockProjection } from '../../postgres/operation-rows.ts'
import { inTransaction } from '../../postgres/pool.ts'
import { createProjectionControl } from '../../postgres/projection-control.ts'
import { createProjectionRequests } from '../../postgres/projection-requests.ts'
import { defineProjection } from '../../projections/define.ts'
import { useDatabase } from '../support/database.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

const versioned = (version: number) =>
  defineProjection({
    name: 'cases',
    version,
    columns: { id: 'text' },
    key: ['id'],
    keys: (one) => [{ id: one.executionId }],
    initial: ({ id }) => ({ id }),
    evolve: (row) => row,
  })

t.test('an operation builds the newest version that was deployed, whichever process comes first', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { admin } = await useDatabase(t, databaseUrl)
  const said: unknown[] = []
  const process = async (version: number) => {
    const control = createProjectionControl(admin, [versioned(version)], 1)
    await control.sync(versioned(version))
    return createOperations(control.operations, (facts) => said.push(facts))
  }
  const newest = async () =>
    (
      await admin.query(`SELECT o.state, o.reason, g.version, ARRAY(SELECT l ->> 'line' FROM json_array_elements(o.log) l) AS lines
        FROM refold.operations o LEFT JOIN refold.generations g USING (projection, generation) ORDER BY requested_at DESC LIMIT 1`)
    ).rows[0] as unknown
  const [old, made] = [await process(1), await process(2)]
  const requests = createProjectionRequests(admin, async () => 'dropped')
  for (let i = 0; i < 3; i++) await old.advance()
  const waits =
    'waits for a process whose code has cases version 2; `refold projection abort cases` gives it up, and `refold projection withdraw cases` then says that this code was taken back'
  t.strictSame(await newest(), { state: 'requested', reason: 'version 2 was deployed', version: null, lines: [waits] })
  await made.advance()
  t.match(await newest(), { state: 'building', version: 2, lines: [waits, 'building generation 2'] })
  // Any process can give up what it cannot build.
  await requests.want('cases', 'abort', 'it was too early')
  await old.advance()
  const { lines } = (await newest()) as { lines: string[] }
  t.match(await newest(), { state: 'aborted' })
  t.ok(lines.includes('abort was asked for: it was too early'), lines.join('\n'))
  await requests.open('cases', 'rebuild', 'a person')
  await old.advance()
  t.match(await newest(), { state: 'requested', version: null })
  await made.advance()
  t.match(await newest(), { state: 'building', version: 2 })
  t.strictSame(said, [])
})

t.test('code that was taken back is waited for no longer, once a person says so', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { admin } = await useDatabase(t, databaseUrl)
  const process = async (version: number) => {
    const control = createProjectionControl(admin, [versioned(version)], 1)
    await control.sync(versioned(version))
    return createOperations(control.operations, () => undefined)
  }
  const newest = async () => {
    const { rows } = await admin.query<{ state: string; version: number | null }>(
      'SELECT o.state, g.version FROM refold.operations o LEFT JOIN refold.generations g USING (projection, generation) ORDER BY requested_at DESC LIMIT 1',
    )
    return rows[0]
  }
  const old = await process(1)
  const requests = createProjectionRequests(admin, async () => 'dropped')
  await t.rejects(requests.withdraw('cases'), { code: 'operation-impossible', detail: /is the newest: none/ })
  const made = await process(2)
  await t.rejects(requests.withdraw('cases'), { code: 'operation-open' })
  await requests.want('cases', 'abort')
  await old.advance()
  t.strictSame(await requests.withdraw('cases'), { version: 1, withdrawn: 2 })
  await requests.open('cases', 'rebuild', 'a person')
  await made.advance()
  t.match(await newest(), { state: 'requested', version: null }, 'a process that has it still leaves it alone')
  await old.advance()
  t.match(await newest(), { state: 'building', version: 1 })
  await requests.want('cases', 'abort')
  await old.advance()
  // Deployed again, it is the newest again.
  const again = await process(2)
  await again.advance()
  t.match(await newest(), { state: 'building', version: 2 })
})

t.test('code is not taken back under an operation that is opened at the same time, nor of the derived tables', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { admin } = await useDatabase(t, databaseUrl)
  const requests = createProjectionRequests(admin, async () => 'dropped')
  for (const version of [1, 2]) {
    const projection = versioned(version)
    await createProjectionControl(admin, [projection], 1).sync(projection)
  }
  await admin.query("UPDATE refold.operations SET state = 'aborted', ended_at = now()")
  let asked: Promise<unknown> = Promise.resolve()
  let over = false
  await inTransaction(admin, async (client) => {
    await lockProjection(client, 'cases')
    asked = requests
      .withdraw('cases')
      .catch((error: unknown) => error)
      .finally(() => (over = true))
    await until(
      async () => {
        const { rowCount } = await admin.query(
          `SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
           WHERE d.datname = current_database() AND locktype = 'advisory' AND NOT granted`,
        )
        return rowCount === 1 || over
      },
      { what: 'the withdrawal to wait' },
    )
    await client.query("INSERT INTO refold.operations (projection, kind, state, reason) VALUES ('cases', 'reset', 'requested', 'deployed')")
  })
  t.match(await asked, { code: 'operation-open' })
  t.match((await admin.query("SELECT version FROM refold.projections WHERE name = 'cases'")).rows, [{ version: 2 }])

  await t.rejects(requests.withdraw('none'), { code: 'not-found' })
  await admin.query("INSERT INTO refold.projections (name, version) VALUES ('derived', 2) ON CONFLICT (name) DO UPDATE SET version = 2")
  await t.rejects(requests.withdraw('derived'), { code: 'operation-impossible', detail: /derived is the recorder's: .*deploy/ })
})
