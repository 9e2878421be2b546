// The projector on a real Postgres, its batches made by hand: what it assumes of the recorder, and what it asks for.

import { hash } from 'node:crypto'
import t from 'tap'
import type { LogBatch } from '../../kafka/log.ts'
import { createProjectionControl } from '../../postgres/projection-control.ts'
import { createProjectionStore } from '../../postgres/projection-store.ts'
import { defineProjection } from '../../projections/define.ts'
import type { ProjectionEvent } from '../../projections/event.ts'
import { type TestDatabase, useDatabase } from '../support/database.ts'
import { idOf, projecting, record, seen } from '../support/projecting.ts'
import { createSharedPasses } from '../../consumers/shared-pass.ts'
import { eventReader } from '../../consumers/reader-schemas.ts'
import { event } from '../support/events.ts'
import { batchOf, codec, PARTITION, PARTITIONS, recordOf } from '../support/recording.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

const incidentKinds = async ({ admin }: TestDatabase) =>
  (await admin.query<{ kind: string }>('SELECT DISTINCT kind FROM refold.incidents')).rows.map(({ kind }) => kind)

t.test('what the projector assumes of the recorder', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return

  t.test('what it is said to have passed is stored without a question', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const { projector, recorder, asked, names } = await projecting(database, () => 3)
    const batch = batchOf([record(0, 'a'), record(1, 'b'), record(2, 'c')], 0)
    await recorder.batch(batch)
    t.equal(await projector.batch(batch), 3)
    t.equal(await names(), 'a b c ')
    t.equal(asked(), 0)
  })

  t.test('what it refused is left out, and is nobody’s fault', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const { projector, recorder, asked, names } = await projecting(database, () => 4)
    const wrong = new TextEncoder().encode('11111111-1111-4111-8111-111111111111')
    const batch = batchOf([record(0, 'a'), record(1, 'thrown', { key: wrong }), record(2, 'b'), record(3, 'plain', { key: wrong })], 0)
    await recorder.batch(batch)
    const { rows } = await database.admin.query('SELECT log_offset FROM refold.event_verdicts ORDER BY 1')
    t.strictSame(rows, [{ log_offset: '1' }, { log_offset: '3' }])
    t.equal(await projector.batch(batch), 4)
    t.equal(await names(), 'a b ')
    t.ok(asked() > 0, 'the verdicts were asked for')
    const incidents = await database.admin.query(`SELECT kind FROM refold.incidents WHERE kind = 'projection-parked'`)
    t.strictSame(incidents.rows, [])
    // Without one that throws, too: only the statement that moves the checkpoint sees it.
    const more = batchOf([record(4, 'c'), record(5, 'plain', { key: wrong })], 4)
    await recorder.batch(more)
    const behind = await projecting(database, () => 6)
    t.equal(await behind.projector.batch(more), 6)
    t.equal(await names(), 'a b c ')
  })

  t.test('what it refused cannot park a projection whose rows it does not fit', async (t) => {
    for (const from of [0, 1]) {
      const database = await useDatabase(t, databaseUrl)
      const typed = defineProjection({
        name: 'typed',
        version: 1,
        columns: { id: 'uuid', events: 'bigint' },
        key: ['id'],
        keys: (one) => [{ id: one.executionId }],
        initial: ({ id }) => ({ id, events: 0 }),
        evolve: (row) => ({ ...row, events: (row.events ?? 0) + 1 }),
      })
      let told = 0
      const { projector, recorder } = await projecting(database, () => told, typed)
      const records = [record(0, 'a'), recordOf(event({ event_id: idOf(1), execution_id: 'no id' }), 1), record(2, 'b')]
      const take = async (batch: LogBatch) => {
        await recorder.batch(batch)
        told = batch.next
        return projector.batch(batch)
      }
      // The rows of a partition that is read from its beginning are all in memory; others are read first.
      if (from > 0) await take(batchOf(records.slice(0, from), 0))
      if (from > 0) await projector.checkpoint(PARTITION)
      t.equal(await take(batchOf(records.slice(from), from)), 3)
      const { rows } = await database.admin.query('SELECT events::int FROM projections.typed')
      t.strictSame(rows, [{ events: 2 }])
      const { rows: verdicts } = await database.admin.query('SELECT log_offset, reason FROM refold.event_verdicts')
      t.strictSame(verdicts, [{ log_offset: '1', reason: 'bad-id' }])
      t.notOk((await incidentKinds(database)).includes('projection-parked'))
    }
  })

  t.test('bytes that are only assumed to be accepted are hostile still', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const doubted: [number, boolean | undefined][] = []
    const read = eventReader(codec)
    const passes = createSharedPasses((one, isDoubtful) => (doubted.push([one.offset, isDoubtful]), read(one, isDoubtful)))
    let told: number | undefined = 2
    const { projector, recorder, names } = await projecting(database, () => told, seen, { passes })
    const bad = record(1, 'b', { value: codec.encode(event({ event_id: idOf(1), event_name: 'b' })).subarray(0, 40) })
    const batch = batchOf([record(0, 'a'), bad], 0)
    await recorder.batch(batch)
    t.equal(await projector.batch(batch), 2)
    t.strictSame(doubted.slice(0, 2), [
      [0, true],
      [1, true],
    ])
    t.strictSame(doubted.slice(2), [[0, false]], 'what is known to be accepted is only read')
    told = undefined
    const more = batchOf([record(2, 'c')], 2)
    await recorder.batch(more)
    t.equal(await projector.batch(more), 3)
    t.strictSame(doubted.at(-1), [2, false])
    t.equal(await names(), 'a c ')
  })

  t.test('it is not believed: nothing is stored before it was recorded', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const { projector, recorder, names } = await projecting(database, () => 100)
    const first = batchOf([record(0, 'a')], 0)
    await recorder.batch(first)
    const storing = projector.batch(batchOf([record(0, 'a'), record(1, 'b')], 0))
    // It stores what there is, then waits.
    while ((await names()) === undefined) await new Promise((resolve) => setImmediate(resolve))
    t.equal(await names(), 'a ')
    await recorder.batch(batchOf([record(1, 'b')], 1))
    t.equal(await storing, 2)
    t.equal(await names(), 'a b ')
  })

  t.test('a hold in the middle of what it passed is kept', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const { projector, recorder, names } = await projecting(database, () => 3)
    const batch = batchOf([record(0, 'a'), record(1, 'b'), record(2, 'c')], 0)
    await recorder.batch(batch)
    const hold = (at: number | null) =>
      database.admin.query(
        `UPDATE refold.checkpoints SET stop_at = $1, stop_until = now() + interval '1 hour' WHERE reader = 'seen@g1' AND partition = $2`,
        [at, PARTITION],
      )
    await hold(2)
    const storing = projector.batch(batch)
    while ((await names()) === undefined) await new Promise((resolve) => setImmediate(resolve))
    t.equal(await names(), 'a b ')
    await hold(null)
    t.equal(await storing, 3)
    t.equal(await names(), 'a b c ')
  })

  t.test('a build makes room for live traffic before each of its batches, from the log and from the audit', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const asked: { records: number; goOn: () => void }[] = []
    const yields = (records: number) => new Promise<void>((goOn) => asked.push({ records, goOn }))
    let low = 0
    const { projector, recorder, names } = await projecting(database, () => undefined, seen, { yields, low: async () => low })
    /** What it was at `first`, it is until it may go on. */
    async function waits(working: Promise<number>, records: number, first: string | undefined): Promise<number> {
      await until(() => asked.length > 0, { what: 'it to ask' })
      const [one] = asked.splice(0)
      t.equal(one?.records, records)
      t.equal(await names(), first, 'nothing is folded before')
      one?.goOn()
      return working
    }
    const batch = batchOf([record(0, 'a'), record(1, 'b'), record(2, 'c')], 0)
    await recorder.batch(batch)
    t.equal(await waits(projector.batch(batch), 3, undefined), 3)
    const more = batchOf([record(3, 'd'), record(4, 'e')], 3)
    await recorder.batch(more)
    t.equal(await waits(projector.batch(more), 2, 'a b c '), 5)
    await recorder.batch(batchOf([record(5, 'f')], 5))
    low = 6
    t.equal(await waits(projector.checkpoint(PARTITION), 1, 'a b c d e '), 6)
    t.equal(await names(), 'a b c d e f ')
    t.strictSame(asked, [])
  })

  const incidents = async ({ admin }: TestDatabase) =>
    (await admin.query<{ closed: boolean }>('SELECT closed_at IS NOT NULL AS closed FROM refold.incidents')).rows

  t.test('the incident of one that is mended is closed, by another process too', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const { recorder, projector } = await projecting(database, () => undefined)
    const batch = batchOf([record(0, 'a'), record(1, 'thrown')], 0)
    await recorder.batch(batch)
    await t.rejects(projector.batch(batch), { code: 'projection-parked' })
    t.strictSame(await incidents(database), [{ closed: false }])
    const mended = await projecting(database, () => undefined, { ...seen, evolve: (row) => row })
    t.equal(await mended.projector.batch(batchOf([record(1, 'thrown')], 1)), 2)
    t.strictSame(await incidents(database), [{ closed: true }])
  })

  t.test('J4: what a person let another generation pass is passed, where it is still thrown at, and nowhere else', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const { recorder, projector, names } = await projecting(database, () => undefined)
    const batch = batchOf([record(0, 'a'), record(1, 'thrown'), record(2, 'b'), record(3, 'thrown')], 0)
    await recorder.batch(batch)
    await database.admin.query("INSERT INTO refold.projection_skips SELECT 'seen', 7, $1, n, 'known' FROM unnest('{0,1}'::bigint[]) n", [
      PARTITION,
    ])
    await t.rejects(projector.batch(batch), { code: 'projection-parked', message: /:3/ })
    t.equal(await names(), 'a b ', 'the one that does not throw was folded')
    const { rows } = await database.admin.query('SELECT log_offset, reason FROM refold.projection_skips WHERE generation = 1')
    t.strictSame(rows, [{ log_offset: '1', reason: 'known (taken over from generation 7)' }])
  })

  t.test('a handler that throws at a batch parks at the event it throws at, and no other is passed with it', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const taken: string[] = []
    const picky = defineProjection({
      name: 'picky',
      version: 1,
      tables: { names: { columns: { name: 'text', events: 'bigint' }, key: ['name'], view: 'sum' } },
      async handle(tx, events) {
        await tx.query(
          `INSERT INTO names (partition, tenant, name, events) SELECT p, t, n, 1 FROM unnest($1::int[], $2::text[], $3::text[]) AS e (p, t, n)`,
          [events.map(({ partition }) => partition), events.map(({ tenant }) => tenant), events.map(({ name }) => name)],
        )
        if (events.some(({ name }) => name === 'bad')) throw new Error('not this one')
        taken.push(...events.map(({ name }) => name))
      },
    })
    const { recorder, projector } = await projecting(database, () => undefined, picky)
    const names = Array.from({ length: 11 }, (_, i) => (i === 6 || i === 9 ? 'bad' : `n${i}`))
    const batch = batchOf(
      names.map((name, i) => record(i, name)),
      0,
    )
    await recorder.batch(batch)
    const stored = async () =>
      (await database.admin.query<{ name: string }>('SELECT name FROM projections.names')).rows.map(({ name }) => name).toSorted()
    for (const at of [6, 9]) {
      await t.rejects(
        projector.batch(batchOf(batch.records.slice(await projector.checkpoint(PARTITION)), await projector.checkpoint(PARTITION))),
        {
          code: 'projection-parked',
          message: new RegExp(`:${at}:`),
        },
      )
      t.equal(await projector.checkpoint(PARTITION), at, 'what is before it is stored')
      const skip =
        "INSERT INTO refold.projection_skips (projection, generation, partition, log_offset, reason) VALUES ('picky', 1, $1, $2, 'known')"
      await database.admin.query(skip, [PARTITION, at])
    }
    const from = await projector.checkpoint(PARTITION)
    t.equal(await projector.batch(batchOf(batch.records.slice(from), from)), 11)
    const good = names.filter((name) => name !== 'bad').toSorted()
    t.strictSame(await stored(), good)
    t.strictSame(taken.toSorted(), good, 'each once')
  })

  t.test('a row of a fold that Postgres does not take parks at its event, as one that throws does', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    // What types forbid, and casts and payloads let through.
    const rows: Record<string, { id?: string; at?: unknown; one?: unknown }> = {
      good: {},
      time: { at: 1_303_522_965_983 },
      number: { one: 1.5 },
      'long key': { id: Array.from({ length: 300 }, (_, i) => hash('sha256', `${i}`)).join('') },
    }
    const loose = defineProjection({
      name: 'loose',
      version: 1,
      columns: { id: 'text', at: 'timestamptz', one: 'bigint' },
      key: ['id'],
      keys: ({ name, offset }) => [{ id: rows[name]?.id ?? `${offset}` }],
      initial: ({ id }) => ({ id, at: null, one: 1 }),
      evolve: (row, { name }) => ({ ...row, ...rows[name] }) as typeof row,
    })
    const { recorder, projector } = await projecting(database, () => undefined, loose)
    const names = ['good', 'good', 'time', 'good', 'number', 'good', 'good', 'long key', 'good']
    const records = names.map((name, i) => record(i, name))
    await recorder.batch(batchOf(records, 0))
    for (const [at, reason] of [
      [2, /its row does not fit the columns: date\/time field value out of range/],
      [4, /its row does not fit the columns: invalid input syntax for type bigint/],
      [7, /its row does not fit the columns: index row/],
    ] as const) {
      const from = await projector.checkpoint(PARTITION)
      await t.rejects(projector.batch(batchOf(records.slice(from), from)), { code: 'projection-parked', message: reason })
      t.equal(await projector.checkpoint(PARTITION), at, 'what is before it is stored')
      const { rows: open } = await database.admin.query(
        "SELECT evidence->'event'->>'name' AS name FROM refold.incidents WHERE closed_at IS NULL",
      )
      t.strictSame(open, [{ name: names[at] }])
      const skip =
        "INSERT INTO refold.projection_skips (projection, generation, partition, log_offset, reason) VALUES ('loose', 1, $1, $2, 'known')"
      await database.admin.query(skip, [PARTITION, at])
    }
    const from = await projector.checkpoint(PARTITION)
    t.equal(await projector.batch(batchOf(records.slice(from), from)), names.length)
    const { rows: stored } = await database.admin.query('SELECT id FROM projections.loose ORDER BY id')
    t.strictSame(
      stored.map(({ id }) => Number(id)),
      [0, 1, 3, 5, 6, 8],
    )
  })

  t.test('a generation that was dropped leaves no incident, though it throws afterwards', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const { recorder, projector } = await projecting(database, () => undefined)
    const batch = batchOf([record(0, 'thrown')], 0)
    await recorder.batch(batch)
    await t.rejects(projector.batch(batch), { code: 'projection-parked' })
    await database.admin.query("UPDATE refold.generations SET state = 'following'")
    const control = createProjectionControl(database.admin, [seen], PARTITIONS)
    await control.dropGeneration('seen', 1)
    t.strictSame(await incidents(database), [{ closed: true }])
    const store = createProjectionStore(database.engine, seen, 1)
    const thrown = new Error('thrown')
    await store.park(PARTITION, 0, thrown, { id: idOf(0), name: 'thrown', executionId: idOf(0) } as ProjectionEvent)
    t.strictSame(await incidents(database), [{ closed: true }])
  })
})
