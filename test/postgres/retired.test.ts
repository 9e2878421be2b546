// Generations that are given up while somebody reads their tables, on a real Postgres: nothing else waits for that reader.

import t, { type Test } from 'tap'
import { createOperations } from '../../consumers/operations.ts'
import { createProjectionControl } from '../../postgres/projection-control.ts'
import { createProjectionRequests } from '../../postgres/projection-requests.ts'
import { defineProjection } from '../../projections/define.ts'
import { type TestDatabase, useDatabase } from '../support/database.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

const named = (name: string) =>
  defineProjection({
    name,
    version: 1,
    columns: { id: 'text' },
    key: ['id'],
    keys: (one) => [{ id: one.executionId }],
    initial: ({ id }) => ({ id }),
    evolve: (row) => row,
  })

async function world(t: Test, databaseUrl: string) {
  const database = await useDatabase(t, databaseUrl)
  const projections = ['first', 'second'].map(named)
  const control = createProjectionControl(database.admin, projections, 1)
  for (const projection of projections) await control.sync(projection)
  const said: string[] = []
  const operations = createOperations(control.operations, (facts, line) => said.push(`${line} ${JSON.stringify(facts)}`))
  const requests = createProjectionRequests(database.admin, control.dropGeneration)
  const operation = async (id: string) =>
    (
      await database.admin.query<{ state: string; lines: string[] }>(
        `SELECT state, ARRAY(SELECT l ->> 'line' FROM json_array_elements(log) l) AS lines FROM refold.operations WHERE id = $1`,
        [id],
      )
    ).rows[0]
  const exists = async (schema: string) =>
    (await database.admin.query('SELECT FROM pg_namespace WHERE nspname = $1', [schema])).rowCount === 1
  return { database, operations, requests, operation, exists, said }
}

/** Reads a table and keeps the transaction open, until it is told to end. */
async function reading(t: Test, { admin }: TestDatabase, table: string): Promise<() => Promise<void>> {
  const client = await admin.connect()
  await client.query(`BEGIN; SELECT * FROM ${table}`)
  let isOpen = true
  const end = async () => {
    if (!isOpen) return
    isOpen = false
    await client.query('ROLLBACK')
    client.release()
  }
  t.teardown(end)
  return end
}

t.test('a generation whose tables somebody reads', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return

  t.test('is given up at once, its tables go when the reader has, and other projections go on meanwhile', async (t) => {
    const { database, operations, requests, operation, exists, said } = await world(t, databaseUrl)
    const aborted = await requests.open('first', 'rebuild', 'a test')
    await operations.advance()
    const end = await reading(t, database, 'refold_p_first_g2.first')
    await requests.want('first', 'abort')
    const other = await requests.open('second', 'rebuild', 'a test')
    const advancing = operations.advance()
    try {
      await until(async () => (await operation(other))?.state === 'building')
      await until(async () => (await operation(aborted))?.state === 'aborted')
    } catch (error) {
      await end()
      throw error
    } finally {
      await advancing
    }
    t.match((await operation(aborted))?.lines.at(-1), /aborted: .*generation 2.*are dropped once nobody reads them/)
    await operations.advance()
    t.ok(await exists('refold_p_first_g2'))
    // A new one is built beside what is left of it.
    const again = await requests.open('first', 'rebuild', 'a test')
    await operations.advance()
    t.match(await operation(again), { state: 'building', lines: ['building generation 3'] })
    await end()
    await operations.advance()
    t.notOk(await exists('refold_p_first_g2'))
    t.ok(await exists('refold_p_first_g3'))
    t.match(said, [/refold_p_first_g2/])
  })

  t.test('is retired with an answer at once; whoever works on operations drops its tables later', async (t) => {
    const { database, operations, requests, exists } = await world(t, databaseUrl)
    await requests.open('first', 'rebuild', 'a test')
    await operations.advance()
    await database.admin.query(`UPDATE refold.operations SET state = 'failed', ended_at = now()`)
    const end = await reading(t, database, 'refold_p_first_g2.first')
    const retiring = requests.retire('first', 2)
    const gone = async () => (await database.admin.query("SELECT FROM refold.generations WHERE state = 'retired'")).rowCount === 1
    try {
      await until(gone)
    } catch (error) {
      await end()
      throw error
    }
    t.strictSame(await retiring, { generation: 2, outcome: 'busy' })
    t.ok(await exists('refold_p_first_g2'))
    await t.rejects(requests.retire('first', 2), { code: 'not-found' })
    await end()
    await operations.advance()
    t.notOk(await exists('refold_p_first_g2'))
  })
})
