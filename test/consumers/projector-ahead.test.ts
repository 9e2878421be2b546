// J9 and R9 on a real Postgres: rows written while the recorder's transaction is under way.

import type { PoolClient } from 'pg'
import t, { type Test } from 'tap'
import type { FoldsFirst } from '../../consumers/projection-port.ts'
import type { Span } from '../../consumers/recorder.ts'
import { createProjectionStore } from '../../postgres/projection-store.ts'
import { defineProjection } from '../../projections/define.ts'
import { createRecordedNews } from '../../roles/recorded.ts'
import { type TestDatabase, useDatabase } from '../support/database.ts'
import { event } from '../support/events.ts'
import { idOf, projecting, record, seen } from '../support/projecting.ts'
import { batchOf, PARTITION, recorderOn, recordOf } from '../support/recording.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'
import { createRecordedEvents } from '../../consumers/recorded-events.ts'

const LOCK = 2 ** 41
const wrongKey = new TextEncoder().encode('11111111-1111-4111-8111-111111111111')

/** A recorder's transaction, step by step: with its lock, its checkpoint is moved, and nothing is committed. */
async function recording(t: Test, { admin }: TestDatabase, next: number, lock = LOCK): Promise<PoolClient> {
  const client = await admin.connect()
  t.teardown(() => client.release(true))
  await client.query('BEGIN')
  await client.query('SELECT pg_advisory_xact_lock($1)', [lock])
  await client.query("UPDATE refold.checkpoints SET next_offset = $1 WHERE reader = 'recorder' AND partition = $2", [next, PARTITION])
  return client
}

/** Statements that wait for a transaction's advisory lock. */
const waiting = async ({ admin }: TestDatabase) =>
  (await admin.query<{ n: number }>("SELECT count(*)::int AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")).rows[0]?.n

type Setup = Awaited<ReturnType<typeof projecting>> & {
  database: TestDatabase
  news: ReturnType<typeof createRecordedNews>
  moves: Span[][]
}

/** `moves`: those of statements that wait for a lock. */
async function setUp(t: Test, databaseUrl: string, code = seen): Promise<Setup> {
  const database = await useDatabase(t, databaseUrl)
  const news = createRecordedNews()
  news.hear(`${PARTITION}:0`)
  const moves: Span[][] = []
  const store = createProjectionStore(database.engine, code, 1)
  const write: FoldsFirst['write'] = async (all, changes) => {
    if (all.some(({ lock }) => lock !== undefined)) moves.push(all.map(({ partition, from, next }) => ({ partition, from, next })))
    return store.foldsFirst?.write(all, changes) ?? []
  }
  const foldsFirst = { ...store.foldsFirst, write } as FoldsFirst
  let asked = 0
  const windows: typeof store.windows = (spans) => (asked++, store.windows(spans))
  const made = await projecting(database, () => undefined, code, { news, store: { ...store, windows, foldsFirst } })
  return { ...made, asked: () => asked, database, news, moves }
}

const storing = ({ news }: Setup, from: number, next: number, lock = LOCK) => news.storing([{ partition: PARTITION, from, next }], lock)

t.test('J9: only the very batch that is being stored is under way', async (t) => {
  const news = createRecordedNews()
  const place = { partition: 1, from: 5, next: 7 }
  news.storing([place], 9)
  t.equal(news.lock?.(place), 9)
  for (const other of [{ partition: 2 }, { from: 4 }, { next: 8 }, { next: 6 }]) t.equal(news.lock?.({ ...place, ...other }), undefined)
  news.hear('1:6')
  t.equal(news.lock?.(place), 9)
  news.hear('1:7')
  t.equal(news.lock?.(place), undefined, 'until it is recorded')
})

