// Database actions on a real server: the role they run as, what it needs, and what a transaction that is over lets through.

import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { ActionRequest } from '../../schemas/generated.ts'
import { createActionStore } from '../../postgres/action-store.ts'
import { createPgPool } from '../../postgres/pool.ts'
import type { ActionSql } from '../../workflow/action.ts'
import { useDatabase } from '../support/database.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

const EXECUTION = '0b8f1c7e-5d1e-4c3a-9a48-000000000001'

// Only what tells an attempt is looked at.
const attempt = (action: number, changes: object = {}) =>
  ({ tenant: "o'brien", execution_id: EXECUTION, action, attempt: 1, ...changes }) as ActionRequest

/** A store whose role logs in with what docs/examples/roles.sql gives it: no superuser, no way past row-level security. */
async function useStore(t: Test, server: string) {
  const { url, admin, engine } = await useDatabase(t, server)
  const login = `test_login_${randomBytes(4).toString('hex')}`
  await admin.query(`
    CREATE ROLE ${login} LOGIN PASSWORD 'secret';
    GRANT refold_engine, refold_api TO ${login};
    CREATE SCHEMA shop;
    CREATE TABLE shop.bookings (tenant text NOT NULL, action integer NOT NULL, UNIQUE (tenant, action));
    GRANT USAGE ON SCHEMA shop TO ${login};
    GRANT SELECT, INSERT ON shop.bookings TO ${login}`)
  const as = new URL(url)
  as.username = login
  as.password = 'secret'
  const actions = createPgPool(as.href, { max: 1, name: 'test-actions' })
  t.teardown(async () => {
    await actions.end()
    await admin.query(`DROP SCHEMA shop CASCADE; DROP OWNED BY ${login}; DROP ROLE ${login}`)
  })
  const booked = async () =>
    (await admin.query<{ action: number }>('SELECT action FROM shop.bookings ORDER BY 1')).rows.map((row) => row.action)
  const sleeping = async () =>
    (await admin.query("SELECT FROM pg_stat_activity WHERE usename = $1 AND state = 'active' AND query LIKE '%pg_sleep(60)%'", [login]))
      .rowCount === 1
  return { store: createActionStore(engine, actions, 'w1'), login, booked, sleeping }
}

const LIMITS = { isolation: 'read committed', timeout: 30_000 } as const
const SERIALIZABLE = { ...LIMITS, isolation: 'serializable' } as const

const BOOK = 'INSERT INTO shop.bookings (tenant, action) VALUES ($1, $2)'

t.test('they run as the role that logs in, and effect and outcome are one transaction', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { store, login, booked } = await useStore(t, databaseUrl)
  const book = async (sql: ActionSql) => {
    const [row] = await sql.query("SELECT current_user AS who, current_setting('transaction_isolation') AS isolation")
    await sql.query(BOOK, ["o'brien", 1])
    return JSON.stringify(row)
  }
  const first = await store.inTransaction(attempt(1), SERIALIZABLE, book)
  t.strictSame(first, { result: JSON.stringify({ who: login, isolation: 'serializable' }) })
  t.strictSame(await store.outcome(attempt(1)), first)
  // Run again: what is stored wins, and what the second run did is undone.
  const again = await store.inTransaction(attempt(1), LIMITS, async (sql) => {
    await sql.query(BOOK, ["o'brien", 2])
    return '"again"'
  })
  t.strictSame(again, first)
  await t.rejects(
    store.inTransaction(attempt(3), LIMITS, async (sql) => {
      await sql.query(BOOK, ["o'brien", 3])
      throw new Error('sold out')
    }),
    /sold out/,
  )
  t.strictSame(await booked(), [1])
  t.equal(await store.outcome(attempt(3)), undefined)
})

