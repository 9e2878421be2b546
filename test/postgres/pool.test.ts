import t from 'tap'
import { createPgPool, inTransaction } from '../../postgres/pool.ts'
import { createReadPool } from '../../postgres/reads/pool.ts'
import { useDatabase } from '../support/database.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

t.test('connections', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { url, admin } = await useDatabase(t, databaseUrl)

  /** Ends a connection, and resolves once its client has heard of it. */
  async function endBackend(pid: unknown, ended: Promise<unknown>): Promise<void> {
    await admin.query('SELECT pg_terminate_backend($1)', [pid])
    await ended
  }

  t.test('one that ends between two queries of a transaction fails that transaction, not the process', async (t) => {
    const pool = createPgPool(url, { max: 1, name: 'test-pool' })
    t.teardown(() => pool.end())
    const cut = inTransaction(pool, async (client) => {
      const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
      await endBackend(rows[0]?.pid, new Promise((resolve) => client.once('end', resolve)))
      await client.query('SELECT 1')
    })
    await t.rejects(cut, /connection/i)
    t.equal(await inTransaction(pool, async (client) => (await client.query('SELECT 1')).rowCount), 1, 'the next has a new one')
  })

  t.test('reads: all of a transaction are of its tenant, and one that fails leaves nothing behind', async (t) => {
    const reads = createReadPool(url, { max: 1, name: 'test-reads-pool' })
    t.teardown(() => reads.close())
    const settings = `SELECT current_setting('refold.tenant', true) AS tenant, current_setting('refold.operator', true) AS operator, current_user AS role`
    const asked = (tenant: string, operator = false) => reads.read(tenant, async ({ first }) => first[0], { first: settings, operator })
    t.match(await asked("o'tenant \\ 1", true), { tenant: "o'tenant \\ 1", operator: 'on', role: 'refold_api' })
    t.match(await asked('b'), { tenant: 'b', operator: /^$/, role: 'refold_api' }, 'an operator ends with its transaction')
    await t.rejects(
      reads.read('c', async () => Promise.reject(new RangeError('of the caller'))),
      { name: 'RangeError' },
    )
    await t.rejects(
      reads.read('c', async () => undefined, { first: 'SELECT 1 / 0' }),
      /division by zero/,
    )
    t.match(await asked('d'), { tenant: 'd', operator: /^$/ })
    await t.rejects(
      reads.read('d', async () => undefined, { first: 'CREATE TABLE refold.x ()' }),
      /read-only transaction|permission denied/,
    )
  })

  t.test('reads: a connection that ended is told as the database being away, and the next read has another', async (t) => {
    const reads = createReadPool(url, { max: 1, name: 'test-reads-cut' })
    t.teardown(() => reads.close())
    const pidOf = ({ first }: { first: readonly Readonly<Record<string, unknown>>[] }) => first[0]?.['pid']
    const first = 'SELECT pg_backend_pid() AS pid'
    const read = reads.read('a', async (transaction) => endBackend(pidOf(transaction), Promise.resolve()).then(() => transaction.first), {
      first,
    })
    await read.catch((error: unknown) => t.match(error, { code: 'database-unavailable' }))
    t.ok(await until(() => reads.read('a', async (transaction) => pidOf(transaction), { first }).catch(() => undefined)))
  })
})