t.test('a projector of the recorder’s process', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return

  t.test('J9: writes what is being recorded, and commits it when that is committed', async (t) => {
    const all = await setUp(t, databaseUrl)
    const { projector, database, names } = all
    const batch = batchOf([record(0, 'a'), record(1, 'b')], 0)
    const recorder = await recording(t, database, 2)
    const taken = projector.batch(batch)
    storing(all, 0, 2)
    await until(async () => (await waiting(database)) === 1, { what: 'its statement to wait for the recorder’s transaction' })
    t.equal(await names(), undefined, 'nothing can be seen before')
    await recorder.query('COMMIT')
    t.equal(await taken, 2)
    t.equal(await names(), 'a b ')
    t.strictSame(all.moves, [[{ partition: PARTITION, from: 0, next: 2 }]])
  })

  t.test('J9: one that was told of before it has the batch, and one that is over by then', async (t) => {
    const all = await setUp(t, databaseUrl)
    const recorder = await recording(t, all.database, 1)
    storing(all, 0, 1)
    const taken = all.projector.batch(batchOf([record(0, 'a')], 0))
    await until(async () => (await waiting(all.database)) === 1, { what: 'its statement to wait' })
    await recorder.query('COMMIT')
    t.equal(await taken, 1)
    // Committed, and not heard of yet.
    const next = await recording(t, all.database, 2)
    storing(all, 1, 2)
    await next.query('COMMIT')
    t.equal(await all.projector.batch(batchOf([record(1, 'b')], 1)), 2)
    t.equal(await all.names(), 'a b ')
    t.equal(all.moves.length, 2)
  })

  t.test('J9: where the recorder’s transaction fails nothing is written, and it is stored once it is recorded', async (t) => {
    const all = await setUp(t, databaseUrl)
    const { projector, database, names, news } = all
    const batch = batchOf([record(0, 'a'), record(1, 'b')], 0)
    const recorder = await recording(t, database, 2)
    const taken = projector.batch(batch)
    storing(all, 0, 2)
    await until(async () => (await waiting(database)) === 1, { what: 'its statement to wait' })
    await recorder.query('ROLLBACK')
    await until(() => all.asked() > 0, { what: 'it to ask, as for any other batch' })
    t.equal(await names(), undefined)
    await all.recorder.batch(batch)
    news.hear(`${PARTITION}:2`)
    t.equal(await taken, 2)
    t.equal(await names(), 'a b ')
    // It is not tried again at once.
    storing(all, 2, 3)
    const more = batchOf([record(2, 'c')], 2)
    const later = projector.batch(more)
    await all.recorder.batch(more)
    news.hear(`${PARTITION}:3`)
    t.equal(await later, 3)
    t.equal(await names(), 'a b c ')
    t.equal(all.moves.length, 1)
  })

  t.test('J9: nothing is committed of what the recorder refused, whatever was announced', async (t) => {
    const all = await setUp(t, databaseUrl)
    const { projector, names } = all
    const batch = batchOf([record(0, 'a'), record(1, 'wrong', { key: wrongKey }), record(2, 'b')], 0)
    await all.recorder.batch(batch)
    storing(all, 0, 3)
    t.equal(await projector.batch(batch), 3)
    t.equal(await names(), 'a b ')
    t.equal(all.moves.length, 1, 'it was tried')
    t.ok(all.asked() > 0, 'the verdicts were asked for')
  })

  t.test('J9: a transaction that has not begun yet is waited for as well, and waits for nobody', async (t) => {
    const all = await setUp(t, databaseUrl)
    const { projector, database, names } = all
    const batch = batchOf([record(0, 'a')], 0)
    const recorder = recorderOn(database, undefined, 0, undefined, { storing: (spans, lock) => all.news.storing(spans, lock) })
    await recorder.checkpoint(PARTITION)
    // A transaction, after which its batches are one statement.
    t.equal(await recorder.batch({ ...batch, records: [], next: 0 }), 0)
    // The recorder's statement stands before its first step.
    const blocking = await database.admin.connect()
    t.teardown(() => blocking.release(true))
    await blocking.query('BEGIN; LOCK TABLE refold.workflow_events IN SHARE MODE')
    const recorded = recorder.batch(batch)
    const taken = projector.batch(batch)
    await until(() => all.moves.length === 1, { what: 'the projector to write' })
    await until(
      async () => {
        const { rows } = await database.admin.query(
          "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()",
        )
        return rows.length === 1 || all.asked() > 0
      },
      { what: 'the projector to look again, or give up' },
    )
    await blocking.query('COMMIT')
    t.equal(await recorded, 1)
    all.news.hear(`${PARTITION}:1`)
    t.equal(await taken, 1)
    t.equal(await names(), 'a ')
  })

  t.test('R9: the recorder’s own transaction is what is waited for', async (t) => {
    const all = await setUp(t, databaseUrl)
    const { projector, database, names } = all
    const recorder = recorderOn(database, undefined, 0, undefined, { storing: (spans, lock) => all.news.storing(spans, lock) })
    await recorder.checkpoint(PARTITION)
    await recorder.batch({ ...batchOf([], 0), next: 0 })
    const blocking = await database.admin.connect()
    t.teardown(() => blocking.release(true))
    await blocking.query('BEGIN')
    await blocking.query("SELECT FROM refold.checkpoints WHERE reader = 'recorder' FOR UPDATE")
    const batch = batchOf([record(0, 'a')], 0)
    const recorded = recorder.batch(batch)
    const taken = projector.batch(batch)
    await until(async () => (await waiting(database)) === 1, { what: 'the projector to wait for it', every: 5 })
    await blocking.query('COMMIT')
    t.equal(await recorded, 1)
    all.news.hear(`${PARTITION}:1`)
    t.equal(await taken, 1)
    t.equal(await names(), 'a ')
  })

  t.test('J9: it waits for a slow recorder no longer than a tenth of a second with its rows locked', async (t) => {
    const all = await setUp(t, databaseUrl)
    const { projector, database, names } = all
    const batch = batchOf([record(0, 'a')], 0)
    const recorder = await recording(t, database, 1)
    const taken = projector.batch(batch)
    storing(all, 0, 1)
    await until(async () => (await waiting(database)) === 1, { what: 'its statement to wait' })
    await until(() => all.asked() > 0, { what: 'it to give up, and to ask' })
    t.equal(await waiting(database), 0)
    // Its rows are free.
    await database.admin.query("SELECT FROM refold.checkpoints WHERE reader = 'seen@g1' FOR UPDATE NOWAIT")
    t.equal(await names(), undefined)
    await recorder.query('COMMIT')
    all.news.hear(`${PARTITION}:1`)
    t.equal(await taken, 1)
    t.equal(await names(), 'a ')
  })

  t.test('J9: a hold is not passed', async (t) => {
    const all = await setUp(t, databaseUrl)
    const { projector, database, names } = all
    const batch = batchOf([record(0, 'a'), record(1, 'b')], 0)
    await database.admin.query(
      "UPDATE refold.checkpoints SET stop_at = 1, stop_until = now() + interval '1 hour' WHERE reader = 'seen@g1' AND partition = $1",
      [PARTITION],
    )
    await all.recorder.batch(batch)
    storing(all, 0, 2)
    const taken = projector.batch(batch)
    await until(async () => (await names()) === 'a ', { what: 'what is below the hold' })
    t.equal(all.moves.length, 1, 'it was tried')
    await database.admin.query("UPDATE refold.checkpoints SET stop_at = NULL WHERE reader = 'seen@g1'")
    t.equal(await taken, 2)
    t.equal(await names(), 'a b ')
  })

  t.test('J9: a fold that throws at it parks behind the recorder, as ever', async (t) => {
    const all = await setUp(t, databaseUrl)
    const batch = batchOf([record(0, 'a'), record(1, 'thrown')], 0)
    storing(all, 0, 2)
    const taken = all.projector.batch(batch)
    await until(() => all.asked() > 0, { what: 'it to ask' })
    const { rows: none } = await all.database.admin.query('SELECT FROM refold.incidents')
    t.equal(none.length, 0, 'nobody knows yet whether the event counts')
    await all.recorder.batch(batch)
    all.news.hear(`${PARTITION}:2`)
    await t.rejects(taken, { code: 'projection-parked' })
    t.equal(await all.names(), 'a ')
  })

  t.test('J9: nor does one whose row is refused', async (t) => {
    const typed = defineProjection({
      name: 'seen',
      version: 1,
      columns: { id: 'uuid', names: 'text' },
      key: ['id'],
      keys: (one) => [{ id: one.payloadText ?? one.executionId }],
      initial: ({ id }) => ({ id, names: '' }),
      evolve: (row, one) => ({ ...row, names: `${row.names}${one.name} ` }),
    })
    const all = await setUp(t, databaseUrl, typed)
    const bad = recordOf(event({ event_id: idOf(0), event_name: 'b', payload: '"no id"' }), 0, { key: wrongKey })
    const batch = batchOf([bad], 0)
    storing(all, 0, 1)
    const taken = all.projector.batch(batch)
    await until(() => all.asked() > 0, { what: 'it to ask' })
    await all.recorder.batch(batch)
    all.news.hear(`${PARTITION}:1`)
    t.equal(await taken, 1, 'the row was of an event that the recorder refused')
    t.equal(await all.names(), undefined)
    const { rows } = await all.database.admin.query("SELECT FROM refold.incidents WHERE kind = 'projection-parked'")
    t.equal(rows.length, 0)
  })

  t.test('J9: one that waits in vain does not hold up those that wait for nobody', async (t) => {
    const all = await setUp(t, databaseUrl)
    const store = createProjectionStore(all.database.engine, seen, 1)
    const other = (PARTITION + 1) % 12
    await all.database.admin.query(
      "INSERT INTO refold.checkpoints (reader, partition, next_offset) VALUES ('seen@g1', $1, 0) ON CONFLICT DO NOTHING",
      [other],
    )
    const moves = [
      { partition: PARTITION, from: 0, next: 1, assumed: true, lock: LOCK },
      { partition: other, from: 0, next: 1 },
    ]
    const changes = moves.map(({ partition }) => ({
      partition,
      tenant: 't',
      key: { id: `${partition}` },
      row: { id: `${partition}`, names: 'x' },
      offset: 0,
    }))
    t.strictSame(await store.foldsFirst?.write(moves, changes), ['held', 'stored'])
    const { rows } = await all.database.admin.query('SELECT id FROM projections.seen')
    t.strictSame(rows, [{ id: `${other}` }])
  })

  t.test('J9: one that is woken by what is of no use to it asks nothing before the recorder has passed', async (t) => {
    const all = await setUp(t, databaseUrl)
    const batch = batchOf([record(0, 'a'), record(1, 'b')], 0)
    const taken = all.projector.batch(batch)
    // Cut otherwise.
    storing(all, 0, 1)
    await all.recorder.batch(batch)
    all.news.hear(`${PARTITION}:2`)
    t.equal(await taken, 2)
    t.equal(await all.names(), 'a b ')
    t.equal(all.asked(), 0)
    t.strictSame(all.moves, [])
  })

  t.test('J9: a projection that uses the audit has it, and waits for it', async (t) => {
    const numbered = defineProjection({
      name: 'seen',
      version: 1,
      uses: ['audit'],
      columns: { id: 'text', names: 'text' },
      key: ['id'],
      keys: (one) => [{ id: one.executionId }],
      initial: ({ id }) => ({ id, names: '' }),
      evolve: (row, one) => ({ ...row, names: `${row.names}${one.audit.seq} ` }),
    })
    const all = await setUp(t, databaseUrl, numbered)
    const batch = batchOf([record(0, 'a'), record(1, 'b')], 0)
    storing(all, 0, 2)
    const taken = all.projector.batch(batch)
    await all.recorder.batch(batch)
    all.news.hear(`${PARTITION}:2`)
    t.equal(await taken, 2)
    t.equal(await all.names(), '1 2 ')
    t.strictSame(all.moves, [])
  })

  t.test('R9: a recorder announces what it is about to store, unless it knows that some of it is refused', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const told: { spans: readonly Span[]; lock: number; recorded: number }[] = []
    const events = createRecordedEvents()
    let recorded = 0
    const recorder = recorderOn(database, undefined, 100, undefined, {
      storing: (spans, lock) => void told.push({ spans, lock, recorded }),
      recorded: (...batch) => (recorded++, events.add(...batch)),
    })
    await recorder.checkpoint(PARTITION)
    const at = (offset: number, name: string) => recordOf(event({ event_id: idOf(offset), event_name: name }), offset)
    await recorder.batch(batchOf([at(0, 'a')], 0))
    t.strictSame(told, [], 'the first batch is a transaction, in which it is looked up')
    await recorder.batch(batchOf([at(1, 'b')], 1))
    t.strictSame(told[0]?.spans, [{ partition: PARTITION, from: 1, next: 2 }])
    t.equal(told[0]?.recorded, 1, 'before it is committed')
    const again = { ...at(1, 'b'), offset: 2 }
    await recorder.batch(batchOf([again], 2))
    const { rows } = await database.admin.query('SELECT verdict FROM refold.event_verdicts')
    t.strictSame(rows, [{ verdict: 'duplicate' }])
    t.equal(told.length, 1, 'not what is refused')
    await recorder.batch(batchOf([at(3, 'c')], 3))
    t.equal(told.length, 2)
    t.not(told[1]?.lock, told[0]?.lock, 'a lock of its own')
  })

  t.test('recorder and projector side by side: the same rows, and never one question', async (t) => {
    const all = await setUp(t, databaseUrl)
    const { projector, database, names, news } = all
    const recorder = recorderOn(database, undefined, 100, undefined, {
      storing: (spans, lock) => news.storing(spans, lock),
      recorded: (partition, _from, next) => news.hear(`${partition}:${next}`),
    })
    await recorder.checkpoint(PARTITION)
    const expected: string[] = []
    for (let from = 0; from < 60;) {
      const next = from + 1 + (from % 3)
      const records = Array.from({ length: next - from }, (_, i) => record(from + i, `n${from + i}`))
      for (const [i] of records.entries()) expected.push(`n${from + i} `)
      t.strictSame(await Promise.all([recorder.batch(batchOf(records, from)), projector.batch(batchOf(records, from))]), [next, next])
      t.equal(await names(), expected.join(''))
      from = next
    }
    t.equal(all.asked(), 0)
    t.ok(all.moves.length > 10, `${all.moves.length} were written while they were recorded`)
  })
})