t.test('an attempt that was given up writes nothing more', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { store, booked } = await useStore(t, databaseUrl)
  let late: Promise<unknown> | undefined
  const given = Promise.withResolvers<void>()
  const work = async (sql: ActionSql) => {
    late = given.promise.then(() => sql.query(BOOK, ["o'brien", 4]))
    throw new Error('no outcome within 30000 ms')
  }
  await t.rejects(store.inTransaction(attempt(4), LIMITS, work), /no outcome/)
  given.resolve()
  await t.rejects(Promise.resolve(late), /has ended/)
  t.strictSame(await booked(), [])
})

t.test(
  'what runs on the server when its attempt is given up is ended there, and its connection is nobody else’s',
  { timeout: 25_000 },
  async (t) => {
    const { databaseUrl } = useStack(t, ['postgres'])
    if (databaseUrl === undefined) return
    const { store, booked, sleeping } = await useStore(t, databaseUrl)
    const pidOf = async (sql: ActionSql) => (await sql.query('SELECT pg_backend_pid() AS pid'))[0]?.['pid']
    const sleeps = Array.from({ length: 3 }, (_, n) => async (sql: ActionSql) => {
      const pid = await pidOf(sql)
      await sql.query(BOOK, ["o'brien", n])
      // Two at once: the second is sent when the first has ended.
      for (const _ of [1, 2]) sql.query('SELECT pg_sleep(60)').catch(() => undefined)
      await until(sleeping, { what: 'the server to sleep' })
      throw Object.assign(new Error('no outcome within 30000 ms'), { pid })
    })
    for (const [n, work] of sleeps.entries()) {
      // There is one connection: whoever comes next waits for it.
      const next = attempt(10 + n)
      const given = store.inTransaction(attempt(5 + n), LIMITS, work)
      const after = store.inTransaction(next, LIMITS, async (sql) => {
        t.notOk(await sleeping(), 'nothing sleeps any more')
        await sql.query('SELECT pg_sleep(0.05)')
        return String(await pidOf(sql))
      })
      const { pid } = (await given.then(
        () => ({ pid: undefined }),
        (error: unknown) => error,
      )) as { pid: unknown }
      t.type(pid, 'number', 'it rejects with its own error')
      t.not(((await after) as { result: string }).result, String(pid), 'another connection')
    }
    t.strictSame(await booked(), [])
  },
)

t.test('a statement whose worker does not end it is ended by the server, a second after the timeout', { timeout: 25_000 }, async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { store } = await useStore(t, databaseUrl)
  const limits = { isolation: 'repeatable read', timeout: 100 } as const
  await t.rejects(
    store.inTransaction(attempt(5), limits, async (sql) => JSON.stringify(await sql.query('SELECT pg_sleep(60)'))),
    { code: '57014' },
  )
  const settings =
    "SELECT current_setting('statement_timeout') AS statement, current_setting('idle_in_transaction_session_timeout') AS idle"
  const set = await store.inTransaction(attempt(6), limits, async (sql) => JSON.stringify((await sql.query(settings))[0]))
  t.strictSame(set, { result: '{"statement":"1100ms","idle":"1100ms"}' })
})

t.test('where more run at once than there are connections, the others wait outside the pool', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { engine } = await useDatabase(t, databaseUrl)
  const actions = createPgPool(databaseUrl, { max: 2, name: 'test-actions' })
  t.teardown(() => actions.end())
  const store = createActionStore(engine, actions, 'w1')
  const waits: number[] = []
  let running = 0
  const runs: number[] = []
  const all = Array.from({ length: 6 }, (_, n) =>
    store
      .inTransaction(attempt(n + 1), LIMITS, async () => {
        runs.push(++running)
        waits.push(actions.waitingCount)
        await pause(20)
        running--
        // What fails gives its turn on.
        if (n === 1) throw new Error('its own')
        return '1'
      })
      .catch((error: unknown) => String(error)),
  )
  waits.push(actions.waitingCount)
  await Promise.all(all)
  t.equal(runs.length, 6)
  t.equal(Math.max(...runs), 2)
  t.equal(Math.max(...waits), 0, 'the pool gives up after a while')
})
